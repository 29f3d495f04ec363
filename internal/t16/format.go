package t16

// Format is how the weights of a matrix are packed. All formats share the tile:
// 16 rows with all their columns, cut into blocks of 64 bytes in which byte
// row*4 + k%4 holds the weights of one row in every fourth column. What differs
// is how many weights share that byte. They are stored without a sign, as
// w + offset.
type Format uint8

const (
	// Ternary2 has -1, 0, +1 in 2 bits. Bits 2c..2c+1 of a byte are column 4c + k%4 of the block.
	Ternary2 Format = iota
	// Ternary5 has five of them in a byte, 1.6 bits each: Σ_c (w+1)·3^c, c = 0..4, of columns 4c + k%4.
	Ternary5
	// Int4 has -8..7 in 4 bits: the low ones are column k%4 of the block, the high ones column 4 + k%4.
	Int4
	// Int8 has -128..127, one in a byte.
	Int8
	// MXFP4 has codes of the 4-bit floats E2M1, the low ones of columns 0, 2, 4, 6 of the block, the high ones of 1, 3,
	// 5, 7, so that they are bytes of a published checkpoint; its scales are E8M0 bytes [tile][group][16] of groups of
	// 32. It is what [MatMulMXFP4] makes of rows as it goes, not a layout for [Weights].
	MXFP4
)

// BlockCols is how many columns a block of 64 bytes holds; columns are padded
// to a multiple of it.
func (f Format) BlockCols() int { return [...]int{16, 20, 8, 4, 8}[f] }

// offset is what is added to a weight to store it.
func (f Format) offset() int32 { return [...]int32{1, 1, 8, 128, 16}[f] }

// MaxK is the most columns whose sums of products no int32 accumulator of any kernel overflows.
func (f Format) MaxK() int {
	if f == Int8 {
		return 1 << 16 // 255 · 127 · K < 2^31
	}
	// The worst are the kernels for Ternary2 that leave the weight in bits 6..7 of its byte: K/4 · 128·127 < 2^31.
	return 1 << 18
}

// valid says whether the kernels can run k columns in groups of group.
func (f Format) valid(k, group int) bool {
	return f <= MXFP4 && k > 0 && k <= f.MaxK() && group > 0 && group%f.BlockCols() == 0 && k%group == 0 &&
		(f != MXFP4 || group == mxfp4Group)
}

// tileBytes is the size of the codes of 16 rows of k columns.
func (f Format) tileBytes(k int) int { return k / f.BlockCols() * blockBytes }

// unpack returns the stored weights, w + offset, of columns 4c..4c+3 of a block.
func (f Format) unpack(block []byte, c int) (w [TileRows][4]int32) {
	for i, b := range block[:blockBytes] {
		switch f {
		case Ternary2:
			b = b >> (2 * c) & 3
		case Ternary5:
			b = trit(b, c)
		case Int4:
			b = b >> (4 * c) & 15
		case MXFP4:
			b = mxfp4Stored[b>>(4*c)&15]
		}
		w[i/4][i%4] = int32(b)
	}
	return w
}
