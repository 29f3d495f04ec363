package readprobe

import (
	"math/rand/v2"
	"testing"
)

// TestXor: every length around the assembly's block, at every offset that a
// vector load may meet, equals the plain loop.
func TestXor(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	memory := make([]uint64, 5*blockWords)
	for i := range memory {
		memory[i] = r.Uint64()
	}
	for offset := range 9 {
		for n := 0; n <= 4*blockWords+3; n++ {
			words := memory[offset : offset+n]
			var want uint64
			for _, w := range words {
				want ^= w
			}
			if got := Xor(words); got != want {
				t.Fatalf("%d words from %d: %#x, want %#x", n, offset, got, want)
			}
		}
	}
}

func BenchmarkXor(b *testing.B) {
	words := make([]uint64, 1<<27)
	for i := range words {
		words[i] = uint64(i)
	}
	b.SetBytes(int64(8 * len(words)))
	for b.Loop() {
		Xor(words)
	}
}
