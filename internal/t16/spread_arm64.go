//go:build !purego

package t16

// spreadSIMD is spread of the first n of q.
func spreadSIMD(dst []uint32, stride int, q []byte) (sum int32, n int) {
	n = len(q) &^ 15
	if !useNEON || n == 0 {
		return 0, 0
	}
	_ = dst[(n/4-1)*stride]
	return spreadNEON(&dst[0], stride, &q[0], n), n
}

// spreadPairsSIMD is spreadPaired if it takes it.
func spreadPairsSIMD(f Format, dst []uint32, width int, q []byte) (sum int32, ok bool) {
	if !useNEON {
		return 0, false
	}
	_ = dst[(len(q)/8-1)*2*width+1]
	return spreadPairsNEON(&dst[0], 2*width, &q[0], len(q), f.BlockCols()), true
}

// spreadNEON is spread of n > 0 bytes, a multiple of 16.
//
//go:noescape
func spreadNEON(dst *uint32, stride int, q *byte, n int) int32

// spreadPairsNEON is spreadPaired of n > 0 bytes, whole pairs of blocks of 16, 8 or 4 columns, for stride/2 tokens.
//
//go:noescape
func spreadPairsNEON(dst *uint32, stride int, q *byte, n, cols int) int32
