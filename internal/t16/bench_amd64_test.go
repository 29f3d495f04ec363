//go:build !purego

package t16

import (
	"testing"

	"github.com/seed-796a8800/tritium/internal/t16/peak"
)

// BenchmarkPeak is the ceiling of MatMul's GMAC/s with isa=avx512vnni.
func BenchmarkPeak(b *testing.B) {
	b.Run("isa=avx512vnni", func(b *testing.B) {
		if !peak.HasVNNI {
			b.Skip("no AVX-512 VNNI")
		}
		const rounds = 10_000
		for b.Loop() {
			peak.VNNI(rounds)
		}
		b.ReportMetric(float64(b.N)*rounds*peak.VNNIMACs/b.Elapsed().Seconds()/1e9, "GMAC/s")
	})
}
