//go:build !purego

package peak

import "golang.org/x/sys/cpu"

func run(rounds int) (macsPerRound int) {
	if !cpu.ARM64.HasASIMDDP {
		return 0
	}
	dot(rounds)
	return 24 * 16
}

// dot does rounds > 0 rounds of 24 independent SDOT of 16.
//
//go:noescape
func dot(rounds int)
