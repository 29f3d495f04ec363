//go:build !purego

package kernel

import "golang.org/x/sys/cpu"

// hasVNNI goes with useAVX512.
var hasVNNI = cpu.X86.HasAVX512VNNI

func attendScores8(dst []float32, ldd int, q *AttendQueries8, k []byte, scales []float32) {
	d, tiles := len(q.codes)/AttendRows, len(scales)/AttendTile
	if useAVX512 && hasVNNI {
		attendScores8VNNI(&dst[0], ldd, &q.codes[0], &q.starts, &q.scales, &k[0], &scales[0], d/4, tiles)
	} else if useAVX2 {
		attendScores8AVX2(&dst[0], ldd, &q.codes[0], &q.scales, &k[0], &scales[0], d/4, tiles)
	} else {
		attendScores8Generic(dst, ldd, q, k, scales)
	}
}

func attendWeights8(codes []int8, scales []float32, acc *[lanes]float32, scores, vscales []float32, m float32) {
	if useAVX512 {
		attendWeights8AVX512(&codes[0], &scales[0], acc, &scores[0], &vscales[0], m, len(scales), &expConsts)
	} else {
		attendWeights8Generic(codes, scales, acc, scores, vscales, m)
	}
}

func attendValues8(dst []float32, w []int8, ldw int, scales []float32, lds int, v []int8, width int) {
	if useAVX512 && hasVNNI {
		attendValues8VNNI(&dst[0], &w[0], ldw, &scales[0], lds, &v[0], width)
	} else if useAVX2 {
		attendValues8AVX2(&dst[0], &w[0], ldw, &scales[0], lds, &v[0], width)
	} else {
		attendValues8Generic(dst, w, ldw, scales, lds, v, width)
	}
}

// attendScores8VNNI and attendScores8AVX2 compute, for d4 and tiles > 0:
//
//	for t, r, p := range tiles, 8, 16 {
//		s := 0; for i, j := range d4, 4 { s += q[32*i+4*r+j] * (k[64*(t*d4+i)+4*p+j] - 128) }
//		dst[r*ldd+16*t+p] = float32(s) * qscales[r] * scales[16*t+p]
//	}
//
// They ask for tiles behind the last to be brought into the cache, which may
// lie outside k.
//
//go:noescape
func attendScores8VNNI(dst *float32, ldd int, q *int8, starts *[8]int32, qscales *[8]float32, k *byte, scales *float32, d4, tiles int)

//go:noescape
func attendScores8AVX2(dst *float32, ldd int, q *int8, qscales *[8]float32, k *byte, scales *float32, d4, tiles int)

// attendWeights8AVX512 is attendWeights8Generic for blocks > 0.
//
//go:noescape
func attendWeights8AVX512(codes *int8, scales *float32, acc *[16]float32, scores, vscales *float32, m float32, blocks int, consts *[12]float32)

// attendValues8VNNI and attendValues8AVX2 compute, for width > 0, a multiple
// of 16:
//
//	for r, i := range 8, width {
//		s := 0; for g, j := range 16, 4 { s += w[r*ldw+4*g+j] * v[(g*width+i)*4+j] }
//		dst[r*width+i] = fma(float32(s), scales[r*lds], dst[r*width+i])
//	}
//
// The first asks for the block after the next to be brought into the cache,
// which may lie outside v.
//
//go:noescape
func attendValues8VNNI(dst *float32, w *int8, ldw int, scales *float32, lds int, v *int8, width int)

//go:noescape
func attendValues8AVX2(dst *float32, w *int8, ldw int, scales *float32, lds int, v *int8, width int)
