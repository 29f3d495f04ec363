//go:build purego || !arm64

package t16

// pairedWidth is the width of the next strip if it is to have its blocks in pairs: no kernel here wants that.
func pairedWidth(Format, int, int) int { return 0 }

func spreadPairsSIMD(Format, []uint32, int, []byte) (sum int32, ok bool) { return 0, false }
