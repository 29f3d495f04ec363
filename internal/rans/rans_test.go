package rans

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// trits returns bytes of n base-3 digits each, as ternary weights are packed: 0 with the probability zeros, otherwise
// -1 or +1.
func trits(bytes, digits int, zeros float64, seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, bytes)
	for i := range b {
		v := 0
		for range digits {
			t := 1
			if r.Float64() >= zeros {
				t = 2 * r.IntN(2)
			}
			v = v*3 + t
		}
		b[i] = byte(v)
	}
	return b
}

// sources are bytes of every kind that coding treats in its own way.
func sources(t *rapid.T) []byte {
	n := rapid.OneOf(rapid.IntRange(0, 300), rapid.IntRange(ChunkBytes-70, ChunkBytes+70), rapid.IntRange(0, 3*ChunkBytes)).Draw(t, "n")
	seed := rapid.Uint64().Draw(t, "seed")
	r := rand.New(rand.NewPCG(seed, 2))
	b := make([]byte, n)
	switch rapid.SampledFrom([]string{"ternary", "constant", "uniform", "skewed", "one exception", "halves"}).Draw(t, "kind") {
	case "ternary":
		copy(b, trits(n, 5, r.Float64(), seed))
	case "constant":
		for i := range b {
			b[i] = byte(seed)
		}
	case "uniform":
		for i := range b {
			b[i] = byte(r.Uint32())
		}
	case "skewed":
		for i := range b {
			b[i] = byte(r.ExpFloat64() * 4)
		}
	case "one exception":
		if n > 0 {
			b[r.IntN(n)] = 1
		}
	case "halves": // chunks unlike the whole: some are stored as they are
		for i := range b[:n/2] {
			b[i] = byte(r.Uint32())
		}
	}
	return b
}

func decodeAll(box []byte) ([]byte, error) {
	c, err := Open(box)
	if err != nil {
		return nil, err
	}
	dst := make([]byte, c.Size())
	return dst, c.Decode(dst, nil)
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		src := sources(t)
		box := Encode(src)
		if !bytes.Equal(box, Encode(src)) {
			t.Fatal("the same bytes give another container")
		}
		chunks := (len(src) + ChunkBytes - 1) / ChunkBytes
		if limit := len(src) + fixedBytes + crcBytes + entryBytes*chunks; len(box) > limit {
			t.Fatalf("%d bytes became %d, at most %d", len(src), len(box), limit)
		}
		c, err := Open(box)
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, c.Size())
		var done int64
		if err := c.Decode(got, func(n int64) { done += n }); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, src) || done != int64(len(src)) {
			t.Fatalf("%d bytes came back otherwise; %d were reported", len(src), done)
		}
	})
}

// Any chunk by itself is what it is in the whole.
func TestRandomAccess(t *testing.T) {
	src := trits(3*ChunkBytes+777, 5, .5, 3)
	c, err := Open(Encode(src))
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range []int{3, 0, 2, 1} {
		lo, hi := i*ChunkBytes, min((i+1)*ChunkBytes, len(src))
		got := make([]byte, hi-lo)
		if err := c.DecodeChunk(got, i); err != nil || !bytes.Equal(got, src[lo:hi]) {
			t.Errorf("chunk %d: other bytes, error %v", i, err)
		}
		if n := testing.AllocsPerRun(3, func() { _ = c.DecodeChunk(got, i) }); n != 0 {
			t.Errorf("chunk %d: %v allocations", i, n)
		}
	}
}

// Ternary weights come within 1 % of their entropy, however many are in a byte. With more zeros than here, five to a
// byte come to be bound by the 12 bits of a probability: 2 % are lost at .9.
func TestEntropy(t *testing.T) {
	for _, zeros := range []float64{1. / 3, .5, .6, .7, .8} {
		for _, digits := range []int{4, 5} {
			n := 16 * ChunkBytes
			rest := (1 - zeros) / 2
			entropy := -(zeros*math.Log2(zeros) + 2*rest*math.Log2(rest))
			got := 8 * float64(len(Encode(trits(n, digits, zeros, 5)))) / float64(n*digits)
			if got > entropy*1.01 || got < entropy*.995 {
				t.Errorf("%v zeros, %d in a byte: %.4f bits each, the entropy is %.4f", zeros, digits, got, entropy)
			}
		}
	}
}

// Whatever bit of a container is flipped and wherever it is cut or extended, it is refused in one line.
func TestCorruption(t *testing.T) {
	for _, src := range [][]byte{nil, {7}, trits(2000, 5, .6, 1), trits(ChunkBytes+200, 5, .7, 2)} {
		box := Encode(src)
		refused := func(data []byte, what string, args ...any) {
			t.Helper()
			if _, err := decodeAll(data); err == nil || strings.ContainsAny(err.Error(), "\n") {
				t.Errorf("%d bytes, %s: error %v", len(src), fmt.Sprintf(what, args...), err)
			}
		}
		step := 1 + len(box)/3000
		for i := 0; i < len(box); i += step {
			for bit := range 8 {
				bad := bytes.Clone(box)
				bad[i] ^= 1 << bit
				refused(bad, "bit %d of byte %d flipped", bit, i)
			}
		}
		for n := 0; n < len(box); n += step {
			refused(box[:n], "cut to %d", n)
		}
		refused(append(bytes.Clone(box), 0), "a byte more")
	}
}

