//go:build !purego

package kernel

func attendScores8(dst []float32, ldd int, q *AttendQueries8, k []byte, scales []float32) {
	if useNEON {
		d, tiles := len(q.codes)/AttendRows, len(scales)/AttendTile
		attendScores8NEON(&dst[0], ldd, &q.codes[0], &q.scales, &k[0], &scales[0], d/4, tiles)
	} else {
		attendScores8Generic(dst, ldd, q, k, scales)
	}
}

func attendWeights8(codes []int8, scales []float32, acc *[lanes]float32, scores, vscales []float32, m float32) {
	attendWeights8Generic(codes, scales, acc, scores, vscales, m)
}

func attendValues8(dst []float32, w []int8, ldw int, scales []float32, lds int, v []int8, width int) {
	if useNEON {
		attendValues8NEON(&dst[0], &w[0], ldw, &scales[0], lds, &v[0], width)
	} else {
		attendValues8Generic(dst, w, ldw, scales, lds, v, width)
	}
}

// attendScores8NEON computes, for d4 and tiles > 0:
//
//	for t, r, p := range tiles, 8, 16 {
//		s := 0; for i, j := range d4, 4 { s += q[32*i+4*r+j] * (k[64*(t*d4+i)+4*p+j] - 128) }
//		dst[r*ldd+16*t+p] = float32(s) * qscales[r] * scales[16*t+p]
//	}
//
//go:noescape
func attendScores8NEON(dst *float32, ldd int, q *int8, qscales *[8]float32, k *byte, scales *float32, d4, tiles int)

// attendValues8NEON computes, for width > 0, a multiple of 16:
//
//	for r, i := range 8, width {
//		s := 0; for g, j := range 16, 4 { s += w[r*ldw+4*g+j] * v[(g*width+i)*4+j] }
//		dst[r*width+i] = fma(float32(s), scales[r*lds], dst[r*width+i])
//	}
//
//go:noescape
func attendValues8NEON(dst *float32, w *int8, ldw int, scales *float32, lds int, v *int8, width int)
