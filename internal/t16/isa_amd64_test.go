//go:build !purego

package t16

import "golang.org/x/sys/cpu"

func isas() []isa {
	set := func(vbmi, vnni, avx2 bool) func() {
		return func() { useVBMI, useVNNI, useAVX2 = vbmi, vnni, avx2 }
	}
	avx2 := cpu.X86.HasAVX2 && cpu.X86.HasF16C
	vnni := avx2 && cpu.X86.HasAVX512F && cpu.X86.HasAVX512BW && cpu.X86.HasAVX512VNNI
	return []isa{
		{"avx512vbmi", vnni && cpu.X86.HasAVX512VBMI, set(true, true, true)},
		{"avx512vnni", vnni, set(false, true, true)},
		{"avx2", avx2, set(false, false, true)},
		{"generic", true, set(false, false, false)},
	}
}

func current() (restore func()) {
	vbmi, vnni, avx2 := useVBMI, useVNNI, useAVX2
	return func() { useVBMI, useVNNI, useAVX2 = vbmi, vnni, avx2 }
}
