package kernel

import (
	"encoding/binary"
	"math"
)

// The functions of this file and of generic_math.go are the definition of every
// kernel. The assembly equals them bit for bit, NaN payloads excepted, so they
// are always compiled, and whatever has no assembly runs them.
//
// Every product that feeds a sum is either fma32 or wrapped in float32():
// without the conversion the compiler may fuse x*y+z on arm64 and change bits.

// lanes is the number of partial sums of a dot product. The count is part of
// the definition, not of a machine: one AVX-512 register, two AVX2, four NEON.
const lanes = 16

// fma32 returns a·b + c with a single rounding to float32.
//
// The product of two float32 is exact in float64, so s differs from the true
// sum by one float64 rounding. Rounding s again is wrong only if s sits exactly
// between two float32 values, which needs 28 zero bits at its end, normal or
// subnormal result alike; then the sum's error, exact by TwoSum, breaks the tie.
func fma32(a, b, c float32) float32 {
	p, d := float64(a)*float64(b), float64(c)
	s := p + d
	u := math.Float64bits(s)
	if u&(1<<28-1) != 0 {
		return float32(s)
	}
	return float32(roundToOdd(s, p, d))
}

// roundToOdd returns s = p + d, or its float64 neighbour in the direction of
// the error of the sum if there is one: s ends in zeros here, the neighbour
// does not, and so no later rounding can take it for a tie.
func roundToOdd(s, p, d float64) float64 {
	v := s - p
	e := (p - (s - v)) + (d - v)
	u := math.Float64bits(s)
	switch {
	case e == 0 || u>>52&0x7ff == 0x7ff:
		return s
	case (e > 0) == (s > 0):
		return math.Float64frombits(u + 1)
	default:
		return math.Float64frombits(u - 1)
	}
}

// foldLanes reduces the partial sums in the fixed order 16, 8, 4, 2, 1.
func foldLanes(acc *[lanes]float32) float32 {
	for w := lanes / 2; w > 0; w /= 2 {
		for l := 0; l < w; l++ {
			acc[l] += acc[l+w]
		}
	}
	return acc[0]
}

func dotLanesGeneric(acc *[lanes]float32, a, b []float32) {
	for k := range a {
		acc[k%lanes] = fma32(a[k], b[k], acc[k%lanes])
	}
	for l := len(a) % lanes; l%lanes != 0; l++ {
		acc[l] = fma32(0, 0, acc[l]) // the padding: turns -0 into +0
	}
}

func dotGeneric(a, b []float32) float32 {
	var acc [lanes]float32
	dotLanesGeneric(&acc, a, b)
	return foldLanes(&acc)
}

func sumLanesGeneric(acc *[lanes]float32, x []float32) {
	for k, v := range x {
		acc[k%lanes] += v
	}
	for l := len(x) % lanes; l%lanes != 0; l++ {
		acc[l] += 0
	}
}

func matMulNTGeneric(dst []float32, ldd int, a []float32, lda int, b []float32, ldb, m, n, k int, accumulate bool) {
	for i := range m {
		for j := range n {
			s := dotGeneric(a[i*lda:i*lda+k], b[j*ldb:j*ldb+k])
			if accumulate {
				s += dst[i*ldd+j]
			}
			dst[i*ldd+j] = s
		}
	}
}

func axpyGeneric(alpha float32, x, y []float32) {
	for i := range y {
		y[i] = fma32(alpha, x[i], y[i])
	}
}

func addGeneric(dst, a, b []float32) {
	for i := range dst {
		dst[i] = a[i] + b[i]
	}
}

func mulGeneric(dst, a, b []float32) {
	for i := range dst {
		dst[i] = a[i] * b[i]
	}
}

func scaleGeneric(dst []float32, a float32, x []float32) {
	for i := range dst {
		dst[i] = a * x[i]
	}
}

// maxLanesGeneric and absMaxLanesGeneric fold x into acc lane by lane; a NaN in
// x makes its lane NaN for good.
func maxLanesGeneric(acc *[lanes]float32, x []float32) {
	for k, v := range x {
		acc[k%lanes] = max(acc[k%lanes], v)
	}
}

func absMaxLanesGeneric(acc *[lanes]float32, x []float32) {
	for k, v := range x {
		acc[k%lanes] = max(acc[k%lanes], math.Float32frombits(math.Float32bits(v)&^(1<<31)))
	}
}

func decodeBF16Generic(dst []float32, src []byte) {
	for i := range dst {
		dst[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(src[2*i:])) << 16)
	}
}

func decodeF16Generic(dst []float32, src []byte) {
	for i := range dst {
		dst[i] = f16(binary.LittleEndian.Uint16(src[2*i:]))
	}
}

// f16 is exact: every binary16 value, subnormals included, is a normal float32.
func f16(h uint16) float32 {
	sign := uint32(h>>15) << 31
	exp, frac := uint32(h>>10&0x1f), uint32(h&0x3ff)
	switch exp {
	case 0:
		v := float32(frac) * 0x1p-24
		return math.Float32frombits(sign | math.Float32bits(v))
	case 31:
		if frac != 0 {
			frac |= 0x200 // quiet, as the conversion instructions do
		}
		return math.Float32frombits(sign | 0xff<<23 | frac<<13)
	}
	return math.Float32frombits(sign | (exp+127-15)<<23 | frac<<13)
}

// e2m1 holds the sixteen MXFP4 codes; 8 is -0.
var e2m1 = [16]float32{0, .5, 1, 1.5, 2, 3, 4, 6,
	math.Float32frombits(1 << 31), -.5, -1, -1.5, -2, -3, -4, -6}

// e8m0 holds the factor of every MXFP4 scale byte s: 2^(s-127), and NaN for 255.
var e8m0 = e8m0Table()

func e8m0Table() (t [256]float32) {
	for s := range t {
		t[s] = math.Float32frombits(uint32(s) << 23)
	}
	t[0] = 0x1p-127 // subnormal
	t[255] = float32(math.NaN())
	return t
}

// mxfp4 holds the values of the sixteen codes under every scale byte. They are
// the products that decoding computes, made once.
var mxfp4 = mxfp4Table()

func mxfp4Table() (t [256][16]float32) {
	for s, f := range e8m0 {
		for c, v := range e2m1 {
			t[s][c] = v * f
		}
	}
	return t
}

// mxfp4Halves holds the low and the high bytes of the same values as bfloat16,
// which they all are, exactly.
var mxfp4Halves = mxfp4HalvesTable()

func mxfp4HalvesTable() (t [256][2][16]byte) {
	for s, values := range mxfp4 {
		for c, v := range values {
			u := math.Float32bits(v)
			t[s][0][c], t[s][1][c] = byte(u>>16), byte(u>>24)
		}
	}
	return t
}

func decodeMXFP4Generic(dst []float32, blocks, scales []byte) {
	for g, s := range scales {
		f := e8m0[s]
		for i, c := range blocks[g*16 : g*16+16] {
			dst[g*32+2*i] = e2m1[c&15] * f
			dst[g*32+2*i+1] = e2m1[c>>4] * f
		}
	}
}
