//go:build !(amd64 || arm64) || purego

package kernel

// Without assembly tiled is false and the tile kernels are never called.
func tiled() bool { return false }

func tileShape(int) (mr, nr, nv int) { return 0, 0, 0 }

func tile(*float32, int, *panel) {}

func gemv(*float32, *float32, *float32, int, int, *float32, int) {}

func dotLanes(acc *[lanes]float32, a, b []float32)     { dotLanesGeneric(acc, a, b) }
func sumLanes(acc *[lanes]float32, x []float32)        { sumLanesGeneric(acc, x) }
func maxLanes(acc *[lanes]float32, x []float32)        { maxLanesGeneric(acc, x) }
func absMaxLanes(acc *[lanes]float32, x []float32)     { absMaxLanesGeneric(acc, x) }
func axpy(alpha float32, x, y []float32)               { axpyGeneric(alpha, x, y) }
func add(dst, a, b []float32)                          { addGeneric(dst, a, b) }
func mul(dst, a, b []float32)                          { mulGeneric(dst, a, b) }
func scale(dst []float32, a float32, x []float32)      { scaleGeneric(dst, a, x) }
func norm(dst, x, w []float32, s float32)              { normGeneric(dst, x, w, s) }
func expSubBlocks(dst, x []float32, sub float32)       { expSubGeneric(dst, x, sub) }
func swiGLU(dst, gateUp []float32, limit float32)      { swiGLUGeneric(dst, gateUp, limit) }
func rotate(d0, d1, x0, x1, cos, sin []float32)        { rotateGeneric(d0, d1, x0, x1, cos, sin) }
func decodeBF16(dst []float32, src []byte)             { decodeBF16Generic(dst, src) }
func decodeF16(dst []float32, src []byte)              { decodeF16Generic(dst, src) }
func decodeMXFP4(dst []float32, blocks, scales []byte) { decodeMXFP4Generic(dst, blocks, scales) }
