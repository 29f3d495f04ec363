package t16

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// BenchmarkMatMul is one thread's product; bytes are those of the weights.
func BenchmarkMatMul(b *testing.B) {
	eachISA(b, func(b *testing.B) {
		rng := rand.New(rand.NewPCG(1, 1))
		for _, w := range []*Weights{
			randomWeights(rng, 5760, 2880, 192, true), randomWeights(rng, 5760, 2880, 64, true),
			randomWeights(rng, 2880, 4096, 256, true),
			randomWeights5(rng, 5760, 2880, 320, false), randomWeights5(rng, 5760, 2880, 160, false),
		} {
			if w.Format == Ternary5 && !NativeTernary5() {
				continue // the portable code, a thousand times slower
			}
			for _, tokens := range []int{1, 2, 4, 8, 16, 24, 64, 512} {
				b.Run(fmt.Sprintf("format=%d/rows=%d/cols=%d/group=%d/tokens=%d", w.Format, w.Out, w.K, w.Group, tokens), func(b *testing.B) {
					rng := rand.New(rand.NewPCG(2, 2))
					var p Panel
					p.Reset(w.Format, w.K, w.Group, tokens)
					for i := range tokens {
						p.Set(i, randomRow(rng, w.K), i)
					}
					dst := make([]float32, tokens*w.Out)
					b.SetBytes(int64(len(w.Codes) + len(w.Scales)))
					for b.Loop() {
						MatMul(dst, w.Out, w, 0, w.Tiles(), &p)
					}
					b.ReportMetric(float64(b.N)*float64(w.Out)*float64(w.K)*float64(tokens)/b.Elapsed().Seconds()/1e9, "GMAC/s")
				})
			}
		}
	})
}

// BenchmarkPanelSet is quantizing and packing one row.
func BenchmarkPanelSet(b *testing.B) {
	eachISA(b, func(b *testing.B) {
		for _, tokens := range []int{1, 24} {
			b.Run(fmt.Sprintf("cols=2880/tokens=%d", tokens), func(b *testing.B) {
				x := randomRow(rand.New(rand.NewPCG(3, 3)), 2880)
				var p Panel
				p.Reset(Ternary2, 2880, 192, tokens)
				b.SetBytes(4 * 2880)
				for b.Loop() {
					p.Set(0, x, 0)
				}
			})
		}
	})
}
