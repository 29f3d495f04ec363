//go:build !purego

package peak

import "golang.org/x/sys/cpu"

func run(rounds int) (macsPerRound int) {
	switch {
	case HasVNNI:
		VNNI(rounds)
		return VNNIMACs
	case cpu.X86.HasAVX2:
		avx2(rounds)
		return 8 * 32
	}
	return 0
}

// avx2 does rounds > 0 rounds of 8 independent VPMADDUBSW of 32, each with the VPADDW that adds it up.
//
//go:noescape
func avx2(rounds int)
