//go:build !purego

package kernel

// transposeRowsAVX512 turns n tiles of 16 rows by 16 columns, side by side:
//
//	for c := range 16 * n { for r := range 16 { dst[c*ldd+r] = rows[r][c] } }
//
//go:noescape
func transposeRowsAVX512(dst *float32, ldd int, rows *[transposeMax]*float32, n int)

// transposeRowsAVX2 does the same for tiles of 8 by 8.
//
//go:noescape
func transposeRowsAVX2(dst *float32, ldd int, rows *[transposeMax]*float32, n int)

// transposeBlock returns the rows and columns of a tile, 0 without assembly.
func transposeBlock() int {
	switch {
	case useAVX512:
		return 16
	case useAVX2:
		return 8
	}
	return 0
}

func transposeRows(dst *float32, ldd int, rows *[transposeMax]*float32, n int) {
	if useAVX512 {
		transposeRowsAVX512(dst, ldd, rows, n)
	} else {
		transposeRowsAVX2(dst, ldd, rows, n)
	}
}
