// Package mxfp4 converts between float32 and MXFP4, the 4.25-bit weight format of GPT-OSS.
//
// A block is 32 consecutive weights along a row's input axis: 16 bytes of codes and one scale byte. Byte b holds
// weight 2b in its low nibble and weight 2b+1 in its high nibble. A code is an E2M1 float (bit 3 is the sign):
//
//	code  0 1   2 3   4 5 6 7
//	value 0 0.5 1 1.5 2 3 4 6
//
// and a scale byte s is the E8M0 factor 2^(s-127); 255 is NaN. This is the order of Hugging Face and OpenAI
// checkpoints; GGUF's type 39 interleaves scales and splits each block in halves instead.
//
// Source: OCP Microscaling Formats (MX) Specification v1.0; openai/gpt-oss
// gpt_oss/torch/weights.py; ggml quantize_row_mxfp4_ref.
package mxfp4

import (
	"errors"
	"fmt"
	"math"
)

// BlockSize is the number of weights that share a scale.
const BlockSize = 32

const (
	bytesPerBlock = BlockSize / 2
	scaleNaN      = 255
	scaleBias     = 127
	maxExponent   = 2 // floor(log2(6)), of the largest code
)

// values is the value of each code.
var values = [16]float32{0, 0.5, 1, 1.5, 2, 3, 4, 6, float32(math.Copysign(0, -1)), -0.5, -1, -1.5, -2, -3, -4, -6}

// pairs is the two values of each byte, low nibble first.
var pairs = func() (p [256][2]float32) {
	for b := range p {
		p[b] = [2]float32{values[b&15], values[b>>4]}
	}
	return p
}()

// DecodeRow expands blocks and scales into dst: dst[32g+i] = value(code i of block g) · 2^(scales[g]-127).
//
// Results are exact, subnormals included, except that products of 2^128 and more (scale 254 with |code value| ≥ 2,
// scale 253 with ≥ 4) become ±Inf. Scale 255 makes its whole block NaN; Valid finds it.
//
// Shapes: dst [32·G], blocks [16·G], scales [G]. It panics on other lengths.
func DecodeRow(dst []float32, blocks, scales []byte) {
	checkLengths(len(dst), len(blocks), len(scales))
	for g, s := range scales {
		f := factor(s)
		codes := (*[bytesPerBlock]byte)(blocks[g*bytesPerBlock:])
		out := (*[BlockSize]float32)(dst[g*BlockSize:])
		for b, c := range codes {
			v := &pairs[c]
			out[2*b] = v[0] * f
			out[2*b+1] = v[1] * f
		}
	}
}

// Valid reports the first scale that is NaN.
//
// Errors: scale 255 at some block; no checkpoint uses it, so the data is damaged or not MXFP4.
func Valid(scales []byte) error {
	for g, s := range scales {
		if s == scaleNaN {
			return fmt.Errorf("mxfp4: block %d: scale 255 means NaN; the data is damaged or not MXFP4", g)
		}
	}
	return nil
}

// factor returns 2^(s-127), NaN for s = 255.
func factor(s byte) float32 {
	switch s {
	case 0:
		return 0x1p-127 // subnormal: its exponent field is 0 and the leading one is in the mantissa
	case scaleNaN:
		return float32(math.NaN())
	}
	return math.Float32frombits(uint32(s) << 23)
}

// Encode quantizes a row: per block s = floor(log2(max|x|)) - 2 + 127, at least 0, and each code the one nearest to
// x / 2^(s-127), ties to the code with an even mantissa bit, |x| over 6 to 6. Signs of zeros are kept; a block of zeros
// gets scale 0. Encoding what DecodeRow produced decodes to the same values again.
//
// Shapes: row [32·G], blocks [16·G], scales [G]. It panics on other lengths.
//
// Errors: NaN or Inf in row; blocks and scales are then partly written.
func Encode(row []float32, blocks, scales []byte) error {
	checkLengths(len(row), len(blocks), len(scales))
	for g := range scales {
		x := (*[BlockSize]float32)(row[g*BlockSize:])
		s, err := blockScale(x)
		if err != nil {
			return fmt.Errorf("mxfp4: block %d: %w", g, err)
		}
		scales[g] = s
		// In float64 the division by a power of two is exact for every float32 and every scale.
		inv := math.Ldexp(1, scaleBias-int(s))
		codes := (*[bytesPerBlock]byte)(blocks[g*bytesPerBlock:])
		for b := range codes {
			codes[b] = nearest(float64(x[2*b])*inv) | nearest(float64(x[2*b+1])*inv)<<4
		}
	}
	return nil
}

// blockScale returns the scale byte that fits the largest magnitude of a block.
func blockScale(x *[BlockSize]float32) (byte, error) {
	var amax float64
	for _, v := range x {
		a := math.Abs(float64(v))
		if math.IsNaN(a) || math.IsInf(a, 0) {
			return 0, errors.New("NaN or Inf cannot be encoded")
		}
		amax = max(amax, a)
	}
	if amax == 0 {
		return 0, nil
	}
	// Ilogb is floor(log2) without rounding; float32 tops out at exponent 127, so s never passes 252.
	return byte(max(math.Ilogb(amax)-maxExponent+scaleBias, 0)), nil
}

// nearest returns the code closest to v. The bounds are the midpoints between neighbours; a midpoint goes to the
// code whose mantissa bit (bit 0) is even.
func nearest(v float64) byte {
	var sign byte
	if math.Signbit(v) {
		sign, v = 8, -v
	}
	switch {
	case v <= 0.25:
		return sign
	case v < 0.75:
		return sign | 1
	case v <= 1.25:
		return sign | 2
	case v < 1.75:
		return sign | 3
	case v <= 2.5:
		return sign | 4
	case v < 3.5:
		return sign | 5
	case v <= 5:
		return sign | 6
	}
	return sign | 7
}

func checkLengths(row, blocks, scales int) {
	if row != scales*BlockSize || blocks != scales*bytesPerBlock {
		panic(fmt.Sprintf("mxfp4: %d weights, %d block bytes and %d scales do not match (want 32:16:1)", row, blocks, scales))
	}
}
