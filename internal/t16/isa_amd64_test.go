//go:build !purego

package t16

import "golang.org/x/sys/cpu"

func isas() []isa {
	set := func(vnni, avx2 bool) func() { return func() { useVNNI, useAVX2 = vnni, avx2 } }
	avx2 := cpu.X86.HasAVX2 && cpu.X86.HasF16C
	return []isa{
		{"avx512vnni", avx2 && cpu.X86.HasAVX512F && cpu.X86.HasAVX512BW && cpu.X86.HasAVX512VNNI, set(true, true)},
		{"avx2", avx2, set(false, true)},
		{"generic", true, set(false, false)},
	}
}

func current() (restore func()) {
	vnni, avx2 := useVNNI, useAVX2
	return func() { useVNNI, useAVX2 = vnni, avx2 }
}
