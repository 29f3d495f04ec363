package ops

import (
	"bytes"
	"slices"
	"testing"
)

// keyOf and valueOf are what the tests store: every element says where it
// belongs.
func keyOf(head, position, d int) float32   { return float32(position*1000 + head*100 + d) }
func valueOf(head, position, d int) float32 { return -keyOf(head, position, d) }

// fillCache stores positions [lo, hi) as attention does.
func fillCache(t testing.TB, c *kvCache, lo, hi int) {
	t.Helper()
	if err := c.Reserve(hi); err != nil {
		t.Fatal(err)
	}
	var k, v []float32
	for p := lo; p < hi; p++ {
		for h := range c.heads {
			for d := range c.dim {
				k, v = append(k, keyOf(h, p, d)), append(v, valueOf(h, p, d))
			}
		}
	}
	for h := range c.heads {
		c.store(h, k[h*c.dim:], v[h*c.dim:], c.heads*c.dim, lo, hi-lo)
	}
	c.stored(hi)
}

// checkCache checks that positions [lo, hi) are there.
func checkCache(t *testing.T, c *kvCache, lo, hi int) {
	t.Helper()
	for h := range c.heads {
		for p := lo; p < hi; p++ {
			at := p &^ (tileTokens - 1)
			tile, value := c.keys(h, at, at+tileTokens), c.values(h, p, p+1)
			for d := range c.dim {
				if got := tile[d*tileTokens+p-at]; got != keyOf(h, p, d) {
					t.Fatalf("head %d, position %d: key[%d] = %v", h, p, d, got)
				}
				if value[d] != valueOf(h, p, d) {
					t.Fatalf("head %d, position %d: value[%d] = %v", h, p, d, value[d])
				}
			}
			for _, x := range value[c.dim:] {
				if x != 0 {
					t.Fatalf("head %d, position %d: padding is %v", h, p, x)
				}
			}
		}
	}
}

// A ring holds its window and ringSlack more, everything else all positions,
// however they arrive.
func TestCache(t *testing.T) {
	const tokens = 500
	for _, window := range []int{0, 1, 3, 63, 64, 65, 130} {
		for _, chunk := range []int{1, 3, 16, 64} {
			c := &kvCache{heads: 2, dim: 3, window: window}
			for at := 0; at < tokens; {
				n := min(chunk, tokens-at)
				fillCache(t, c, at, at+n)
				at += n
				lo := 0
				if window > 0 {
					lo = max(0, at-window-ringSlack)
				}
				if at%50 < n || at < 70 {
					checkCache(t, c, lo, at)
				}
			}
			if window > 0 && c.capacity >= window+ringSlack+blockSize {
				t.Fatalf("window %d: room for %d", window, c.capacity)
			}
		}
	}
}

func TestCacheTruncate(t *testing.T) {
	for _, tc := range []struct {
		window, length, to int
		ok                 bool
	}{
		{0, 20, 5, true}, {0, 20, 20, true}, {0, 20, 0, true}, {0, 20, 25, true},
		{8, 8, 5, true}, {8, 8, 0, true}, {8, 5, 8, true}, // nothing was overwritten
		{8, 300, 236, true}, {8, 300, 300, true}, {8, 300, 320, true}, {8, 300, 0, true},
		{8, 300, 179, true}, {8, 300, 178, false}, {8, 300, 1, false}, {8, 129, 8, true}, {8, 129, 7, false}, {8, 137, 9, false},
		{1, 300, 236, true}, {64, 300, 236, true}, {128, 500, 436, true}, {128, 500, 435, true}, {128, 500, 434, false},
	} {
		c := &kvCache{heads: 1, dim: 1, window: tc.window}
		for at := 0; at < tc.length; at += ringSlack {
			fillCache(t, c, at, min(at+ringSlack, tc.length))
		}
		err := c.Truncate(tc.to)
		want := min(tc.length, tc.to)
		if !tc.ok {
			want = tc.length
		}
		if (err == nil) != tc.ok || c.length != want {
			t.Errorf("window %d, %d tokens to %d: %v, length %d", tc.window, tc.length, tc.to, err, c.length)
		}
		if tc.ok && tc.to > 0 {
			lo := 0
			if tc.window > 0 {
				lo = max(0, want-tc.window+1)
			}
			checkCache(t, c, lo, want)
		}
	}
	// What was overwritten before a truncation is still gone after it.
	c := &kvCache{heads: 1, dim: 1, window: 8}
	for at := 0; at < 200; at++ {
		fillCache(t, c, at, at+1)
	}
	for _, n := range []int{140, 100, 80} {
		if err := c.Truncate(n); err != nil {
			t.Fatal(err)
		}
		fillCache(t, c, n, n+1)
	}
	if err := c.Truncate(79); err != nil {
		t.Error(err)
	}
	if err := c.Truncate(78); err == nil {
		t.Error("position 78 sees position 71, which position 199 has overwritten")
	}
}

func TestCacheFork(t *testing.T) {
	c := &kvCache{format: CacheInt8, heads: 2, dim: 5}
	before := saved(t, c, 40)
	state, err := c.Fork()
	if err != nil {
		t.Fatal(err)
	}
	f := state.(*kvCache)
	fillCache(t, f, 10, 60)
	for h := range f.heads {
		f.store(h, []float32{1, 2, 3, 4, 5}, []float32{1, 2, 3, 4, 5}, 0, 3, 1)
	}
	var after bytes.Buffer
	if err := c.Save(&after); err != nil || !bytes.Equal(after.Bytes(), before) {
		t.Errorf("8 bits: what was stored in the copy changed the original (%v)", err)
	}
	for _, window := range []int{0, 8} {
		c := &kvCache{heads: 2, dim: 5, window: window}
		fillCache(t, c, 0, 40)
		state, err := c.Fork()
		if err != nil {
			t.Fatal(err)
		}
		f := state.(*kvCache)
		k, v := slices.Clone(c.k), slices.Clone(c.v)
		fillCache(t, f, 40, 90)
		checkCache(t, f, 80, 90)
		if err := f.Truncate(0); err != nil {
			t.Fatal(err)
		}
		if c.length != 40 || !slices.Equal(c.k, k) || !slices.Equal(c.v, v) {
			t.Errorf("window %d: what was stored in the copy changed the original", window)
		}
	}
}
