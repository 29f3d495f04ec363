// Package rans stores bytes in about as many bits as their frequencies ask for, and gives any part of them back.
//
// A container has one table of frequencies for all its bytes and codes them by range asymmetric numeral systems, in
// chunks of 64 KB that are decoded by themselves: in parallel, and each only after its checksum has been compared.
//
// # Format, version 1
//
//	0     8    "TRITrANS"
//	8     8    size of the decoded bytes, little-endian as everything here
//	16    512  frequency of each of the 256 symbols, uint16; they add up to 4096
//	528   8·n  for each of the n = ⌈size / 65536⌉ chunks its stored length and the CRC-32C of its stored bytes, uint32
//	      4    CRC-32C of everything before
//	      …    the chunks, one after the other
//
// A chunk whose stored length is that of its bytes holds them as they are. Any other is shorter, and holds 32 states,
// uint32, and the words, uint16, in the order in which they are read. Byte i belongs to state x of number i mod 32:
//
//	slot = x mod 4096      the byte is the symbol with start ≤ slot < start + frequency
//	x    = frequency·⌊x / 4096⌋ + slot - start
//	x    = 65536·x + the next word, if x < 65536
//
// where start is the sum of the frequencies of all symbols below. In the end every state is 65536 and every word was
// read; anything else is a damaged chunk.
//
// Source: Duda, "Asymmetric numeral systems", arXiv:1311.2540; Giesen, "Interleaved entropy coders", arXiv:1402.3392.
package rans

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
)

// ChunkBytes is how many decoded bytes a chunk holds, the last maybe fewer.
const ChunkBytes = 64 << 10

const (
	magic = "TRITrANS"

	probabilityBits = 12
	total           = 1 << probabilityBits // of all frequencies
	symbols         = 256

	lanes      = 32      // states of a chunk
	low        = 1 << 16 // no state is less between two symbols
	stateBytes = 4 * lanes

	fixedBytes = len(magic) + 8 + 2*symbols
	entryBytes = 8 // of a chunk in the header
	crcBytes   = 4
)

// castagnoli is the polynomial that processors have an instruction for.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Container is an open container. It aliases the bytes it was opened from and is safe for concurrent use.
type Container struct {
	data    []byte
	size    int64
	offsets []int64 // [chunks + 1], in data
	slots   slotTable
}

// slotTable says what a state means by its last 12 bits: the symbol in bits 0..7, its frequency less 1 in 8..19, and in
// 20..31 how far the slot is behind the symbol's first.
type slotTable [total]uint32

// Open reads the header of a container and checks it; of the chunks it looks at the lengths alone.
//
// It allocates 16 KB, and 8 bytes for each chunk that the header has an entry for.
//
// Errors: data is no container, is damaged, or has another length than its header says.
func Open(data []byte) (*Container, error) {
	if len(data) < fixedBytes+crcBytes {
		return nil, fmt.Errorf("rans: %d bytes are too short for a container", len(data))
	}
	if string(data[:len(magic)]) != magic {
		return nil, errors.New("rans: this is no container: it begins otherwise")
	}
	size := binary.LittleEndian.Uint64(data[len(magic):])
	if room := uint64(len(data)-fixedBytes-crcBytes) / entryBytes; size > math.MaxInt64-ChunkBytes || (size+ChunkBytes-1)/ChunkBytes > room {
		return nil, fmt.Errorf("rans: %d bytes hold no container of %d; it is damaged or cut off", len(data), size)
	}
	c := &Container{data: data, size: int64(size)}
	n := c.Chunks()
	header := fixedBytes + n*entryBytes
	if crc32.Checksum(data[:header], castagnoli) != binary.LittleEndian.Uint32(data[header:]) {
		return nil, errors.New("rans: the header is damaged: its checksum differs")
	}
	if err := c.readFrequencies(data[len(magic)+8:]); err != nil {
		return nil, err
	}
	c.offsets = make([]int64, n+1)
	at := int64(header + crcBytes)
	for i := range n {
		c.offsets[i] = at
		stored, decoded := int64(binary.LittleEndian.Uint32(data[fixedBytes+i*entryBytes:])), int64(c.chunkBytes(i))
		if stored > decoded || stored < decoded && (stored < stateBytes || stored%2 != 0) {
			return nil, fmt.Errorf("rans: chunk %d of %d has %d bytes stored for %d", i, n, stored, decoded)
		}
		at += stored
	}
	c.offsets[n] = at
	if at != int64(len(data)) {
		return nil, fmt.Errorf("rans: the container should have %d bytes and has %d; it is damaged or cut off", at, len(data))
	}
	return c, nil
}

