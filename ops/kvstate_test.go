package ops

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"
)

// saved fills a cache to so many tokens and saves it.
func saved(t testing.TB, c *kvCache, tokens int) []byte {
	t.Helper()
	for at := 0; at < tokens; at += ringSlack {
		fillCache(t, c, at, min(at+ringSlack, tokens))
	}
	var b bytes.Buffer
	if err := c.Save(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestCacheSaveLoad(t *testing.T) {
	for _, window := range []int{0, 1, 8, 128} {
		for _, tokens := range []int{0, 1, 63, 64, 130, 500} {
			c, l := &kvCache{heads: 2, dim: 5, window: window}, &kvCache{heads: 2, dim: 5, window: window}
			checkSavedInt8(t, window, tokens)
			data := saved(t, c, tokens)
			fillCache(t, l, 0, 40) // what was there before goes
			r := bytes.NewReader(append(bytes.Clone(data), "next"...))
			if err := l.Load(r, tokens); err != nil {
				t.Fatalf("window %d, %d tokens: %v", window, tokens, err)
			}
			if r.Len() != len("next") {
				t.Errorf("window %d, %d tokens: %d bytes are left", window, tokens, r.Len())
			}
			if l.length != c.length || l.first != c.first {
				t.Errorf("window %d, %d tokens: positions %d to %d, want %d to %d", window, tokens, l.first, l.length, c.first, c.length)
			}
			checkCache(t, l, c.first, c.length)
			var again bytes.Buffer
			if err := l.Save(&again); err != nil || !bytes.Equal(again.Bytes(), data) {
				t.Errorf("window %d, %d tokens: what was loaded is saved as something else (%v)", window, tokens, err)
			}
			// It goes on like the original, and forgets like it.
			fillCache(t, l, tokens, tokens+ringSlack)
			checkCache(t, l, max(0, tokens-window), tokens+ringSlack)
			if err := l.Truncate(tokens); err != nil {
				t.Errorf("window %d, %d tokens: %v", window, tokens, err)
			}
		}
	}
}

// checkSavedInt8 loads and saves 8 bits again.
func checkSavedInt8(t *testing.T, window, tokens int) {
	t.Helper()
	c := &kvCache{format: CacheInt8, heads: 2, dim: 5, window: window}
	l := *c
	data := saved(t, c, tokens)
	if err := l.Load(bytes.NewReader(data), tokens); err != nil {
		t.Fatalf("window %d, %d tokens: %v", window, tokens, err)
	}
	var again bytes.Buffer
	if err := l.Save(&again); err != nil || !bytes.Equal(again.Bytes(), data) {
		t.Errorf("window %d, %d tokens: 8 bits are saved as something else (%v)", window, tokens, err)
	}
	for p := c.first; p < c.length; p++ {
		for h := range c.heads {
			for d := range c.dim {
				at, key := h*c.capacity+c.slot(p), keyOf(h, p, d)
				near(t, "key", []float32{float32(l.code8(h*l.capacity+l.slot(p), d, true)) * *c.scale8(at, true)}, []float64{float64(key)}, 0.01)
				near(t, "value", []float32{float32(l.code8(h*l.capacity+l.slot(p), d, false)) * *c.scale8(at, false)}, []float64{-float64(key)}, 0.01)
			}
		}
	}
	float := &kvCache{heads: 2, dim: 5, window: window}
	checkError(t, float.Load(bytes.NewReader(data), 300), "in format 1, want")
}

func TestCacheLoadRefuses(t *testing.T) {
	c := &kvCache{heads: 2, dim: 3, window: 8}
	good := saved(t, c, 300)
	change := func(at int, v uint64, bytes int) []byte {
		b := append([]byte(nil), good...)
		switch bytes {
		case 2:
			binary.LittleEndian.PutUint16(b[at:], uint16(v))
		case 4:
			binary.LittleEndian.PutUint32(b[at:], uint32(v))
		case 8:
			binary.LittleEndian.PutUint64(b[at:], v)
		}
		return b
	}
	for _, tc := range []struct {
		data []byte
		want string
	}{
		{nil, "ends early"}, {good[:20], "ends early"}, {good[:len(good)-1], "ends early"},
		{change(0, 0x31, 2), "want \"tritiumKV1\""}, {change(10, 7, 2), "in format 7"},
		{change(12, 3, 4), "3 heads of 3"}, {change(16, 4, 4), "2 heads of 4"}, {change(20, 9, 4), "a window of 9"},
		{change(24, 301, 8), "positions 301 to 300"}, {change(24, 299, 8), "needs those from 293"}, {change(24, 0, 8), "holds 128"},
		{change(32, 1<<62, 8), "positions 172 to"}, {change(32, 1<<63, 8), "positions 172 to"}, {change(32, 301, 8), "holds 128"},
		{change(len(good)-4, 0x7fc00000, 4), "position 299 has a value that is not a finite number"},
		{change(40, 0xff800000, 4), "position 172 has a value that is not a finite number"},
	} {
		l := &kvCache{heads: 2, dim: 3, window: 8}
		err := l.Load(bytes.NewReader(tc.data), 300)
		checkError(t, err, "ops: loading keys and values: ", tc.want)
		if l.length != 0 {
			t.Errorf("%v: %d tokens are left", err, l.length)
		}
	}
	checkError(t, (&kvCache{heads: 2, dim: 3, window: 8}).Load(bytes.NewReader(good), 299), "end at position 300 of a sequence of 299")
	// A length without data costs no memory.
	l := &kvCache{heads: 2, dim: 3}
	data := saved(t, &kvCache{heads: 2, dim: 3}, 10)
	binary.LittleEndian.PutUint64(data[32:], maxCachedTokens)
	checkError(t, l.Load(bytes.NewReader(data), maxCachedTokens), "ends early")
	if l.capacity > blockSize {
		t.Errorf("room for %d positions, of 10 that were there", l.capacity)
	}
}

type fullDisk struct{ left int }

func (d *fullDisk) Write(p []byte) (int, error) {
	if d.left -= len(p); d.left < 0 {
		return 0, bytes.ErrTooLarge
	}
	return len(p), nil
}

func TestCacheSaveFails(t *testing.T) {
	c := &kvCache{heads: 1, dim: 1}
	saved(t, c, 3)
	for _, left := range []int{0, 41, 50} {
		if err := c.Save(&fullDisk{left}); err == nil || !strings.Contains(err.Error(), "ops: saving") {
			t.Errorf("%d bytes are left: %v", left, err)
		}
	}
}

// FuzzCacheLoad loads anything: it never panics, and what it accepts is saved
// as it was.
func FuzzCacheLoad(f *testing.F) {
	for _, tokens := range []int{0, 1, 70, 200} {
		for _, format := range []CacheFormat{CacheFloat32, CacheInt8} {
			f.Add(uint8(format), tokens, saved(f, &kvCache{format: format, heads: 1, dim: 2, window: 8}, tokens))
		}
	}
	f.Fuzz(func(t *testing.T, format uint8, tokens int, data []byte) {
		c := &kvCache{format: CacheFormat(format % 2), heads: 1, dim: 2, window: 8}
		r := bytes.NewReader(data)
		if c.Load(r, tokens) != nil {
			return
		}
		var b bytes.Buffer
		if err := c.Save(&b); err != nil {
			t.Fatal(err)
		}
		if used := data[:len(data)-r.Len()]; !bytes.Equal(b.Bytes(), used) {
			t.Fatalf("%x was loaded, %x saved", used, b.Bytes())
		}
	})
}
