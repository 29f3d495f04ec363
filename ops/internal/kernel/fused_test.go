package kernel

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"unsafe"
)

// storedWeights is [n, k] weights of one format, each operand in an arena.
type storedWeights struct {
	codes  []byte
	scales []byte // of MXFP4
	n, k   int
}

// storedFormat is one format of fused weights beside its definition.
type storedFormat struct {
	name   string
	unit   int // k is a multiple of it
	bits   int
	scales func(w storedWeights) int
	mul    func(dst []float32, ldd int, x []float32, m int, w storedWeights, scratch []float32)
	decode func(dst []float32, w storedWeights)
}

var storedFormats = []storedFormat{
	{"bf16", 1, 16,
		func(storedWeights) int { return 0 },
		func(d []float32, ldd int, x []float32, m int, w storedWeights, scratch []float32) {
			MulBF16(d, ldd, x, m, w.codes, w.n, w.k, scratch)
		},
		func(d []float32, w storedWeights) { decodeBF16Generic(d, w.codes) }},
	{"mxfp4", 32, 4,
		func(w storedWeights) int { return w.n * w.k / 32 },
		func(d []float32, ldd int, x []float32, m int, w storedWeights, scratch []float32) {
			MulMXFP4(d, ldd, x, m, w.codes, w.scales, w.n, w.k, scratch)
		},
		func(d []float32, w storedWeights) { decodeMXFP4Generic(d, w.codes, w.scales) }},
}

// draw fills weights against the ends of their arenas with random codes; the
// scales of MXFP4 are any byte unless their kind is normal.
func (f storedFormat) draw(r *rand.Rand, n, k int, values string, codes, scales arena) storedWeights {
	w := storedWeights{n: n, k: k}
	w.codes = codes.bytes(n*k*f.bits/8, atEnd)
	for i := range w.codes {
		w.codes[i] = byte(r.Uint32())
	}
	if f.name == "bf16" && values != "bits" {
		for i := range n * k {
			v := fills[values](r)
			copy(w.codes[2*i:], unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(&v), 2)), 2))
		}
	}
	w.scales = scales.bytes(f.scales(w), atEnd)
	for i := range w.scales {
		w.scales[i] = byte(r.Uint32())
		switch values {
		case "normal":
			w.scales[i] = 120 + w.scales[i]%8
		case "tiny":
			w.scales[i] %= 24
		case "finite":
			w.scales[i] = 230 + w.scales[i]%25
		}
	}
	return w
}

type mulArenas struct{ x, codes, scales, dst arena }

func newMulArenas(t *testing.T) mulArenas {
	return mulArenas{newArena(t, 8), newArena(t, 8), newArena(t, 8), newArena(t, 2)}
}

// checkMul demands the bits of decoding and the definition of MatMulNT, and an
// untouched gap between the rows of dst.
func checkMul(t *testing.T, f storedFormat, m, n, k int, values string, a mulArenas) {
	t.Helper()
	r := newRand()
	w := f.draw(r, n, k, values, a.codes, a.scales)
	x := a.x.floats(m*k, atEnd)
	fill(r, x, fills[values])
	ldd := n + 3
	want := make([]float32, max(m-1, 0)*ldd+n)
	fill(r, want, fills["normal"])
	a.dst.guard()
	dst := a.dst.floats(len(want), atEnd)
	copy(dst, want)
	decoded, scratch := make([]float32, n*k), make([]float32, n*k)
	if fuses(m, n, k) {
		scratch = nil // not to be used
	}
	f.decode(decoded, w)
	matMulNTGeneric(want, ldd, x, k, decoded, k, m, n, k, false)
	f.mul(dst, ldd, x, m, w, scratch)
	if i := firstDiff(dst, want); i >= 0 {
		t.Fatalf("%s m=%d n=%d k=%d %s: [%d,%d] = %x, want %x", f.name, m, n, k, values, i/ldd, i%ldd, dst[i], want[i])
	}
	if !a.dst.intact(len(dst), atEnd) {
		t.Fatalf("%s m=%d n=%d k=%d %s: wrote outside dst", f.name, m, n, k, values)
	}
}

// TestMulRows crosses every edge of strips: tokens, rows and k, of lengths that
// fuse and lengths that decode first.
func TestMulRows(t *testing.T) {
	a := newMulArenas(t)
	eachISA(t, func(t *testing.T, _ string) {
		for _, f := range storedFormats {
			for m := range 11 {
				for n := 1; n < 11; n++ {
					for _, k := range []int{16, 32, 50, 96, 192} {
						if k%f.unit == 0 {
							checkMul(t, f, m, n, k, "normal", a)
						}
					}
				}
			}
		}
	})
}

