package kernel

// DecodeBF16 widens little-endian bfloat16 values, exactly.
//
// Shapes: dst [N], src [2·N] bytes of any alignment.
func DecodeBF16(dst []float32, src []byte) {
	checkLen("src", len(src), 2*len(dst))
	n := len(dst) &^ (lanes - 1)
	if n > 0 {
		decodeBF16(dst[:n], src[:2*n])
	}
	if n < len(dst) {
		decodeBF16Generic(dst[n:], src[2*n:])
	}
}

// DecodeF16 widens little-endian IEEE binary16 values, exactly.
//
// Shapes: dst [N], src [2·N] bytes of any alignment.
func DecodeF16(dst []float32, src []byte) {
	checkLen("src", len(src), 2*len(dst))
	n := len(dst) &^ (lanes - 1)
	if n > 0 {
		decodeF16(dst[:n], src[:2*n])
	}
	if n < len(dst) {
		decodeF16Generic(dst[n:], src[2*n:])
	}
}

// DecodeMXFP4 dequantizes blocks of 32 E2M1 codes with one E8M0 scale each:
// dst[32g+2i] is the low and dst[32g+2i+1] the high nibble of blocks[16g+i],
// times 2^(scales[g]-127). Results that are subnormal are exact, those beyond
// the float32 range are ±Inf, and scale 255 gives NaN.
//
// Shapes: dst [32·G], blocks [16·G], scales [G].
//
// Source: OCP Microscaling Formats (MX) v1.0, sections 5.3.3 and 5.4.1.
func DecodeMXFP4(dst []float32, blocks, scales []byte) {
	checkLen("dst", len(dst), 32*len(scales))
	checkLen("blocks", len(blocks), 16*len(scales))
	if len(scales) > 0 {
		decodeMXFP4(dst, blocks, scales)
	}
}
