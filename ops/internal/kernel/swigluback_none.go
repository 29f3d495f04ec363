//go:build !amd64 || purego

package kernel

func swiGLUBack(dst, dy, gateUp []float32, limit float32) {
	swiGLUBackGeneric(dst, dy, gateUp, limit)
}
