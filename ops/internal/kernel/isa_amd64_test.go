//go:build !purego

package kernel

var instructionSets = []isa{
	{"avx512", &useAVX512, useAVX512},
	{"avx2", &useAVX2, useAVX2},
}
