package kernel

import (
	"fmt"
	"math"
	"testing"
)

// product is one MatMulNT in memory of its own: strides wider than the rows,
// the last rows of a and b against an inaccessible page.
type product struct {
	m, n, k       int
	lda, ldb, ldd int
	a, b          []float32
}

func newProduct(m, n, k int, values string, am, bm arena) product {
	p := product{m: m, n: n, k: k, lda: k + 3, ldb: k + 1, ldd: n + 2}
	r := newRand()
	p.a = am.floats(max(m-1, 0)*p.lda+k, atEnd)
	p.b = bm.floats(max(n-1, 0)*p.ldb+k, atEnd)
	fill(r, p.a, fills[values])
	fill(r, p.b, fills[values])
	return p
}

// check runs the product both ways and demands the bits of the definition and
// an untouched gap between the rows of dst.
func (p product) check(t *testing.T, accumulate bool, dm arena) {
	t.Helper()
	want := make([]float32, max(p.m-1, 0)*p.ldd+p.n)
	fill(newRand(), want, fills["normal"])
	dm.guard()
	dst := dm.floats(len(want), atEnd)
	copy(dst, want)
	matMulNTGeneric(want, p.ldd, p.a, p.lda, p.b, p.ldb, p.m, p.n, p.k, accumulate)
	MatMulNT(dst, p.ldd, p.a, p.lda, p.b, p.ldb, p.m, p.n, p.k, accumulate)
	if i := firstDiff(dst, want); i >= 0 {
		t.Fatalf("m=%d n=%d k=%d accumulate=%v: [%d,%d] = %x, want %x",
			p.m, p.n, p.k, accumulate, i/p.ldd, i%p.ldd, dst[i], want[i])
	}
	if !dm.intact(len(dst), atEnd) {
		t.Fatalf("m=%d n=%d k=%d accumulate=%v: wrote outside dst", p.m, p.n, p.k, accumulate)
	}
}

func TestMatMulNTSmall(t *testing.T) {
	am, bm, dm := newArena(t, 4), newArena(t, 4), newArena(t, 1)
	eachISA(t, func(t *testing.T, _ string) {
		for m := range 10 {
			for n := range 14 {
				for _, k := range []int{0, 1, 15, 16, 17, 50} {
					p := newProduct(m, n, k, "normal", am, bm)
					p.check(t, false, dm)
					p.check(t, true, dm)
				}
			}
		}
	})
}

func TestMatMulNTHostile(t *testing.T) {
	am, bm, dm := newArena(t, 4), newArena(t, 4), newArena(t, 1)
	eachISA(t, func(t *testing.T, _ string) {
		for values := range fills {
			for _, s := range [][3]int{{1, 11, 37}, {5, 8, 64}, {11, 2, 33}} {
				newProduct(s[0], s[1], s[2], values, am, bm).check(t, true, dm)
			}
		}
	})
}

// TestMatMulNTBlocks crosses every block boundary: rows, columns, k and the
// columns of one pass.
func TestMatMulNTBlocks(t *testing.T) {
	am, bm, dm := newArena(t, 280), newArena(t, 288), newArena(t, 4)
	eachISA(t, func(t *testing.T, name string) {
		for _, s := range [][3]int{{17, 53, 2*kBlock + 7}, {9, 50, 2*kBlock + 16}, {3, 29, 2*kBlock + 9}, {2, 50, 2*kBlock + 16}, {29, 3, 531}, {rowBlock + 10, 26, l2Floats/48 + 24}} {
			if name == "generic" && s[2] > 1000 {
				continue // it would compare the definition with itself
			}
			p := newProduct(s[0], s[1], s[2], "normal", am, bm)
			p.check(t, false, dm)
			p.check(t, true, dm)
		}
	})
}

// TestMatMulNTIsDot pins that an element depends on its two rows and k only.
func TestMatMulNTIsDot(t *testing.T) {
	const m, n, k = 13, 31, 300
	am, bm := newArena(t, 16), newArena(t, 16)
	p := newProduct(m, n, k, "normal", am, bm)
	eachISA(t, func(t *testing.T, _ string) {
		dst := make([]float32, m*n)
		MatMulNT(dst, n, p.a, p.lda, p.b, p.ldb, m, n, k, false)
		for i := range m {
			for j := range n {
				want := Dot(p.a[i*p.lda:i*p.lda+k], p.b[j*p.ldb:j*p.ldb+k])
				if got := dst[i*n+j]; !same(got, want) {
					t.Fatalf("[%d,%d] = %x, Dot = %x", i, j, got, want)
				}
			}
		}
	})
}

func TestMatMulNTAllocatesNothing(t *testing.T) {
	a, b, dst := make([]float32, 9*70), make([]float32, 30*70), make([]float32, 9*30)
	eachISA(t, func(t *testing.T, _ string) {
		for _, m := range []int{1, 9} {
			if got := testing.AllocsPerRun(10, func() { MatMulNT(dst, 30, a, 70, b, 70, m, 30, 70, true) }); got != 0 {
				t.Errorf("m=%d: %v allocations", m, got)
			}
		}
	})
}

func TestWrongLengthsPanic(t *testing.T) {
	x, y := make([]float32, 32), make([]float32, 33)
	for i, f := range []func(){
		func() { Dot(x, y) },
		func() { Axpy(1, x, y) },
		func() { Add(x, x, y) },
		func() { Mul(x, y, x) },
		func() { Scale(x, 1, y) },
		func() { Exp(x, y) },
		func() { SoftmaxSink(y, x, 0) },
		func() { SwiGLU(x, y, 7) },
		func() { SwiGLU(x[:16], x, 0) },
		func() { RMSNorm(x, x, y, 0) },
		func() { Rope(x, x, y[:16], y[:17]) },
		func() { Rope(x, y, y[:16], y[:16]) },
		func() { DecodeBF16(x, make([]byte, 63)) },
		func() { DecodeF16(x, make([]byte, 65)) },
		func() { DecodeMXFP4(x, make([]byte, 16), make([]byte, 2)) },
		func() { DecodeMXFP4(y, make([]byte, 16), make([]byte, 1)) },
		func() { MatMulNT(x, 4, x, 8, x, 8, 4, 5, 8, false) },             // ldd < n
		func() { MatMulNT(x, 8, x, 8, x, 8, 5, 4, 8, false) },             // a too short
		func() { MatMulNT(x, 8, x, 8, x, 9, 4, 4, 8, false) },             // b too short
		func() { MatMulNT(x, 8, x, math.MaxInt/2, x, 8, 4, 4, 8, false) }, // stride overflows
		func() { MatMulNT(x, 8, x, 8, x, 8, -1, 4, 8, false) },
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
}