func TestMulRowsEveryLength(t *testing.T) {
	a := newMulArenas(t)
	eachISA(t, func(t *testing.T, _ string) {
		for _, f := range storedFormats {
			for k := f.unit; k < 8*lanes; k += f.unit {
				checkMul(t, f, 1, 5, k, "normal", a)
				checkMul(t, f, 3, 6, k, "normal", a)
			}
		}
	})
}

func TestMulRowsHostile(t *testing.T) {
	a := newMulArenas(t)
	eachISA(t, func(t *testing.T, _ string) {
		for _, f := range storedFormats {
			for values := range fills {
				for _, s := range [][3]int{{1, 11, 320}, {2, 7, 64}, {5, 8, 160}, {8, 9, 32}} {
					checkMul(t, f, s[0], s[1], s[2], values, a)
				}
			}
		}
	})
}

// TestMulRowsEveryCode multiplies by one-hot tokens, which brings out every
// nibble at every place of a block under every scale byte, alone.
func TestMulRowsEveryCode(t *testing.T) {
	const k = 32
	w := storedWeights{n: 256, k: k, codes: make([]byte, 256*k/2), scales: make([]byte, 256)}
	for r := range w.n {
		w.scales[r] = byte(r)
	}
	x, dst := make([]float32, 4*k), make([]float32, 4*w.n)
	decoded, scratch := make([]float32, w.n*k), make([]float32, w.n*k)
	eachISA(t, func(t *testing.T, _ string) {
		for _, f := range storedFormats {
			if f.bits != 4 {
				continue
			}
			for code := range 16 {
				for i := range w.codes {
					w.codes[i] = byte((code+2*i)&15) | byte((code+2*i+1)&15)<<4
				}
				f.decode(decoded, w)
				for at := 0; at < k; at += 4 {
					clear(x)
					for i := range 4 {
						x[i*k+at+i] = 1
					}
					for _, m := range []int{1, 4} {
						want := make([]float32, m*w.n)
						matMulNTGeneric(want, w.n, x[:m*k], k, decoded, k, m, w.n, k, false)
						f.mul(dst[:m*w.n], w.n, x[:m*k], m, w, scratch)
						if i := firstDiff(dst, want); i >= 0 {
							t.Fatalf("%s code %d at %d: [%d] = %x, want %x", f.name, code, at, i, dst[i], want[i])
						}
					}
				}
			}
		}
	})
}

func TestMulRowsAllocatesNothing(t *testing.T) {
	const n, k = 8, 64
	r := newRand()
	x, dst, scratch := make([]float32, 9*k), make([]float32, 9*n), make([]float32, n*k)
	codes, scales := newArena(t, 1), newArena(t, 1)
	eachISA(t, func(t *testing.T, _ string) {
		for _, f := range storedFormats {
			w := f.draw(r, n, k, "normal", codes, scales)
			for _, m := range []int{1, 4, 9} {
				if got := testing.AllocsPerRun(5, func() { f.mul(dst[:m*n], n, x[:m*k], m, w, scratch) }); got != 0 {
					t.Errorf("%s m=%d: %v allocations", f.name, m, got)
				}
			}
		}
	})
}

func TestMulRowsWrongLengthsPanic(t *testing.T) {
	x, b := make([]float32, 128), make([]byte, 256)
	eachISA(t, func(t *testing.T, _ string) {
		for i, f := range []func(){
			func() { MulBF16(x, 4, x, 1, b[:255], 4, 32, x) },
			func() { MulBF16(x[:3], 4, x, 1, b, 4, 32, x) },
			func() { MulBF16(x, 3, x, 2, b, 4, 32, x) },
			func() { MulBF16(x, 4, x[:31], 1, b, 4, 32, x) },
			func() { MulBF16(x, 4, x[:63], 2, b, 4, 32, x) },
			func() { MulBF16(x, 4, x, -1, b, 4, 32, x) },
			func() { MulBF16(x, 4, x, 1, b, -4, -32, x) },
			func() { MulMXFP4(x, 4, x, 1, b[:63], b[:4], 4, 32, x) },
			func() { MulMXFP4(x, 4, x, 1, b[:64], b[:3], 4, 32, x) },
			func() { MulMXFP4(x, 4, x, 1, b[:64], b[:4], 8, 16, x) },
			func() { MulMXFP4(x, 8, x, 1, b[:64], b[:4], 8, 16, x) },
		} {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				defer func() {
					if recover() == nil {
						t.Error("no panic")
					}
				}()
				f()
			})
		}
	})
}
