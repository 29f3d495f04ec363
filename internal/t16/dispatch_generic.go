//go:build purego || !(amd64 || arm64)

package t16

// mulTile computes one tile.
func mulTile(c *tile) { tileGeneric(c) }

// stripWidth is the width of the next strip when rem tokens are left.
func stripWidth(_ Format, rem int) int { return min(rem, 8) }

func absMaxSIMD([]float32) (bits uint32, n int) { return 0, 0 }

func quantizeSIMD([]byte, []float32, float32) int { return 0 }