func (c *Container) readFrequencies(data []byte) error {
	var f frequencies
	sum := 0
	for s := range f {
		f[s] = binary.LittleEndian.Uint16(data[2*s:])
		sum += int(f[s])
	}
	if sum != total {
		return fmt.Errorf("rans: the frequencies add up to %d, want %d", sum, total)
	}
	slot := 0
	for s, n := range f {
		for k := range int(n) {
			c.slots[slot] = uint32(s) | uint32(n-1)<<8 | uint32(k)<<20
			slot++
		}
	}
	return nil
}

// Size is how many bytes Decode writes.
func (c *Container) Size() int64 { return c.size }

// Chunks is how many chunks there are.
func (c *Container) Chunks() int { return int((c.size + ChunkBytes - 1) / ChunkBytes) }

// chunkBytes is the decoded size of a chunk.
func (c *Container) chunkBytes(i int) int { return int(min(ChunkBytes, c.size-int64(i)*ChunkBytes)) }

// DecodeChunk writes the bytes of chunk i, which are those from i·ChunkBytes on. It allocates nothing.
//
// Shapes: dst as many bytes as the chunk has. Panics on another length, and where there is no such chunk.
// Errors: the chunk is damaged.
func (c *Container) DecodeChunk(dst []byte, i int) error {
	if i < 0 || i >= c.Chunks() || len(dst) != c.chunkBytes(i) {
		panic(fmt.Sprintf("rans: DecodeChunk: %d bytes for chunk %d of %d", len(dst), i, c.Chunks()))
	}
	stored := c.data[c.offsets[i]:c.offsets[i+1]]
	if crc32.Checksum(stored, castagnoli) != binary.LittleEndian.Uint32(c.data[fixedBytes+i*entryBytes+4:]) {
		return c.damaged(i, "its checksum differs")
	}
	if len(stored) == len(dst) {
		copy(dst, stored)
		return nil
	}
	if !decode(dst, stored, &c.slots) {
		return c.damaged(i, "its end is not where it should be")
	}
	return nil
}

func (c *Container) damaged(i int, why string) error {
	return fmt.Errorf("rans: chunk %d of %d is damaged: %s", i, c.Chunks(), why)
}

// Decode writes all bytes, on all processors. done, if not nil, is called by the goroutine that called Decode with the
// bytes that have been written since its last call.
//
// Shapes: dst [Size]. Panics on another length.
// Errors: the first chunk that is damaged; what dst then holds is unspecified.
func (c *Container) Decode(dst []byte, done func(bytes int64)) error {
	if int64(len(dst)) != c.size {
		panic(fmt.Sprintf("rans: Decode: %d bytes for %d", len(dst), c.size))
	}
	return parallel(c.Chunks(), func(i int) error {
		return c.DecodeChunk(dst[i*ChunkBytes:][:c.chunkBytes(i)], i)
	}, func(i int) {
		if done != nil {
			done(int64(c.chunkBytes(i)))
		}
	})
}

// parallel calls work for 0..n-1 on all processors and done, on the calling goroutine, for each that is finished. It
// returns the error of the first, in order, that has one; those behind it may then be left out.
func parallel(n int, work func(i int) error, done func(i int)) error {
	type result struct {
		i   int
		err error
	}
	results := make(chan result, 64)
	var next atomic.Int64
	var failed atomic.Bool
	var all sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), n) {
		all.Go(func() {
			for !failed.Load() {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				err := work(i)
				if err != nil {
					failed.Store(true)
				}
				results <- result{i, err}
			}
		})
	}
	go func() {
		all.Wait()
		close(results)
	}()
	first := result{i: n}
	for r := range results {
		if r.err == nil {
			done(r.i)
		} else if r.i < first.i {
			first = r
		}
	}
	return first.err
}
