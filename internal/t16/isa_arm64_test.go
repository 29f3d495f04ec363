//go:build !purego

package t16

import "golang.org/x/sys/cpu"

func isas() []isa {
	set := func(dot, neon bool) func() { return func() { useDot, useNEON = dot, neon } }
	return []isa{
		{"dotprod", cpu.ARM64.HasASIMDDP, set(true, true)},
		{"neon", cpu.ARM64.HasASIMD, set(false, true)},
		{"generic", true, set(false, false)},
	}
}

func current() (restore func()) {
	dot, neon := useDot, useNEON
	return func() { useDot, useNEON = dot, neon }
}
