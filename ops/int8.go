package ops

import (
	"math"

	"github.com/seed-796a8800/tritium/graph"
	"github.com/seed-796a8800/tritium/ops/internal/kernel"
)

// roundInt8 rounds a row of activations to the values that int8 with one scale
// a row can hold. It is the rounding of ternaryop.QuantizeRow, in the same
// arithmetic:
//
//	inv = 127/absmax, dst = roundHalfEven(x·inv) · (absmax/127)
//
// A row below 2^-120 is zero; one with a NaN or an infinity is NaN.
func roundInt8(dst, x []float32) {
	m := kernel.AbsMax(x)
	switch {
	case m < 0x1p-120:
		clear(dst)
		return
	case m != m || math.IsInf(float64(m), 0):
		for i := range dst {
			dst[i] = float32(math.NaN())
		}
		return
	}
	inv, scale := 127/m, m/127
	for i, v := range x {
		// Above 1.5·2^23 float32 has no fractions: adding it rounds.
		dst[i] = (float32(float32(v*inv)+0x1.8p23) - 0x1.8p23) * scale
	}
}

// int8Rows rounds rows of a batch, in memory of its own.
type int8Rows struct {
	cpu      *graph.CPU
	in       int
	src, dst []float32
	do       func(worker, i int)
}

func newInt8Rows(cpu *graph.CPU, rows, in int) *int8Rows {
	r := &int8Rows{cpu: cpu, in: in, dst: make([]float32, rows*in)}
	r.do = func(_, i int) {
		roundInt8(r.dst[i*in:(i+1)*in], r.src[i*in:(i+1)*in])
	}
	return r
}

func (r *int8Rows) round(x []float32, rows int) []float32 {
	r.src = x
	r.cpu.Parallel(rows, r.do)
	return r.dst
}
