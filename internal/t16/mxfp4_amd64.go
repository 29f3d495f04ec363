//go:build !purego

package t16

import "golang.org/x/sys/cpu"

// hasFMA is said of every processor with AVX2, but not promised by it.
var hasFMA = cpu.X86.HasFMA

func mulMXFP4VNNI(c *tile) bool {
	switch c.width {
	case 4:
		tileMXFP4VNNI4(c)
	case 2:
		tileMXFP4VNNI2(c)
	case 1:
		tileMXFP4VNNI1(c)
	default:
		return false
	}
	return true
}

func mulMXFP4AVX2(c *tile) bool {
	switch c.width {
	case 4:
		tileMXFP4AVX2x4(c)
	case 2:
		tileMXFP4AVX2x2(c)
	case 1:
		tileMXFP4AVX2x1(c)
	default:
		return false
	}
	return true
}

// turnCodes sets t's codes to those of 16 rows, or says that it cannot.
func turnCodes(t *MXFP4Tile, blocks []byte, groups int) bool {
	switch {
	case useVNNI:
		turnCodesAVX512(&t.codes[0], &blocks[0], groups)
	case useAVX2:
		turnCodesAVX2(&t.codes[0], &blocks[0], groups)
	}
	return useAVX2
}

// turnScales sets t's scales to those of 16 rows of 16 groups or more, or says that it cannot.
func turnScales(t *MXFP4Tile, scales []byte, groups int) bool {
	switch {
	case useVNNI:
		turnScalesAVX512(&t.scales[0], &scales[0], groups)
	case useAVX2:
		turnScalesAVX2(&t.scales[0], &scales[0], groups)
	}
	return useAVX2
}

// turnCodesAVX512 turns 16 rows of groups > 0 blocks of 16 bytes:
//
//	dst[(4g+d)*64 + r*4 + j] = src[(r*groups+g)*16 + 4d + j]    d, j in 0..3
//
// and asks the cache for half of as many bytes behind them.
//
//go:noescape
func turnCodesAVX512(dst, src *byte, groups int)

//go:noescape
func turnCodesAVX2(dst, src *byte, groups int)

// turnScalesAVX512 turns 16 rows of groups >= 16 bytes: dst[g*16+r] = src[r*groups+g].
//
//go:noescape
func turnScalesAVX512(dst, src *byte, groups int)

//go:noescape
func turnScalesAVX2(dst, src *byte, groups int)

//go:noescape
func tileMXFP4VNNI4(c *tile)

//go:noescape
func tileMXFP4VNNI2(c *tile)

//go:noescape
func tileMXFP4VNNI1(c *tile)

//go:noescape
func tileMXFP4AVX2x4(c *tile)

//go:noescape
func tileMXFP4AVX2x2(c *tile)

//go:noescape
func tileMXFP4AVX2x1(c *tile)
