package ternaryop

import "github.com/seed-796a8800/tritium/internal/t16/peak"

// Peak does rounds > 0 rounds of int8 multiply-accumulates on registers, as fast as this processor can, and returns
// how many there were: the ceiling to measure a product against. It returns 0 where the processor has no instruction
// for them that the kernels use.
func Peak(rounds int) (macs int) { return peak.Run(rounds) }
