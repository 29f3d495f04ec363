//go:build !purego

package fmapeak

// Twelve accumulators cover the latency of both FMA pipes.
func run(isa string, rounds int) (macsPerRound int) {
	switch isa {
	case "avx512":
		avx512(rounds)
		return 12 * 16
	case "avx2":
		avx2(rounds)
		return 12 * 8
	}
	return 0
}

// avx512 runs 12 VFMADD231PS on zmm registers per round.
//
//go:noescape
func avx512(rounds int)

// avx2 runs 12 VFMADD231PS on ymm registers per round.
//
//go:noescape
func avx2(rounds int)
