package kernel

import "fmt"

// Transpose computes dst[c*ldd+r] = src[r*lds+c].
//
// Shapes: src [rows, cols] with row stride lds, dst [cols, rows] with ldd.
func Transpose(dst []float32, ldd int, src []float32, lds, rows, cols int) {
	if rows == 0 || cols == 0 {
		return
	}
	checkMatrix("src", len(src), lds, rows, cols)
	checkMatrix("dst", len(dst), ldd, cols, rows)
	n := transposeBlock()
	if n == 0 || rows < n || cols < n {
		transposeGeneric(dst, ldd, src, lds, rows, cols)
		return
	}
	var block [transposeMax]*float32
	wholeRows, wholeCols := rows/n*n, cols/n*n
	for first := 0; first < wholeRows; first += n {
		for i := range n {
			block[i] = &src[(first+i)*lds]
		}
		transposeRows(&dst[first], ldd, &block, wholeCols/n)
	}
	if wholeCols < cols {
		transposeGeneric(dst[wholeCols*ldd:], ldd, src[wholeCols:], lds, wholeRows, cols-wholeCols)
	}
	if wholeRows < rows {
		transposeGeneric(dst[wholeRows:], ldd, src[wholeRows*lds:], lds, rows-wholeRows, cols)
	}
}

// GatherTranspose computes dst[c*ldd+r] = src[index[r]*lds+c].
//
// Shapes: index [R], src rows of cols elements with stride lds, dst [cols, R]
// with ldd.
func GatherTranspose(dst []float32, ldd int, src []float32, lds int, index []int32, cols int) {
	if len(index) == 0 || cols == 0 {
		return
	}
	checkMatrix("dst", len(dst), ldd, cols, len(index))
	for _, r := range index {
		if r < 0 || int(r)*lds+cols > len(src) {
			panic(fmt.Sprintf("kernel: row %d of %d elements with stride %d is outside of %d elements", r, cols, lds, len(src)))
		}
	}
	n := transposeBlock()
	if n == 0 || len(index) < n || cols < n {
		gatherTransposeGeneric(dst, ldd, src, lds, index, cols)
		return
	}
	var block [transposeMax]*float32
	wholeRows, wholeCols := len(index)/n*n, cols/n*n
	for first := 0; first < wholeRows; first += n {
		for i := range n {
			block[i] = &src[int(index[first+i])*lds]
		}
		transposeRows(&dst[first], ldd, &block, wholeCols/n)
	}
	if wholeCols < cols {
		gatherTransposeGeneric(dst[wholeCols*ldd:], ldd, src[wholeCols:], lds, index[:wholeRows], cols-wholeCols)
	}
	gatherTransposeGeneric(dst[wholeRows:], ldd, src, lds, index[wholeRows:], cols)
}

// transposeMax bounds what transposeBlock returns.
const transposeMax = 16

// transposeGeneric takes a few rows at a time, so that what it writes stays in
// the cache until the line is full.
func transposeGeneric(dst []float32, ldd int, src []float32, lds, rows, cols int) {
	for first := 0; first < rows; first += transposeMax {
		last := min(rows, first+transposeMax)
		for c := range cols {
			side := dst[c*ldd+first : c*ldd+last]
			for i := range side {
				side[i] = src[(first+i)*lds+c]
			}
		}
	}
}

func gatherTransposeGeneric(dst []float32, ldd int, src []float32, lds int, index []int32, cols int) {
	for first := 0; first < len(index); first += transposeMax {
		rows := index[first:min(len(index), first+transposeMax)]
		for c := range cols {
			side := dst[c*ldd+first:][:len(rows)]
			for i, r := range rows {
				side[i] = src[int(r)*lds+c]
			}
		}
	}
}
