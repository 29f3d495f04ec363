//go:build !(amd64 || arm64) || purego

package readprobe

func xorBlocks(words []uint64) uint64 { return xorGeneric(words) }
