package ops

import (
	"fmt"
	"testing"
	"time"

	"github.com/seed-796a8800/tritium/graph"
)

// BenchmarkAttention is one layer of the 20B model: one token, and a chunk of
// a prompt, behind so many tokens. GMAC/s counts what the tokens see, and is
// compared with what as many threads could do on registers.
func BenchmarkAttention(b *testing.B) {
	const threads = 2
	for _, cache := range []CacheFormat{CacheFloat32, CacheInt8} {
		for _, window := range []int{0, 128} {
			for _, context := range []int{128, 1024, 8192} {
				for _, rows := range []int{1, 256} {
					b.Run(fmt.Sprintf("cache=%v/window=%d/context=%d/rows=%d", cache, window, context, rows), func(b *testing.B) {
						benchAttention(b, sunkAttention{Attention: Attention{Name: "attention", Heads: 64, KVHeads: 8, HeadDim: 64, Window: window, Cache: cache}}, threads, context, rows)
					})
				}
			}
		}
	}
}

func benchAttention(b *testing.B, a sunkAttention, threads, context, rows int) {
	const chunk = 256
	d, err := declare(b, threads, inputsOf(&a, chunk), attend(a))
	if err != nil {
		b.Fatal(err)
	}
	seq, batch := d.sequence(), graph.NewBatch()
	if err := seq.Reserve(context + chunk); err != nil {
		b.Fatal(err)
	}
	step := func(n int) {
		batch.Reset()
		batch.Add(seq, n)
		if err := d.plan.Run(batch); err != nil {
			b.Fatal(err)
		}
	}
	for seq.Len() < context {
		step(min(chunk, context-seq.Len()))
	}
	macs := 0
	for i := range rows {
		seen := context + i + 1
		if a.Window > 0 {
			seen = min(seen, a.Window)
		}
		macs += 2 * seen * a.Heads * a.HeadDim
	}
	start := time.Now()
	const rounds = 100_000
	peak := float64(threads*Peak(rounds)) / float64(time.Since(start).Nanoseconds())
	seen := context + rows
	if a.Window > 0 {
		seen = min(seen, a.Window+rows-1)
	}
	size := 8
	if a.Cache == CacheInt8 {
		size = 2
	}
	b.SetBytes(int64(size * a.KVHeads * a.HeadDim * seen))
	b.ResetTimer()
	for range b.N {
		step(rows)
		if a.Window == 0 {
			if err := seq.Truncate(context); err != nil {
				b.Fatal(err)
			}
		}
	}
	rate := float64(macs) * float64(b.N) / float64(b.Elapsed().Nanoseconds())
	b.ReportMetric(rate, "GMAC/s")
	if peak > 0 {
		b.ReportMetric(100*rate/peak, "%peak")
	}
}
