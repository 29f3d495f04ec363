//go:build !purego

package t16

import "golang.org/x/sys/cpu"

var (
	useI8MM = cpu.ARM64.HasI8MM && useDot
	useDot  = cpu.ARM64.HasASIMDDP && useNEON // x/sys calls the dot product by its Linux name
	useNEON = cpu.ARM64.HasASIMD
)

// multiplies says whether there are kernels for a format.
func multiplies(f Format) bool { return useNEON && (f == Ternary2 || f == Int4 || f == Int8) }

// mulTile computes one tile by the best kernel for its format and width.
func mulTile(c *tile) {
	switch {
	case !multiplies(c.format) || !useDot && c.width > 2:
		tileGeneric(c)
	case c.paired && c.width == 24:
		tileMM24(c)
	case c.paired && c.width == 8:
		tileMM8(c)
	case c.paired:
		tileMM4(c)
	case c.width == 24:
		tileDot24(c)
	case c.width == 4:
		tileDot4(c)
	case useDot && c.width == 2:
		tileDot2(c)
	case useDot:
		tileDot1(c)
	case c.width == 2:
		tileNEON2(c)
	default:
		tileNEON1(c)
	}
}

// stripWidth is the width of the next strip when rem tokens are left: the widest that is full, or that wastes less
// than the narrower ones would cost. In operations a block of 16 ternary columns, of which a core does 2 to 4 a cycle:
//
//	width            1    2    4    8   24
//	SDOT            32   52   88       408
//	USMMLA, paired            60   92  220
func stripWidth(f Format, rem int) int {
	switch {
	case !multiplies(f):
		return min(rem, 8)
	case !useDot:
		return min(rem, 2)
	case rem >= 18:
		return 24
	case rem >= 3:
		return 4
	}
	return rem
}

// pairedWidth is stripWidth where the strip is to have its blocks in pairs, and 0 where it is not.
func pairedWidth(f Format, group, rem int) int {
	switch {
	case !useI8MM || !multiplies(f) || group%(2*f.BlockCols()) != 0 || rem < 3:
		return 0
	case rem >= 17:
		return 24
	case rem >= 5:
		return 8
	}
	return 4
}

func absMaxSIMD(x []float32) (bits uint32, n int) {
	if !useNEON || len(x) < 16 {
		return 0, 0
	}
	n = len(x) &^ 15
	return absMaxNEON(&x[0], n), n
}

func quantizeSIMD(dst []byte, x []float32, inv float32) int {
	if !useNEON || len(x) < 16 {
		return 0
	}
	n := len(x) &^ 15
	quantizeNEON(&dst[:n][0], &x[0], n, inv)
	return n
}

// tileMM24 is tileGeneric for c.width = 24 and paired blocks; so are the others for theirs.
//
//go:noescape
func tileMM24(c *tile)

//go:noescape
func tileMM8(c *tile)

//go:noescape
func tileMM4(c *tile)

// tileDot24 is tileGeneric for c.width = 24; so are the others for theirs.
//
//go:noescape
func tileDot24(c *tile)

//go:noescape
func tileDot4(c *tile)

//go:noescape
func tileDot2(c *tile)

//go:noescape
func tileDot1(c *tile)

//go:noescape
func tileNEON2(c *tile)

//go:noescape
func tileNEON1(c *tile)

// absMaxNEON is absMaxGeneric(x[:n]) for n > 0, a multiple of 16.
//
//go:noescape
func absMaxNEON(x *float32, n int) uint32

// quantizeNEON is quantizeGeneric(dst[:n], x[:n], inv) for n > 0, a multiple of 16.
//
//go:noescape
func quantizeNEON(dst *byte, x *float32, n int, inv float32)
