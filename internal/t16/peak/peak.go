// Package peak runs the instruction a kernel is built on and nothing else: the ceiling that benchmarks report beside
// what the kernels reach on the same machine at the same moment.
package peak

// Run does rounds > 0 rounds of the best int8 multiplication the kernels have on this processor, on registers, and
// returns how many multiply-accumulates there were: 0 where there is no such instruction.
func Run(rounds int) (macs int) { return rounds * run(rounds) }