// Two chunks that change places are each whole, and damage all the same.
func TestChunksChangePlaces(t *testing.T) {
	box := Encode(append(bytes.Repeat([]byte{1}, ChunkBytes), bytes.Repeat([]byte{2}, ChunkBytes)...))
	c, err := Open(box)
	if err != nil {
		t.Fatal(err)
	}
	if c.offsets[1]-c.offsets[0] != c.offsets[2]-c.offsets[1] {
		t.Fatal("the chunks have not one size")
	}
	a, b := box[c.offsets[0]:c.offsets[1]], box[c.offsets[1]:c.offsets[2]]
	first := bytes.Clone(a)
	copy(a, b)
	copy(b, first)
	if err := c.Decode(make([]byte, c.Size()), nil); err == nil || !strings.Contains(err.Error(), "chunk 0 of 2") {
		t.Errorf("error %v, want chunk 0", err)
	}
}

// sealed makes the checksums right again, so that what is behind them is reached.
func sealed(box []byte) {
	if len(box) < fixedBytes+crcBytes {
		return
	}
	chunks := (binary.LittleEndian.Uint64(box[len(magic):]) + ChunkBytes - 1) / ChunkBytes
	if chunks > uint64(len(box)-fixedBytes-crcBytes)/entryBytes {
		return
	}
	header := fixedBytes + int(chunks)*entryBytes
	at := header + crcBytes
	for i := range int(chunks) {
		entry := box[fixedBytes+i*entryBytes:]
		end := at + int(binary.LittleEndian.Uint32(entry))
		if end > len(box) {
			break
		}
		binary.LittleEndian.PutUint32(entry[4:], crc32.Checksum(box[at:end], castagnoli))
		at = end
	}
	binary.LittleEndian.PutUint32(box[header:], crc32.Checksum(box[:header], castagnoli))
}

// With checksums that hold, almost all damage is found by where states and words end (what is not is another
// container); nothing panics.
func TestForged(t *testing.T) {
	box := Encode(trits(5000, 5, .6, 1))
	found := 0
	const tries = 2000
	r := rand.New(rand.NewPCG(1, 1))
	for range tries {
		bad := bytes.Clone(box)
		at := fixedBytes + entryBytes + crcBytes
		bad[at+r.IntN(len(bad)-at)] ^= byte(1 + r.IntN(255))
		sealed(bad)
		if _, err := decodeAll(bad); err != nil {
			found++
		}
	}
	if found < tries*99/100 {
		t.Errorf("of %d containers with other words %d were found out", tries, found)
	}
}

func FuzzOpen(f *testing.F) {
	for _, src := range [][]byte{nil, []byte("a"), trits(300, 5, .6, 1), trits(ChunkBytes+1, 5, .9, 2)} {
		f.Add(Encode(src))
	}
	f.Fuzz(func(t *testing.T, box []byte) {
		for range 2 { // as it is, then with its checksums made right
			c, err := Open(box)
			if err == nil {
				if c.Size() > int64(len(box))*ChunkBytes/entryBytes {
					t.Fatalf("%d bytes claim to hold %d", len(box), c.Size())
				}
				err = c.Decode(make([]byte, c.Size()), nil)
			}
			if err != nil && strings.Contains(err.Error(), "\n") {
				t.Fatalf("more than one line: %v", err)
			}
			box = bytes.Clone(box)
			sealed(box)
		}
	})
}

func FuzzRoundTrip(f *testing.F) {
	f.Add([]byte(nil))
	f.Add([]byte("abracadabra"))
	f.Add(bytes.Repeat([]byte{121}, 2000))
	f.Fuzz(func(t *testing.T, src []byte) {
		got, err := decodeAll(Encode(src))
		if err != nil || !bytes.Equal(got, src) {
			t.Fatalf("%d bytes came back otherwise, error %v", len(src), err)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	for _, zeros := range []float64{.4, .6, .8} {
		b.Run(fmt.Sprintf("zeros=%v", zeros), func(b *testing.B) {
			src := trits(16<<20, 5, zeros, 1)
			box := Encode(src)
			c, err := Open(box)
			if err != nil {
				b.Fatal(err)
			}
			dst := make([]byte, len(src))
			b.SetBytes(int64(len(src)))
			for b.Loop() {
				if err := c.Decode(dst, nil); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(8*float64(len(box))/float64(len(src)*5), "bits/weight")
		})
	}
}

func BenchmarkEncode(b *testing.B) {
	src := trits(16<<20, 5, .6, 1)
	b.SetBytes(int64(len(src)))
	for b.Loop() {
		Encode(src)
	}
}
