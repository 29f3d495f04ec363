//go:build !purego

package kernel

// swiGLUBackAVX512 computes, for n a multiple of 16, what swiGLUBackGeneric
// does.
//
//go:noescape
func swiGLUBackAVX512(dst, dy, gateUp *float32, limit, negAlpha float32, n int, consts *[12]float32)

func swiGLUBack(dst, dy, gateUp []float32, limit float32) {
	if useAVX512 {
		swiGLUBackAVX512(&dst[0], &dy[0], &gateUp[0], limit, -swigluAlpha, len(dy), &expConsts)
	} else {
		swiGLUBackGeneric(dst, dy, gateUp, limit)
	}
}
