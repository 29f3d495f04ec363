package ops

import "github.com/seed-796a8800/tritium/ops/internal/kernel/fmapeak"

// Peak does rounds > 0 rounds of float32 multiply-adds on registers, as fast as
// this processor can, and returns how many there were: the ceiling to measure
// a product against. It returns 0 where there are only portable kernels.
func Peak(rounds int) (macs int) { return fmapeak.Best(rounds) }
