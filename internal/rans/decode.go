package rans

import "encoding/binary"

// decode writes the symbols of a chunk that is not stored as it is, and says whether states and words end where they
// should. Whatever stored holds, it stays inside of both slices.
//
// Shapes: stored at least the states.
func decode(dst, stored []byte, slots *slotTable) bool {
	var states [lanes]uint32
	for l := range states {
		states[l] = binary.LittleEndian.Uint32(stored[4*l:])
	}
	words := stored[stateBytes:]
	for len(dst) >= lanes && len(words) >= len(roundWords{}) {
		words = words[decodeRound((*[lanes]byte)(dst), (*roundWords)(words), &states, slots):]
		dst = dst[lanes:]
	}
	for i := range dst {
		x := &states[i%lanes]
		e := slots[*x%total]
		dst[i] = byte(e)
		if *x = advance(*x, e); *x < low {
			if len(words) < 2 {
				return false
			}
			*x = *x<<16 | uint32(binary.LittleEndian.Uint16(words))
			words = words[2:]
		}
	}
	for _, x := range states {
		if x != low {
			return false
		}
	}
	return len(words) == 0
}

// advance is the state behind a symbol, before it takes a word:
//
//	frequency·⌊x / 4096⌋ + slot - start
//
// It does not overflow: the frequency is at most 4096, and slot - start less than it.
func advance(x, e uint32) uint32 {
	high, less := x>>probabilityBits, e>>8&(total-1) // the frequency less 1
	return less*high + (high + e>>20)
}

// decodeRound takes one symbol from every state and returns how many bytes of words it read.
func decodeRound(dst *[lanes]byte, words *roundWords, states *[lanes]uint32, slots *slotTable) int {
	at := uint(0)
	for l := 0; l < lanes; l += 4 { // by hand, as the compiler does not unroll
		d, s := (*[4]byte)(dst[l:]), (*[4]uint32)(states[l:])
		d[0], s[0], at = step(s[0], at, words, slots)
		d[1], s[1], at = step(s[1], at, words, slots)
		d[2], s[2], at = step(s[2], at, words, slots)
		d[3], s[3], at = step(s[3], at, words, slots)
	}
	return int(at)
}

// roundWords are all the words that a round may read, and one more, which makes the last a word that can be looked at.
type roundWords [2*lanes + 2]byte

// step decodes one symbol and says where the next word is. Whether a state takes a word is as good as random, so it is
// computed and not branched on.
func step(x uint32, at uint, words *roundWords, slots *slotTable) (symbol byte, next uint32, after uint) {
	e := slots[x%total]
	x = advance(x, e)
	i := at % (2 * lanes)
	y := x<<16 | uint32(binary.LittleEndian.Uint16(words[i:i+2]))
	at += uint(uint64(x)-low) >> 63 << 1
	if x < low {
		x = y
	}
	return byte(e), x, at
}
