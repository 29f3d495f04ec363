//go:build unix

package t16

import (
	"math/rand/v2"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// guarded copies s to memory whose next (or, with before, previous) byte is in a page that faults.
func guarded[E any](t *testing.T, s []E, before bool) []E {
	t.Helper()
	size, page := len(s)*int(unsafe.Sizeof(s[0])), unix.Getpagesize()
	body := (size + page - 1) / page * page
	mem, err := unix.Mmap(-1, 0, body+2*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(mem) })
	for _, edge := range [][]byte{mem[:page], mem[page+body:]} {
		if err := unix.Mprotect(edge, unix.PROT_NONE); err != nil {
			t.Fatal(err)
		}
	}
	at := page
	if !before {
		at += body - size
	}
	out := unsafe.Slice((*E)(unsafe.Pointer(&mem[at])), len(s))
	copy(out, s)
	return out
}

func TestProtectedPages(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(21, 22))
		for _, s := range []shape{{16, 16, 16, 1}, {17, 48, 48, 2}, {31, 80, 16, 3}, {16, 64, 32, 4}, {33, 48, 48, 7},
			{16, 96, 48, 8}, {20, 32, 16, 16}, {16, 48, 48, 24}, {18, 80, 80, 47}} {
			for _, before := range []bool{false, true} {
				w := randomWeights(rng, s.out, s.k, s.group, true)
				xs, rows := make([][]float32, s.tokens), make([]int, s.tokens)
				for i := range xs {
					xs[i], rows[i] = guarded(t, randomRow(rng, s.k), before), i
				}
				want := run(w, xs, rows, s.out, s.out*s.tokens)
				g := *w
				g.Codes, g.Scales, g.Bias = guarded(t, w.Codes, before), guarded(t, w.Scales, before), guarded(t, w.Bias, before)
				var p Panel
				p.Reset(Ternary2, s.k, s.group, s.tokens)
				p.acts, p.nsums = guarded(t, p.acts, before), guarded(t, p.nsums, before)
				p.scales, p.rows = guarded(t, p.scales, before), guarded(t, p.rows, before)
				for i, x := range xs {
					p.Set(i, x, rows[i])
				}
				dst := guarded(t, make([]float32, s.out*s.tokens), before)
				MatMul(dst, s.out, &g, 0, g.Tiles(), &p)
				for i := range want {
					if dst[i] != want[i] {
						t.Fatalf("%+v: dst[%d] = %v, want %v", s, i, dst[i], want[i])
					}
				}
			}
		}
	})
}

func TestTernary5ProtectedPages(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(25, 26))
		for _, s := range []shape{{16, 20, 20, 1}, {17, 60, 60, 2}, {31, 80, 40, 3}, {16, 40, 40, 8}, {20, 60, 20, 16}, {18, 80, 40, 47}} {
			for _, before := range []bool{false, true} {
				w := randomWeights5(rng, s.out, s.k, s.group, true)
				xs, rows := randomRows(rng, s.tokens, s.k)
				want := run(w, xs, rows, s.out, s.out*s.tokens)
				g := *w
				g.Codes, g.Scales, g.Bias = guarded(t, w.Codes, before), guarded(t, w.Scales, before), guarded(t, w.Bias, before)
				var p Panel
				p.Reset(Ternary5, s.k, s.group, s.tokens)
				p.acts, p.nsums = guarded(t, p.acts, before), guarded(t, p.nsums, before)
				p.scales, p.rows = guarded(t, p.scales, before), guarded(t, p.rows, before)
				for i, x := range xs {
					p.Set(i, x, rows[i])
				}
				dst := guarded(t, make([]float32, s.out*s.tokens), before)
				MatMul(dst, s.out, &g, 0, g.Tiles(), &p)
				for i := range want {
					if dst[i] != want[i] {
						t.Fatalf("%+v: dst[%d] = %v, want %v", s, i, dst[i], want[i])
					}
				}
			}
		}
	})
}

func TestQuantizeProtectedPages(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(23, 24))
		for n := 1; n <= 100; n++ {
			for _, before := range []bool{false, true} {
				x, q := guarded(t, randomRow(rng, n), before), guarded(t, make([]int8, n), before)
				want, _ := quantizeOracle(x)
				QuantizeRow(q, x)
				for k := range q {
					if q[k] != want[k] {
						t.Fatalf("%d values: code %d = %d, want %d", n, k, q[k], want[k])
					}
				}
			}
		}
	})
}
