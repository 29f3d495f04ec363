//go:build !purego

package peak

import "golang.org/x/sys/cpu"

func run(rounds int) (macsPerRound int) {
	switch {
	case cpu.ARM64.HasI8MM:
		mmla(rounds)
		return 24 * 32
	case cpu.ARM64.HasASIMDDP:
		dot(rounds)
		return 24 * 16
	}
	return 0
}

// mmla does rounds > 0 rounds of 24 independent USMMLA of 32.
//
//go:noescape
func mmla(rounds int)

// dot does rounds > 0 rounds of 24 independent SDOT of 16.
//
//go:noescape
func dot(rounds int)
