//go:build purego || !(amd64 || arm64)

package t16

func isas() []isa { return []isa{{"generic", true, func() {}}} }

func current() (restore func()) { return func() {} }
