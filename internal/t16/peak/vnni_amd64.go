//go:build !purego

package peak

import "golang.org/x/sys/cpu"

// HasVNNI says whether [VNNI] may be called.
var HasVNNI = cpu.X86.HasAVX512F && cpu.X86.HasAVX512VNNI

// VNNIMACs is the multiply-accumulates of one round of [VNNI]: 24 VPDPBUSD of 64.
const VNNIMACs = 24 * 64

// VNNI does rounds > 0 rounds of independent VPDPBUSD, the accumulators of a 24-token tile.
//
//go:noescape
func VNNI(rounds int)
