// Package peak runs the instruction a kernel is built on and nothing else: the ceiling that benchmarks report beside
// what the kernels reach on the same machine at the same moment.
package peak
