package ternaryop

import "github.com/seed-796a8800/tritium/internal/t16"

// QuantizeRow rounds a token's activations to int8 as the ternary projections
// do, and returns their scale: x ≈ scale · dst.
//
//	absmax = max |x|, scale = absmax/127, dst = roundHalfEven(x · (127/absmax))
//
// A row below 2^-120 is zero with scale 0; one with a NaN or an infinity has
// scale NaN.
//
// Shapes: dst and x [In]. Source: BitNet b1.58, arXiv 2402.17764.
func QuantizeRow(dst []int8, x []float32) (scale float32) { return t16.QuantizeRow(dst, x) }
