//go:build !purego

package fmapeak

func run(isa string, rounds int) (macsPerRound int) {
	if isa != "neon" {
		return 0
	}
	neon(rounds)
	return 16 * 4
}

// neon runs 16 FMLA on 4S registers per round.
//
//go:noescape
func neon(rounds int)
