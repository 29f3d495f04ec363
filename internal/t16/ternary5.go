package t16

import "fmt"

// trit is digit c of a byte of [Ternary5]. The bytes 243..255 that no packer writes have digits too, the same for
// every kernel: 243 + n reads as 2·81 + n.
func trit(b byte, c int) byte {
	if c == 4 {
		return min(b/81, 2)
	}
	return b / [...]byte{1, 3, 9, 27}[c] % 3
}

// NativeTernary5 says whether this machine multiplies [Ternary5] about as fast as [Ternary2].
//
// Where it does not, the portable code runs, far below the speed of memory: expand the codes once, with
// [ExpandTernary5], and multiply them as Ternary2.
func NativeTernary5() bool { return nativeTernary5() }

// ExpandTernary5 repacks tiles of k columns from [Ternary5] to [Ternary2]; the weights and the scales stay what they
// are.
//
// The tiles of dst have k rounded up to a multiple of 16 columns, those beyond k with weight 0. Their groups must be
// multiples of both formats' blocks: a group divisible by 80 stays as it is; a single group of all k columns grows to
// all of dst's; other groups cannot be expanded.
//
// Shapes: src [tiles, k/20, 64], dst [tiles, ⌈k/16⌉, 64]. Panics on other lengths and where 20 does not divide k.
func ExpandTernary5(dst, src []byte, k int) {
	from, to := Ternary5.tileBytes(k), (k+15)/16*blockBytes
	if k <= 0 || k%20 != 0 || len(src)%from != 0 || len(dst) != len(src)/from*to {
		panic(fmt.Sprintf("t16: ExpandTernary5: %d bytes of tiles of %d columns to %d bytes", len(src), k, len(dst)))
	}
	for ; len(src) > 0; src, dst = src[from:], dst[to:] {
		expandTile(dst[:to], src[:from])
	}
}

// expandTile repacks four blocks at a time: the digits of a byte are ten bits of Ternary2, those of the bytes at the
// same place of four blocks in a row are the bytes at that place of five.
func expandTile(dst, src []byte) {
	for ; len(src) >= 4*blockBytes; src, dst = src[4*blockBytes:], dst[5*blockBytes:] {
		b0, b1, b2, b3 := (*block)(src), (*block)(src[64:]), (*block)(src[128:]), (*block)(src[192:])
		d0, d1, d2, d3, d4 := (*block)(dst), (*block)(dst[64:]), (*block)(dst[128:]), (*block)(dst[192:]), (*block)(dst[256:])
		for i := range blockBytes {
			crumbs := uint64(crumbs5[b0[i]]) | uint64(crumbs5[b1[i]])<<10 | uint64(crumbs5[b2[i]])<<20 | uint64(crumbs5[b3[i]])<<30
			d0[i], d1[i], d2[i], d3[i], d4[i] = byte(crumbs), byte(crumbs>>8), byte(crumbs>>16), byte(crumbs>>24), byte(crumbs>>32)
		}
	}
	if len(src) == 0 {
		return
	}
	for i := range blockBytes {
		crumbs := ^uint64(0) / 3 // beyond k: every weight 0, stored as 1
		for at := (len(src)/blockBytes - 1) * blockBytes; at >= 0; at -= blockBytes {
			crumbs = crumbs<<10 | uint64(crumbs5[src[at+i]])
		}
		for at := 0; at < len(dst); at += blockBytes {
			dst[at+i] = byte(crumbs)
			crumbs >>= 8
		}
	}
}

type block = [blockBytes]byte

// crumbs5 is the digits of a byte of Ternary5 as Ternary2 has them, digit c in bits 2c..2c+1.
var crumbs5 = func() (table [256]uint16) {
	for b := range table {
		for c := range 5 {
			table[b] |= uint16(trit(byte(b), c)) << (2 * c)
		}
	}
	return table
}()
