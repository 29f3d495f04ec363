// Package readprobe reads memory as fast as a core can: the ceiling for work
// that streams over weights, measured beside it.
package readprobe

// Xor returns the exclusive or of all words, an operation so cheap that the
// loads are all that takes time, and whose result no load can be left out of.
func Xor(words []uint64) uint64 {
	n := len(words) &^ (blockWords - 1)
	x := xorGeneric(words[n:])
	if n > 0 {
		x ^= xorBlocks(words[:n])
	}
	return x
}

// blockWords is how many words a round of the assembly reads.
const blockWords = 64

func xorGeneric(words []uint64) uint64 {
	var a, b, c, d uint64
	for ; len(words) >= 4; words = words[4:] {
		a ^= words[0]
		b ^= words[1]
		c ^= words[2]
		d ^= words[3]
	}
	for _, w := range words {
		a ^= w
	}
	return a ^ b ^ c ^ d
}
