//go:build !(amd64 || arm64) || purego

package kernel

func attendScores8(dst []float32, ldd int, q *AttendQueries8, k []byte, scales []float32) {
	attendScores8Generic(dst, ldd, q, k, scales)
}

func attendWeights8(codes []int8, scales []float32, acc *[lanes]float32, scores, vscales []float32, m float32) {
	attendWeights8Generic(codes, scales, acc, scores, vscales, m)
}

func attendValues8(dst []float32, w []int8, ldw int, scales []float32, lds int, v []int8, width int) {
	attendValues8Generic(dst, w, ldw, scales, lds, v, width)
}
