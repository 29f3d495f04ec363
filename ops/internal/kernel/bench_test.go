package kernel

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/seed-796a8800/tritium/ops/internal/kernel/fmapeak"
)

// peak returns the multiply-adds per nanosecond of the bare instruction.
func peak(name string) float64 {
	const rounds = 20_000
	start := time.Now()
	return float64(fmapeak.Run(name, rounds)) / float64(time.Since(start).Nanoseconds())
}

// quarter returns the value that a quarter of x lies below.
func quarter(x []float64) float64 {
	slices.Sort(x)
	return x[len(x)/4]
}

// BenchmarkMatMulNT reports GMAC/s and the peak of the bare instruction, which
// is measured between the iterations. Both are quartiles on the fast side: the
// mean of a shared machine measures its other users.
func BenchmarkMatMulNT(b *testing.B) {
	eachISA(b, func(b *testing.B, name string) {
		for _, s := range [][3]int{{512, 384, 384}, {128, 128, 512}, {512, 60, 2880}, {64, 60, 2880}, {512, 60, 4096}, {512, 512, 4096}, {64, 2880, 2880}, {512, 2880, 2880}, {64, 2880, 4096}, {4, 2880, 2880}, {3, 2880, 2880}, {2, 2880, 2880}, {1, 2880, 2880}, {1, 32, 2880}, {64, 512, 64}} {
			b.Run(fmt.Sprintf("rows=%d/cols=%d/k=%d", s[0], s[1], s[2]), func(b *testing.B) {
				if name == "generic" && s[0] > 1 {
					b.Skip("seconds a product")
				}
				benchMatMulNT(b, name, s[0], s[1], s[2])
			})
		}
	})
}

func benchMatMulNT(b *testing.B, name string, m, n, k int) {
	x, w, y := make([]float32, m*k), make([]float32, n*k), make([]float32, m*n)
	fill(newRand(), x, fills["normal"])
	fill(newRand(), w, fills["normal"])
	b.SetBytes(int64(4 * (m*k + n*k + m*n)))
	var times, peaks []float64
	for range b.N {
		b.StopTimer()
		peaks = append(peaks, -peak(name))
		b.StartTimer()
		start := time.Now()
		MatMulNT(y, n, x, k, w, k, m, n, k, false)
		times = append(times, float64(time.Since(start).Nanoseconds()))
	}
	rate, best := float64(m*n*k)/quarter(times), -quarter(peaks)
	b.ReportMetric(rate, "GMAC/s")
	if best > 0 {
		b.ReportMetric(best, "peak-GMAC/s")
		b.ReportMetric(100*rate/best, "%peak")
	}
}

func benchVector(b *testing.B, bytes int, f func(n int)) {
	const n = 2880
	eachISA(b, func(b *testing.B, _ string) {
		b.Run(fmt.Sprintf("rows=1/cols=%d", n), func(b *testing.B) {
			b.SetBytes(int64(bytes * n))
			for range b.N {
				f(n)
			}
		})
	})
}

func BenchmarkDot(b *testing.B) {
	x := make([]float32, 2880)
	benchVector(b, 8, func(int) { Dot(x, x) })
}

func BenchmarkAxpy(b *testing.B) {
	x, y := make([]float32, 2880), make([]float32, 2880)
	benchVector(b, 12, func(int) { Axpy(0.5, x, y) })
}

func BenchmarkExp(b *testing.B) {
	x, y := make([]float32, 2880), make([]float32, 2880)
	benchVector(b, 8, func(int) { Exp(y, x) })
}

func BenchmarkSwiGLU(b *testing.B) {
	x, y := make([]float32, 2*2880), make([]float32, 2880)
	benchVector(b, 12, func(int) { SwiGLU(y, x, 7) })
}

func BenchmarkRMSNorm(b *testing.B) {
	x, y := make([]float32, 2880), make([]float32, 2880)
	benchVector(b, 12, func(int) { RMSNorm(y, x, x, 1e-5) })
}

func BenchmarkDecodeBF16(b *testing.B) {
	y, src := make([]float32, 2880), make([]byte, 2*2880)
	benchVector(b, 6, func(int) { DecodeBF16(y, src) })
}

func BenchmarkDecodeMXFP4(b *testing.B) {
	y, src, scales := make([]float32, 2880), make([]byte, 1440), make([]byte, 90)
	benchVector(b, 4, func(int) { DecodeMXFP4(y, src, scales) })
}
