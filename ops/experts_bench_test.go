package ops

import (
	"fmt"
	"runtime"
	"testing"
)

// BenchmarkExperts is gate_up of a layer of gpt-oss-20b, all threads, in
// float32 and in int8; bytes are those of the experts that a token reads.
func BenchmarkExperts(b *testing.B) {
	const e, active, out, in = 32, 4, 5760, 2880
	r := newRandom()
	weights := make([]Matrix, e)
	for i := range weights {
		scales := randomBytes(r, out*in/32)
		for j := range scales {
			scales[j] = 110 + scales[j]%16
		}
		weights[i] = MXFP4{Out: out, In: in, Blocks: randomBytes(r, out*in/2), Scales: scales}
	}
	for _, tokens := range []int{1, 4, 512} {
		routing := make([]float32, tokens*e)
		for t := range tokens {
			for s := range active {
				routing[t*e+(t*7+s*9)%e] = .25
			}
		}
		for _, int8Inputs := range []bool{false, true} {
			b.Run(fmt.Sprintf("tokens=%d/int8=%t", tokens, int8Inputs), func(b *testing.B) {
				d, err := declare(b, runtime.GOMAXPROCS(0), []value{{[]int{tokens, in}, random(r, tokens*in)}, {[]int{tokens, e}, routing}},
					experts(DenseExperts{Name: "layer.gate_up_proj", Weights: weights, Active: active, Int8Inputs: int8Inputs}))
				if err != nil {
					b.Fatal(err)
				}
				b.SetBytes(active * (out*in/2 + out*in/32))
				for b.Loop() {
					if err := d.run(nil, tokens); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.N)*active*out*in*float64(tokens)/b.Elapsed().Seconds()/1e9, "GMAC/s")
			})
		}
	}
}
