package quantize

import (
	"fmt"
	"testing"

	"github.com/seed-796a8800/tritium/ops"
)

// BenchmarkTernary reports GFLOP/s counting matrix products only, to be read
// against BenchmarkMatMulNT of the same run.
func BenchmarkTernary(b *testing.B) {
	cpu := newCPU(b, 1)
	for _, s := range []struct{ out, in, group int }{{384, 384, 128}, {512, 2880, 192}} {
		r := randomSource(1)
		m := momentOf(b, cpu, correlatedTokens(r, 256, s.in), s.in)
		m.Flush(cpu)
		w := normals(r, s.out*s.in)
		f := NewFitter(cpu)
		square := 2 * float64(s.in) * float64(s.in) * float64(s.out)
		descent := 3 * (square + 1.5*square*float64(s.group)/float64(s.in))
		gptq := square/2 + square*float64(s.group)/float64(s.in) + float64(s.in)*float64(s.in)*float64(s.in)/3
		flops := map[Method]float64{PTBitNet: descent, GPTQ: gptq, GPTQWithDescent: gptq + descent}
		for _, method := range Methods() {
			b.Run(fmt.Sprintf("method=%s/rows=%d/cols=%d", method, s.out, s.in), func(b *testing.B) {
				for b.Loop() {
					if _, err := f.Ternary(w, s.out, s.in, s.group, m, method, FitOptions{}); err != nil {
						b.Fatal(err)
					}
				}
				perOp := b.Elapsed().Seconds() / float64(b.N)
				b.ReportMetric((square+flops[method])/perOp/1e9, "GFLOP/s") // square: RelativeError
			})
		}
	}
}

func BenchmarkMoment(b *testing.B) {
	cpu := newCPU(b, 1)
	const in = 2880
	x := normals(randomSource(1), momentTokens*in)
	m := NewMoment(in)
	for b.Loop() {
		if err := m.Add(cpu, x, in, nil); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(momentTokens)*in*in*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
}

func BenchmarkMatMulNT(b *testing.B) {
	const m, n, k = maxBatchRows, 192, 2880
	r := randomSource(1)
	x, y, dst := normals(r, m*k), normals(r, n*k), make([]float32, m*n)
	for b.Loop() {
		ops.MatMulNT(dst, n, x, k, y, k, m, n, k, false)
	}
	b.ReportMetric(2*m*n*k*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
}

func BenchmarkFitInt4(b *testing.B) {
	const out, in = 64, 2880
	w := normals(randomSource(1), out*in)
	b.SetBytes(4 * out * in)
	for b.Loop() {
		if _, _, err := FitInt4(w, out, in, testInt4Group); err != nil {
			b.Fatal(err)
		}
	}
}
