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

// spreadPaired is spread for one token of a paired strip; q is whole pairs of blocks, at least one.
func spreadPaired(f Format, dst []uint32, width int, q []byte) int32 {
	if sum, ok := spreadPairsSIMD(f, dst, width, q); ok {
		return sum
	}
	var sum int32
	for kq := range len(q) / 4 {
		dst[pairedAt(f, width, kq)] = binary.LittleEndian.Uint32(q[4*kq:])
	}
	for _, v := range q {
		sum += int32(int8(v))
	}
	return sum
}
