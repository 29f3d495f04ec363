package t16

import (
	"fmt"
	"math"
	"unsafe"
)

// minAbsMax is the largest magnitude below which a row counts as zero: 127 divided by anything smaller may overflow.
const minAbsMax = 0x1p-120

// QuantizeRow rounds a row of activations to int8 with one scale for the row, in float32 arithmetic:
//
//	absmax = max |x|,  scale = RN(absmax/127),  inv = RN(127/absmax),  dst[k] = roundHalfEven(RN(x[k]·inv))
//
// No clamp is needed: |x|·inv <= 127·(1+2^-24)^2, which rounds to 127, so dst lies in [-127, 127].
// A row below 2^-120 everywhere is zero with scale 0. A row with a NaN or an infinity is zero with scale NaN, so that
// every product with it is NaN: the fault shows and never turns into plausible numbers.
//
// Shapes: dst and x [K]. Panics unless they are equally long. The same bits on every instruction set.
func QuantizeRow(dst []int8, x []float32) (scale float32) {
	if len(dst) != len(x) {
		panic(fmt.Sprintf("t16: QuantizeRow: %d codes for %d values", len(dst), len(x)))
	}
	scale, inv := rowScale(x)
	quantize(unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(dst))), len(dst)), x, inv)
	return scale
}

// rowScale returns the scale of a row and the factor that takes it to int8; the factor 0 means that all codes are 0.
func rowScale(x []float32) (scale, inv float32) {
	bits := absMaxBits(x)
	if bits >= 0x7F800000 {
		return float32(math.NaN()), 0
	}
	absmax := math.Float32frombits(bits)
	if absmax < minAbsMax {
		return 0, 0
	}
	return absmax / 127, 127 / absmax
}

// quantize sets dst[k] = roundHalfEven(RN(x[k]·inv)) as two's complement; all 0 where inv is.
func quantize(dst []byte, x []float32, inv float32) {
	if inv == 0 {
		clear(dst)
		return
	}
	n := quantizeSIMD(dst, x, inv)
	quantizeGeneric(dst[n:], x[n:], inv)
}

// absMaxBits returns the bits of max |x|. Ordered as integers, infinity is above every number and NaN above infinity.
func absMaxBits(x []float32) uint32 {
	bits, n := absMaxSIMD(x)
	return max(bits, absMaxGeneric(x[n:]))
}

func absMaxGeneric(x []float32) (bits uint32) {
	for _, v := range x {
		bits = max(bits, math.Float32bits(v)&0x7FFFFFFF)
	}
	return bits
}

// quantizeGeneric rounds by adding 1.5·2^23, above which float32 has no fractions: the sum's low byte is the result.
func quantizeGeneric(dst []byte, x []float32, inv float32) {
	for k, v := range x {
		dst[k] = byte(math.Float32bits(float32(float32(v*inv) + 0x1.8p23)))
	}
}
