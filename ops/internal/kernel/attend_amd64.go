//go:build !purego

package kernel

func attendScores(dst []float32, ldd int, q, k []float32, d, tiles int) {
	if useAVX512 {
		attendScoresAVX512(&dst[0], ldd, &q[0], &k[0], d, tiles)
	} else if useAVX2 {
		attendScoresAVX2(&dst[0], ldd, &q[0], &k[0], d, tiles)
	} else {
		attendScoresGeneric(dst, ldd, q, k, d, tiles)
	}
}

func attendValues(dst, w []float32, ldw int, v []float32, n, width int) {
	if useAVX512 {
		attendValuesAVX512(&dst[0], &w[0], ldw, &v[0], n, width)
	} else if useAVX2 {
		attendValuesAVX2(&dst[0], &w[0], ldw, &v[0], n, width)
	} else {
		attendValuesGeneric(dst, w, ldw, v, n, width)
	}
}

// attendScoresAVX512 and attendScoresAVX2 compute, for d and tiles > 0:
//
//	for t, r, p := range tiles, 8, 16 {
//		s := 0; for i := range d { s = fma(q[8*i+r], k[16*(t*d+i)+p], s) }
//		dst[r*ldd+16*t+p] = s
//	}
//
// They ask for the tiles behind the last to be brought into the cache, which
// may lie outside k.
//
//go:noescape
func attendScoresAVX512(dst *float32, ldd int, q, k *float32, d, tiles int)

//go:noescape
func attendScoresAVX2(dst *float32, ldd int, q, k *float32, d, tiles int)

// attendValuesAVX512 and attendValuesAVX2 compute, for n > 0 and width > 0, a
// multiple of 16:
//
//	for r, i := range 8, width {
//		s := 0; for p := range n { s = fma(w[r*ldw+p], v[p*width+i], s) }
//		dst[r*width+i] += s
//	}
//
// They ask for the n values behind the last to be brought into the cache, which
// may lie outside v.
//
//go:noescape
func attendValuesAVX512(dst, w *float32, ldw int, v *float32, n, width int)

//go:noescape
func attendValuesAVX2(dst, w *float32, ldw int, v *float32, n, width int)
