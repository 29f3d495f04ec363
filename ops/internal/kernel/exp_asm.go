//go:build (amd64 || arm64) && !purego

package kernel

// expConsts is what the assembly broadcasts; the order is known to it.
var expConsts = [12]float32{expMax, expMin, log2e, rintBias, negLn2Hi, negLn2Lo,
	expPoly[0], expPoly[1], expPoly[2], expPoly[3], expPoly[4], 1}
