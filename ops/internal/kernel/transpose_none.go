//go:build !amd64 || purego

package kernel

// transposeBlock is 0: there is no assembly.
func transposeBlock() int { return 0 }

func transposeRows(*float32, int, *[transposeMax]*float32, int) {
	panic("kernel: no assembly transposes here")
}
