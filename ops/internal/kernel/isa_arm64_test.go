//go:build !purego

package kernel

var instructionSets = []isa{{"neon", &useNEON, useNEON}}
