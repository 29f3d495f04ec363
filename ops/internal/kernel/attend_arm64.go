//go:build !purego

package kernel

func attendScores(dst []float32, ldd int, q, k []float32, d, tiles int) {
	if useNEON {
		attendScoresNEON(&dst[0], ldd, &q[0], &k[0], d, tiles)
	} else {
		attendScoresGeneric(dst, ldd, q, k, d, tiles)
	}
}

func attendValues(dst, w []float32, ldw int, v []float32, n, width int) {
	if useNEON {
		attendValuesNEON(&dst[0], &w[0], ldw, &v[0], n, width)
	} else {
		attendValuesGeneric(dst, w, ldw, v, n, width)
	}
}

// attendScoresNEON computes, for d and tiles > 0:
//
//	for t, r, p := range tiles, 8, 16 {
//		s := 0; for i := range d { s = fma(q[8*i+r], k[16*(t*d+i)+p], s) }
//		dst[r*ldd+16*t+p] = s
//	}
//
//go:noescape
func attendScoresNEON(dst *float32, ldd int, q, k *float32, d, tiles int)

// attendValuesNEON computes, for n > 0 and width > 0, a multiple of 16:
//
//	for r, i := range 8, width {
//		s := 0; for p := range n { s = fma(w[r*ldw+p], v[p*width+i], s) }
//		dst[r*width+i] += s
//	}
//
//go:noescape
func attendValuesNEON(dst, w *float32, ldw int, v *float32, n, width int)
