package kernel

import "fmt"

// The kernels of attention keep positions, not head elements, in the lanes of a
// score, and head elements, not positions, in the lanes of an output. So
// neither sum runs over lanes: each is in order, every step a fused
// multiply-add, and the definition is a plain loop.

// The shapes that a cache of keys and values is laid out in.
const (
	AttendRows  = 8     // query rows of a panel
	AttendTile  = lanes // positions of a tile of keys
	AttendBlock = 64    // positions whose values are summed before they are added to the output
)

// AttendScores computes the scores of a panel of queries over tiles of keys:
//
//	dst[r, p] = Σ_d q[d, r]·k[p/16, d, p%16]
//
// Shapes: q [d, 8], k [tiles, d, 16], dst [8, 16·tiles] with row stride ldd.
func AttendScores(dst []float32, ldd int, q, k []float32, d, tiles int) {
	if d < 1 || tiles < 0 {
		panic(fmt.Sprintf("kernel: %d tiles of keys of %d elements", tiles, d))
	}
	checkLen("q", len(q), AttendRows*d)
	checkLen("k", len(k), tiles*AttendTile*d)
	checkMatrix("dst", len(dst), ldd, AttendRows, tiles*AttendTile)
	if tiles > 0 {
		attendScores(dst, ldd, q, k, d, tiles)
	}
}

// AttendValues adds the weighted values of positions to a panel of outputs:
//
//	dst[r, i] += Σ_p w[r, p]·v[p, i]
//
// The sum starts from +0 and is added to dst once.
//
// Shapes: w [8, n] with row stride ldw, v [n, width], dst [8, width]; width is
// a multiple of 16.
func AttendValues(dst, w []float32, ldw int, v []float32, n, width int) {
	if n < 0 || width < 1 || width%lanes != 0 {
		panic(fmt.Sprintf("kernel: %d values of %d elements, want a multiple of %d", n, width, lanes))
	}
	checkLen("dst", len(dst), AttendRows*width)
	checkLen("v", len(v), n*width)
	checkMatrix("w", len(w), ldw, AttendRows, n)
	if n > 0 {
		attendValues(dst, w, ldw, v, n, width)
	}
}

func attendScoresGeneric(dst []float32, ldd int, q, k []float32, d, tiles int) {
	for t := range tiles {
		tile := k[t*AttendTile*d : (t+1)*AttendTile*d]
		for r := range AttendRows {
			var s [AttendTile]float32
			for i := range d {
				for p := range s {
					s[p] = fma32(q[i*AttendRows+r], tile[i*AttendTile+p], s[p])
				}
			}
			copy(dst[r*ldd+t*AttendTile:], s[:])
		}
	}
}

func attendValuesGeneric(dst, w []float32, ldw int, v []float32, n, width int) {
	for r := range AttendRows {
		for i := 0; i < width; i += lanes {
			var s [lanes]float32
			for p := range n {
				for l := range s {
					s[l] = fma32(w[r*ldw+p], v[p*width+i+l], s[l])
				}
			}
			for l, x := range s {
				dst[r*width+i+l] += x
			}
		}
	}
}

// ExpSink computes the numerators of SoftmaxSink and returns its denominator:
//
//	m = max(scores..., sink); dst_k = Exp(scores_k - m)
//	Sum(dst) + Exp(sink - m)
//
// Any NaN makes the denominator NaN.
//
// Shapes: dst, scores [K]; dst may be scores.
func ExpSink(dst, scores []float32, sink float32) (sum float32) {
	checkLen("scores", len(scores), len(dst))
	m := max(Max(scores), sink) + 0
	expSub(dst, scores, m)
	rest := [lanes]float32{sink}
	expSubBlocks(rest[:], rest[:], m)
	return Sum(dst) + rest[0]
}
