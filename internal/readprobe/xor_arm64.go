//go:build !purego

package readprobe

func xorBlocks(words []uint64) uint64 { return xorNEON(&words[0], len(words)) }

// xorNEON is xorGeneric of n > 0 words, a multiple of blockWords.
//
//go:noescape
func xorNEON(words *uint64, n int) uint64
