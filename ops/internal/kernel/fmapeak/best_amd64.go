//go:build !purego

package fmapeak

import "golang.org/x/sys/cpu"

func best() string {
	switch {
	case cpu.X86.HasAVX512F:
		return "avx512"
	case cpu.X86.HasAVX2 && cpu.X86.HasFMA:
		return "avx2"
	}
	return ""
}
