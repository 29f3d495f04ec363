//go:build !purego

package t16

// mulIntTile computes one tile of Int4, Int8 or MXFP4 and says whether it has a kernel for its width.
func mulIntTile(c *tile) bool {
	switch {
	case useVNNI && c.format == Int4:
		return mulInt4VNNI(c)
	case useVNNI && c.format == Int8:
		return mulInt8VNNI(c)
	case useVNNI && c.format == MXFP4:
		return mulMXFP4VNNI(c)
	case useAVX2 && c.format == Int4:
		return mulInt4AVX2(c)
	case useAVX2 && c.format == Int8:
		return mulInt8AVX2(c)
	case useAVX2 && hasFMA && c.format == MXFP4:
		return mulMXFP4AVX2(c)
	}
	return false
}

func mulInt4VNNI(c *tile) bool {
	switch c.width {
	case 4:
		tileInt4VNNI4(c)
	case 2:
		tileInt4VNNI2(c)
	case 1:
		tileInt4VNNI1(c)
	default:
		return false
	}
	return true
}

func mulInt8VNNI(c *tile) bool {
	switch c.width {
	case 4:
		tileInt8VNNI4(c)
	case 2:
		tileInt8VNNI2(c)
	case 1:
		tileInt8VNNI1(c)
	default:
		return false
	}
	return true
}

func mulInt4AVX2(c *tile) bool {
	switch c.width {
	case 4:
		tileInt4AVX2x4(c)
	case 2:
		tileInt4AVX2x2(c)
	case 1:
		tileInt4AVX2x1(c)
	default:
		return false
	}
	return true
}

func mulInt8AVX2(c *tile) bool {
	switch c.width {
	case 4:
		tileInt8AVX2x4(c)
	case 2:
		tileInt8AVX2x2(c)
	case 1:
		tileInt8AVX2x1(c)
	default:
		return false
	}
	return true
}

// Each of these is tileGeneric for its format and for c.width tokens, the number at its name's end.

//go:noescape
func tileInt4VNNI4(c *tile)

//go:noescape
func tileInt4VNNI2(c *tile)

//go:noescape
func tileInt4VNNI1(c *tile)

//go:noescape
func tileInt8VNNI4(c *tile)

//go:noescape
func tileInt8VNNI2(c *tile)

//go:noescape
func tileInt8VNNI1(c *tile)

//go:noescape
func tileInt4AVX2x4(c *tile)

//go:noescape
func tileInt4AVX2x2(c *tile)

//go:noescape
func tileInt4AVX2x1(c *tile)

//go:noescape
func tileInt8AVX2x4(c *tile)

//go:noescape
func tileInt8AVX2x2(c *tile)

//go:noescape
func tileInt8AVX2x1(c *tile)
