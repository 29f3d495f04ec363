//go:build unix

package t16

import (
	"math/rand/v2"
	"testing"
)

func TestIntProtectedPages(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		eachInt(t, func(t *testing.T, f Format) {
			rng := rand.New(rand.NewPCG(21, 22))
			for _, s := range []shape{{16, 8, 8, 1}, {17, 48, 24, 2}, {31, 80, 16, 3}, {16, 64, 32, 4}, {33, 24, 24, 7},
				{16, 96, 48, 8}, {20, 32, 16, 16}, {16, 48, 48, 24}, {18, 80, 80, 47}} {
				for _, before := range []bool{false, true} {
					w := intWeights(rng, f, s.out, s.k, s.group)
					w.Bias = randomRow(rng, s.out)
					xs, rows := make([][]float32, s.tokens), make([]int, s.tokens)
					for i := range xs {
						xs[i], rows[i] = randomRow(rng, s.k), i
					}
					want := run(w, xs, rows, s.out, s.out*s.tokens)
					g := *w
					g.Codes, g.Scales, g.Bias = guarded(t, w.Codes, before), guarded(t, w.Scales, before), guarded(t, w.Bias, before)
					var p Panel
					p.Reset(f, s.k, s.group, s.tokens)
					p.acts, p.nsums = guarded(t, p.acts, before), guarded(t, p.nsums, before)
					p.scales, p.rows = guarded(t, p.scales, before), guarded(t, p.rows, before)
					for i, x := range xs {
						p.Set(i, x, rows[i])
					}
					dst := guarded(t, make([]float32, s.out*s.tokens), before)
					MatMul(dst, s.out, &g, 0, g.Tiles(), &p)
					for i := range want {
						if dst[i] != want[i] {
							t.Fatalf("%+v: dst[%d] = %v, want %v", s, i, dst[i], want[i])
						}
					}
				}
			}
		})
	})
}

func TestMXFP4ProtectedPages(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(21, 22))
		for _, s := range []shape{{16, 32, 32, 1}, {17, 64, 32, 2}, {16, 512, 32, 1}, {31, 544, 32, 3}, {16, 64, 32, 4},
			{33, 96, 32, 7}, {48, 864, 32, 8}, {20, 32, 32, 16}, {16, 64, 32, 24}, {18, 96, 32, 47}} {
			for _, before := range []bool{false, true} {
				w := randomMXFP4(rng, s.out, s.k, true)
				xs, rows := make([][]float32, s.tokens), make([]int, s.tokens)
				for i := range xs {
					xs[i], rows[i] = randomRow(rng, s.k), i
				}
				want := runMXFP4(w, xs, rows, s.out, s.out*s.tokens)
				g := *w
				g.Blocks, g.Scales, g.Bias = guarded(t, w.Blocks, before), guarded(t, w.Scales, before), guarded(t, w.Bias, before)
				var p Panel
				p.Reset(MXFP4, s.k, 32, s.tokens)
				p.acts, p.nsums = guarded(t, p.acts, before), guarded(t, p.nsums, before)
				p.scales, p.rows = guarded(t, p.scales, before), guarded(t, p.rows, before)
				for i, x := range xs {
					p.Set(i, x, rows[i])
				}
				var turned MXFP4Tile
				turned.Reset(s.k)
				turned.codes, turned.scales = guarded(t, turned.codes, before), guarded(t, turned.scales, before)
				dst := guarded(t, make([]float32, s.out*s.tokens), before)
				MatMulMXFP4(dst, s.out, &g, 0, g.Tiles(), &p, &turned)
				for i := range want {
					if dst[i] != want[i] {
						t.Fatalf("%+v: dst[%d] = %v, want %v", s, i, dst[i], want[i])
					}
				}
			}
		}
	})
}
