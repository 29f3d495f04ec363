package t16

import "encoding/binary"

// A paired strip is what a multiplication of 2 x 8 by 8 x 2 reads: the eight columns of an operand are four of one
// block and the same four of the next, so dword c of block b lies beside dword c of block b+1, token by token:
//
//	[K/cols/2][cols/4][width][2] dwords, cols being the columns of a block
//
// A group then has an even number of blocks.

// pairedAt is where a paired strip has dword kq, columns 4kq..4kq+3, of its first token. Token t's is 2t farther.
func pairedAt(f Format, width, kq int) int {
	dwords := f.BlockCols() / 4
	block, c := kq/dwords, kq%dwords
	return (block/2*dwords+c)*2*width + block%2
}

// spreadPaired is spread for one token of a paired strip; q is whole pairs of blocks.
func spreadPaired(f Format, dst []uint32, width int, q []byte) (sum int32) {
	cols := f.BlockCols()
	for ; len(q) > 0; q = q[2*cols:] {
		for c := 0; c < cols; c += 4 {
			at := c / 2 * width
			dst[at] = binary.LittleEndian.Uint32(q[c:])
			dst[at+1] = binary.LittleEndian.Uint32(q[cols+c:])
		}
		for _, v := range q[:2*cols] {
			sum += int32(int8(v))
		}
		dst = dst[min(cols/2*width, len(dst)):]
	}
	return sum
}
