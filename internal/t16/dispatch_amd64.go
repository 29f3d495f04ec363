//go:build !purego

package t16

import "golang.org/x/sys/cpu"

var (
	useVNNI = cpu.X86.HasAVX512F && cpu.X86.HasAVX512BW && cpu.X86.HasAVX512VNNI && useAVX2
	useAVX2 = cpu.X86.HasAVX2 && cpu.X86.HasF16C
)

// mulTile computes one tile by the best kernel for its format and width.
func mulTile(c *tile) {
	if c.format == Ternary5 {
		mulTernary5(c)
		return
	}
	if c.format != Ternary2 {
		if !mulIntTile(c) {
			tileGeneric(c)
		}
		return
	}
	if useVNNI {
		switch c.width {
		case 24:
			tileVNNI24(c)
			return
		case 16:
			tileVNNI16(c)
			return
		case 8:
			tileVNNI8(c)
			return
		case 4:
			tileVNNI4(c)
			return
		case 2:
			tileVNNI2(c)
			return
		case 1:
			tileVNNI1(c)
			return
		}
	}
	if useAVX2 {
		switch c.width {
		case 4:
			tileAVX2x4(c)
			return
		case 2:
			tileAVX2x2(c)
			return
		case 1:
			tileAVX2x1(c)
			return
		}
	}
	tileGeneric(c)
}

// stripWidth is the width of the next strip when rem tokens are left: the widest that is full, or that wastes fewer
// lanes than another pass over the weights would cost.
func stripWidth(f Format, rem int) int {
	switch {
	case f == Ternary5 && !useVBMI, !useAVX2:
		return min(rem, 8)
	case useVNNI && f.wide(): // two tiles at a time, see mulWide
		switch {
		case rem >= 19 || rem >= 11 && rem <= 14:
			return wideTokens
		case rem >= 7:
			return wideLeast
		}
		return fewTokens(rem)
	case useVNNI && rem >= 22:
		return 24
	case useVNNI && rem >= 15:
		return 16
	case useVNNI && rem >= 7:
		return 8
	}
	return fewTokens(rem)
}

// fewTokens is the width of the last strips.
func fewTokens(rem int) int {
	if rem >= 3 {
		return 4
	}
	return rem
}

func absMaxSIMD(x []float32) (bits uint32, n int) {
	if !useAVX2 || len(x) < 32 {
		return 0, 0
	}
	n = len(x) &^ 31
	return absMaxAVX2(&x[0], n), n
}

func quantizeSIMD(dst []byte, x []float32, inv float32) int {
	if !useAVX2 || len(x) < 32 {
		return 0
	}
	n := len(x) &^ 31
	quantizeAVX2(&dst[:n][0], &x[0], n, inv)
	return n
}

// tileVNNI24 is tileGeneric for c.width = 24; so are the others for theirs.
//
//go:noescape
func tileVNNI24(c *tile)

//go:noescape
func tileVNNI16(c *tile)

//go:noescape
func tileVNNI8(c *tile)

//go:noescape
func tileVNNI4(c *tile)

//go:noescape
func tileVNNI2(c *tile)

//go:noescape
func tileVNNI1(c *tile)

//go:noescape
func tileAVX2x4(c *tile)

//go:noescape
func tileAVX2x2(c *tile)

//go:noescape
func tileAVX2x1(c *tile)

// absMaxAVX2 is absMaxGeneric(x[:n]) for n > 0, a multiple of 32.
//
//go:noescape
func absMaxAVX2(x *float32, n int) uint32

// quantizeAVX2 is quantizeGeneric(dst[:n], x[:n], inv) for n > 0, a multiple of 32.
//
//go:noescape
func quantizeAVX2(dst *byte, x *float32, n int, inv float32)
