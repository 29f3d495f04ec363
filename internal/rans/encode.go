package rans

import (
	"encoding/binary"
	"hash/crc32"
	"math/bits"
)

// Encode returns a container of src, coded on all processors. It is never longer than src by more than a header: 532
// bytes, and 8 for each chunk. The same bytes always give the same container.
func Encode(src []byte) []byte {
	f := countFrequencies(src)
	var starts [symbols]uint32
	start := uint32(0)
	for s, n := range f {
		starts[s] = start
		start += uint32(n)
	}
	chunks := (len(src) + ChunkBytes - 1) / ChunkBytes
	header := fixedBytes + chunks*entryBytes
	out := make([]byte, header+crcBytes+len(src))
	copy(out, magic)
	binary.LittleEndian.PutUint64(out[len(magic):], uint64(len(src)))
	for s, n := range f {
		binary.LittleEndian.PutUint16(out[len(magic)+8+2*s:], n)
	}

	// Every chunk is coded where it would be if all were stored as they are, and then moved up.
	stored := make([][]byte, chunks)
	body := out[header+crcBytes:]
	_ = parallel(chunks, func(i int) error { // which reports no error, having none to report
		lo, hi := i*ChunkBytes, min((i+1)*ChunkBytes, len(src))
		stored[i] = encode(body[lo:hi:hi], src[lo:hi], &f, &starts)
		entry := out[fixedBytes+i*entryBytes:]
		binary.LittleEndian.PutUint32(entry, uint32(len(stored[i])))
		binary.LittleEndian.PutUint32(entry[4:], crc32.Checksum(stored[i], castagnoli))
		return nil
	}, func(int) {})
	binary.LittleEndian.PutUint32(out[header:], crc32.Checksum(out[:header], castagnoli))
	n := 0
	for _, s := range stored {
		n += copy(body[n:], s)
	}
	return out[:header+crcBytes+n]
}

// encode codes a chunk into dst, which has its length, and returns the part that it used: all of it, with the bytes as
// they are, where coding would not shorten them.
//
// Symbols are coded from the last to the first, and so are the words written.
func encode(dst, src []byte, f *frequencies, starts *[symbols]uint32) []byte {
	var states [lanes]uint32
	for l := range states {
		states[l] = low
	}
	at := len(dst)
	for i := len(src) - 1; i >= 0; i-- {
		x, s := &states[i%lanes], src[i]
		freq := uint32(f[s])
		if uint64(*x) >= uint64(freq)<<(32-probabilityBits) {
			if at -= 2; at <= stateBytes {
				copy(dst, src)
				return dst
			}
			binary.LittleEndian.PutUint16(dst[at:], uint16(*x))
			*x >>= 16
		}
		q := *x / freq
		*x = q<<probabilityBits + starts[s] + (*x - q*freq)
	}
	if at <= stateBytes {
		copy(dst, src)
		return dst
	}
	at -= stateBytes
	for l, x := range states {
		binary.LittleEndian.PutUint32(dst[at+4*l:], x)
	}
	return dst[at:]
}

// frequencies are how many of the 4096 values of a state's last bits mean a symbol.
type frequencies [symbols]uint16

// countFrequencies returns frequencies that add up to 4096, in proportion to how often the symbols occur, at least 1
// for each that does, and all for symbol 0 where there is none.
func countFrequencies(src []byte) (f frequencies) {
	var counts [symbols]uint64
	for _, b := range src {
		counts[b]++
	}
	n := uint64(len(src))
	if n == 0 {
		f[0] = total
		return f
	}
	sum := 0
	for s, c := range counts {
		if c > 0 {
			f[s] = uint16(max(1, divide(c, n)))
			sum += int(f[s])
		}
	}
	for ; sum > total; sum-- {
		f[cheapest(&counts, &f, -1)]--
	}
	for ; sum < total; sum++ {
		f[cheapest(&counts, &f, +1)]++
	}
	return f
}

// divide returns 4096·c / n to the nearest.
func divide(c, n uint64) uint64 {
	hi, lo := bits.Mul64(c, 2*total)
	q, _ := bits.Div64(hi, lo, n)
	return (q + 1) / 2
}

// cheapest returns the symbol whose frequency is changed by one with the best effect on the length of the code, which is
// -Σ count·log2(frequency). The derivative in the middle of the step, count/(2f ± 1), stands for the difference: it is
// the same on every machine.
func cheapest(counts *[symbols]uint64, f *frequencies, step int) int {
	best := -1
	var bestCount, bestWidth uint64
	for s, c := range counts {
		if c == 0 || step < 0 && f[s] == 1 {
			continue
		}
		width := uint64(2*int(f[s]) + step)
		// c/width against the best, without dividing.
		hi, lo := bits.Mul64(c, bestWidth)
		bestHi, bestLo := bits.Mul64(bestCount, width)
		less := hi < bestHi || hi == bestHi && lo < bestLo
		if equal := hi == bestHi && lo == bestLo; best < 0 || !equal && less == (step < 0) {
			best, bestCount, bestWidth = s, c, width
		}
	}
	return best
}
