package ops

import (
	"fmt"
	"testing"
)

// Any rows of any format by any number of tokens are the bits of decoding them
// and MatMulNT, and nothing else is written.
func TestMulRows(t *testing.T) {
	const out, in = 37, 96
	r := newRandom()
	for name, m := range formats(r, out, in) {
		for _, tokens := range []int{1, 2, 3, 4, 5, 8, 9} {
			x := random(r, tokens*in)
			for _, run := range [][2]int{{0, out}, {0, 1}, {out - 1, 1}, {out - 4, 4}, {3, 3}, {5, 18}} {
				row, n := run[0], run[1]
				w, scratch := make([]float32, n*in), make([]float32, n*in)
				m.DecodeRows(w, row, n)
				want, got := make([]float32, tokens*(n+2)), make([]float32, tokens*(n+2))
				for i := range want {
					want[i], got[i] = 1234, 1234
				}
				MatMulNT(want, n+2, x, in, w, in, tokens, n, in, false)
				mulRows(m.Matrix, got, n+2, x, tokens, row, n, scratch)
				t.Run(fmt.Sprint(name, tokens, run), func(t *testing.T) { same(t, got, want) })
			}
		}
	}
}
