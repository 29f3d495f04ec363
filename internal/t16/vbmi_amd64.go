//go:build !purego

package t16

import "golang.org/x/sys/cpu"

// useVBMI adds the byte permutation that makes Ternary5 worth its while.
var useVBMI = cpu.X86.HasAVX512VBMI && useVNNI

func nativeTernary5() bool { return useVBMI }

// mulTernary5 computes one tile of Ternary5.
func mulTernary5(c *tile) {
	if useVBMI {
		switch c.width {
		case 24:
			tile5VBMI24(c)
			return
		case 16:
			tile5VBMI16(c)
			return
		case 8:
			tile5VBMI8(c)
			return
		case 4:
			tile5VBMI4(c)
			return
		case 2:
			tile5VBMI2(c)
			return
		case 1:
			tile5VBMI1(c)
			return
		}
	}
	tileGeneric(c)
}

// fourCrumbs is digits 0..3 of the bytes below 128, as Ternary2 has them.
var fourCrumbs = func() (table [128]byte) {
	for b := range table {
		table[b] = byte(crumbs5[b])
	}
	return table
}()

// tile5VBMI24 is tileGeneric for Ternary5 and c.width = 24; so are the others for theirs.
//
//go:noescape
func tile5VBMI24(c *tile)

//go:noescape
func tile5VBMI16(c *tile)

//go:noescape
func tile5VBMI8(c *tile)

//go:noescape
func tile5VBMI4(c *tile)

//go:noescape
func tile5VBMI2(c *tile)

//go:noescape
func tile5VBMI1(c *tile)
