//go:build !purego

package t16

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// Groups of an odd and of an even number of blocks, every strip width full and not, every format.
func TestFormatsEqualGeneric(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		for _, f := range []Format{Ternary2, Ternary5, Int4, Int8} {
			for _, blocks := range []int{1, 2, 9, 34} {
				t.Run(fmt.Sprintf("format=%d/blocks=%d", f, blocks), func(t *testing.T) {
					for _, tokens := range []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 17, 18, 19, 23, 24, 26, 29, 49} {
						formatEqualsGeneric(t, f, blocks*f.BlockCols(), tokens)
					}
				})
			}
		}
	})
}

func formatEqualsGeneric(t *testing.T, f Format, group, tokens int) {
	rng := rand.New(rand.NewPCG(uint64(group), uint64(tokens)))
	w := &Weights{Format: f, Out: 19, K: 3 * group, Group: group, Bias: randomRow(rng, 19)}
	w.Scales = randomWeights(rng, w.Out, 48, 16, false).Scales // of three groups
	w.Codes = make([]byte, w.Tiles()*f.tileBytes(w.K))
	for i := range w.Codes {
		w.Codes[i] = byte(rng.Uint32())
	}
	xs, rows := make([][]float32, tokens), make([]int, tokens)
	for i := range xs {
		xs[i], rows[i] = randomRow(rng, w.K-i%3), i
	}
	got := run(w, xs, rows, w.Out, w.Out*(tokens+1))
	var want []float32
	withGeneric(t, func() { want = run(w, xs, rows, w.Out, w.Out*(tokens+1)) })
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("%d tokens: dst[%d] = %v, generic says %v", tokens, i, got[i], want[i])
		}
	}
}

// What USMMLA multiplies is in pairs, and only that.
func TestPairedStrips(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		var p Panel
		for _, f := range []Format{Ternary2, Ternary5, Int4, Int8} {
			for blocks := 1; blocks <= 4; blocks++ {
				for n := range 60 {
					p.Reset(f, blocks*f.BlockCols(), blocks*f.BlockCols(), n)
					for _, s := range p.strips {
						if want := useI8MM && f != Ternary5 && blocks%2 == 0 && s.width > 2; s.paired != want {
							t.Fatalf("format %d, %d blocks, %d tokens: strip of %d paired: %v", f, blocks, n, s.width, s.paired)
						}
					}
				}
			}
		}
	})
}
