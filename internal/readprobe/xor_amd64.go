//go:build !purego

package readprobe

import "golang.org/x/sys/cpu"

var (
	useAVX512 = cpu.X86.HasAVX512F
	useAVX2   = cpu.X86.HasAVX2
)

func xorBlocks(words []uint64) uint64 {
	switch {
	case useAVX512:
		return xorAVX512(&words[0], len(words))
	case useAVX2:
		return xorAVX2(&words[0], len(words))
	}
	return xorGeneric(words)
}

// xorAVX512 is xorGeneric of n > 0 words, a multiple of blockWords.
//
//go:noescape
func xorAVX512(words *uint64, n int) uint64

// xorAVX2 is xorGeneric of n > 0 words, a multiple of blockWords.
//
//go:noescape
func xorAVX2(words *uint64, n int) uint64
