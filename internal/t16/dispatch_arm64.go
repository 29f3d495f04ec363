//go:build !purego

package t16

import "golang.org/x/sys/cpu"

var (
	useDot  = cpu.ARM64.HasASIMDDP // x/sys calls the dot product by its Linux name
	useNEON = cpu.ARM64.HasASIMD
)

// mulTile computes one tile by the best kernel for its format and width.
func mulTile(c *tile) {
	if c.format != Ternary2 {
		tileGeneric(c)
		return
	}
	if useDot {
		switch c.width {
		case 4:
			tileDot4(c)
			return
		case 1:
			tileDot1(c)
			return
		}
	}
	if useNEON {
		switch c.width {
		case 2:
			tileNEON2(c)
			return
		case 1:
			tileNEON1(c)
			return
		}
	}
	tileGeneric(c)
}

// stripWidth is the width of the next strip when rem tokens are left: the widest that is full, or that wastes fewer
// lanes than another pass over the weights would cost.
func stripWidth(f Format, rem int) int {
	if f != Ternary2 {
		return min(rem, 8)
	}
	switch {
	case useDot && rem >= 3:
		return 4
	case useDot:
		return 1
	case useNEON:
		return min(rem, 2)
	}
	return min(rem, 8)
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

// tileDot4 is tileGeneric for c.width = 4; so are the others for theirs.
//
//go:noescape
func tileDot4(c *tile)

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
