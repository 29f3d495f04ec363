//go:build !(amd64 || arm64) || purego

package kernel

func attendScores(dst []float32, ldd int, q, k []float32, d, tiles int) {
	attendScoresGeneric(dst, ldd, q, k, d, tiles)
}

func attendValues(dst, w []float32, ldw int, v []float32, n, width int) {
	attendValuesGeneric(dst, w, ldw, v, n, width)
}
