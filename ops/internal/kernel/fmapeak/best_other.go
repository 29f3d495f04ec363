//go:build !amd64 || purego

package fmapeak

// best is the one instruction set of arm64, or one that run does not know.
func best() string { return "neon" }
