// Package quantize makes GPT-OSS ternary after training, without labels.
//
// A projection is fitted to the second moment of its inputs (Moment, gathered
// by probes on the declared graph, behind the layers that are quantized
// already) by one of several methods
// (Fitter). Run takes a whole checkpoint through that, layer by layer on the
// already quantized stream, and writes a directory that gptoss.Open opens. Its
// work is a list of units, each a file in a store under the hash of what it is
// made from (plan.go), so a run that was killed goes on where it was.
// What the result lost is measured by package quantize/evaluate.
//
// Router, norms, sinks and biases are never quantized.
//
// Source: PT-BitNet, Neural Networks 191:107855 (2025); BitNet b1.58, arXiv
// 2402.17764; GPTQ, arXiv 2210.17323.
package quantize
