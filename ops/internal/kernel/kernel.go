// Package kernel computes float32 vector and matrix primitives, each with one
// portable definition and SIMD twins that give the same bits on every machine.
//
// Sums, but for those of attention, run over 16 lanes: element k goes to lane
// k%16, a tail counts as padded with +0, and the lanes are added pairwise
// 16→8→4→2→1. A result therefore depends on the values and the length, never on the instruction set, the
// strides or how many rows are computed together. NaNs stay NaN, but which
// payload survives is not defined.
//
// Inputs may not overlap outputs unless they start at the same element.
// Wrong lengths are programmer errors and panic.
package kernel

import (
	"fmt"
	"math"
)

func checkLen(name string, got, want int) {
	if got != want {
		panic(fmt.Sprintf("kernel: %s has %d elements, want %d", name, got, want))
	}
}

// Dot returns Σ_k a[k]·b[k], every step a fused multiply-add.
//
// Shapes: a, b [K].
func Dot(a, b []float32) float32 {
	checkLen("b", len(b), len(a))
	var acc [lanes]float32
	n := len(a) &^ (lanes - 1)
	if n > 0 {
		dotLanes(&acc, a[:n], b[:n])
	}
	if n < len(a) {
		var s, t [lanes]float32
		copy(s[:], a[n:])
		copy(t[:], b[n:])
		dotLanes(&acc, s[:], t[:])
	}
	return foldLanes(&acc)
}

// SumSquares returns Σ_k x[k]², which is Dot(x, x).
func SumSquares(x []float32) float32 { return Dot(x, x) }

// Sum returns Σ_k x[k].
func Sum(x []float32) float32 {
	var acc [lanes]float32
	n := len(x) &^ (lanes - 1)
	if n > 0 {
		sumLanes(&acc, x[:n])
	}
	if n < len(x) {
		var t [lanes]float32
		copy(t[:], x[n:])
		sumLanes(&acc, t[:])
	}
	return foldLanes(&acc)
}

// Max returns the largest element, NaN if any element is NaN, and -Inf of an
// empty x. A maximum of zero is +0.
func Max(x []float32) float32 {
	var acc [lanes]float32
	for l := range acc {
		acc[l] = float32(math.Inf(-1))
	}
	t := acc
	n := len(x) &^ (lanes - 1)
	if n > 0 {
		maxLanes(&acc, x[:n])
	}
	if n < len(x) {
		copy(t[:], x[n:])
		maxLanes(&acc, t[:])
	}
	return foldMax(&acc) + 0 // -0 + 0 = +0: instruction sets disagree on max(-0, +0)
}

// foldMax returns the largest lane, or a NaN. It compares integers, of which
// the processor finds the larger one without a branch: with all bits but the
// sign of a negative number turned around they are in the order of the floats.
func foldMax(acc *[lanes]float32) float32 {
	m := int32(math.MinInt32)
	for _, v := range acc {
		if v != v {
			return v
		}
		b := int32(math.Float32bits(v))
		m = max(m, b^int32(uint32(b>>31)>>1))
	}
	return math.Float32frombits(uint32(m ^ int32(uint32(m>>31)>>1)))
}

// AbsMax returns the largest |x[k]|, NaN if any element is NaN, and 0 of an
// empty x.
func AbsMax(x []float32) float32 {
	var acc, t [lanes]float32
	n := len(x) &^ (lanes - 1)
	if n > 0 {
		absMaxLanes(&acc, x[:n])
	}
	copy(t[:], x[n:])
	absMaxLanesGeneric(&acc, t[:])
	return max(acc[0], acc[1], acc[2], acc[3], acc[4], acc[5], acc[6], acc[7],
		acc[8], acc[9], acc[10], acc[11], acc[12], acc[13], acc[14], acc[15])
}

// Axpy computes y += alpha·x, fused.
//
// Shapes: x, y [N].
func Axpy(alpha float32, x, y []float32) {
	checkLen("x", len(x), len(y))
	n := len(y) &^ (lanes - 1)
	if n > 0 {
		axpy(alpha, x[:n], y[:n])
	}
	if n < len(y) {
		var s, t [lanes]float32
		copy(s[:], x[n:])
		copy(t[:], y[n:])
		axpy(alpha, s[:], t[:])
		copy(y[n:], t[:])
	}
}

// Add computes dst = a + b.
//
// Shapes: dst, a, b [N].
func Add(dst, a, b []float32) {
	checkLen("a", len(a), len(dst))
	checkLen("b", len(b), len(dst))
	n := len(dst) &^ (lanes - 1)
	if n > 0 {
		add(dst[:n], a[:n], b[:n])
	}
	if n < len(dst) {
		addGeneric(dst[n:], a[n:], b[n:])
	}
}

// Mul computes dst = a·b, element by element.
//
// Shapes: dst, a, b [N].
func Mul(dst, a, b []float32) {
	checkLen("a", len(a), len(dst))
	checkLen("b", len(b), len(dst))
	n := len(dst) &^ (lanes - 1)
	if n > 0 {
		mul(dst[:n], a[:n], b[:n])
	}
	if n < len(dst) {
		mulGeneric(dst[n:], a[n:], b[n:])
	}
}

// Scale computes dst = a·x.
//
// Shapes: dst, x [N].
func Scale(dst []float32, a float32, x []float32) {
	checkLen("x", len(x), len(dst))
	n := len(dst) &^ (lanes - 1)
	if n > 0 {
		scale(dst[:n], a, x[:n])
	}
	if n < len(dst) {
		scaleGeneric(dst[n:], a, x[n:])
	}
}
