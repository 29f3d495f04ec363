//go:build !purego

package t16

import "golang.org/x/sys/cpu"

func isas() []isa {
	set := func(i8mm, dot, neon bool) func() { return func() { useI8MM, useDot, useNEON = i8mm, dot, neon } }
	dot := cpu.ARM64.HasASIMDDP && cpu.ARM64.HasASIMD
	return []isa{
		{"i8mm", cpu.ARM64.HasI8MM && dot, set(true, true, true)},
		{"dotprod", dot, set(false, true, true)},
		{"neon", cpu.ARM64.HasASIMD, set(false, false, true)},
		{"generic", true, set(false, false, false)},
	}
}

func current() (restore func()) {
	i8mm, dot, neon := useI8MM, useDot, useNEON
	return func() { useI8MM, useDot, useNEON = i8mm, dot, neon }
}
