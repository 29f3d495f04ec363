// Package fmapeak measures how fast a core can issue float32 fused
// multiply-adds, so that benchmarks can state what share of it a kernel gets.
package fmapeak

// Run executes rounds of independent multiply-adds on registers and returns
// how many there were. It returns 0 for an instruction set it does not know;
// the caller makes sure that the machine has it.
func Run(isa string, rounds int) (macs int) { return rounds * run(isa, rounds) }

// Best is Run for the widest instruction set of this processor.
func Best(rounds int) (macs int) { return Run(best(), rounds) }
