package t16

import (
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/seed-796a8800/tritium/internal/mxfp4"
)

// randomMXFP4 makes random codes with scales of a span that lets rounding show.
func randomMXFP4(rng *rand.Rand, out, k int, bias bool) *MXFP4Rows {
	w := &MXFP4Rows{Blocks: make([]byte, out*k/2), Scales: make([]byte, out*k/32), Out: out, K: k}
	for i := range w.Blocks {
		w.Blocks[i] = byte(rng.Uint32())
	}
	for i := range w.Scales {
		w.Scales[i] = byte(110 + rng.IntN(20))
	}
	if bias {
		w.Bias = randomRow(rng, out)
	}
	return w
}

func runMXFP4(w *MXFP4Rows, xs [][]float32, rows []int, ldd, size int) []float32 {
	dst := make([]float32, size)
	for i := range dst {
		dst[i] = sentinel
	}
	var p Panel
	fillMXFP4(&p, w, xs, rows)
	MatMulMXFP4(dst, ldd, w, 0, w.Tiles(), &p, new(MXFP4Tile))
	return dst
}

func fillMXFP4(p *Panel, w *MXFP4Rows, xs [][]float32, rows []int) {
	p.Reset(MXFP4, w.K, 32, len(xs))
	for i, x := range xs {
		p.Set(i, x, rows[i])
	}
}

// mxfp4Oracle is the documented arithmetic for row r, with package mxfp4's values and a fused multiply-add made of
// exact float64 arithmetic.
func mxfp4Oracle(w *MXFP4Rows, r int, x []float32) float32 {
	q := make([]int8, w.K)
	ascale := QuantizeRow(q[:len(x)], x)
	row := make([]float32, w.K)
	groups := w.K / 32
	ones := make([]byte, groups)
	for g := range ones {
		ones[g] = 128 // the doubled values
	}
	mxfp4.DecodeRow(row, w.Blocks[r*groups*16:(r+1)*groups*16], ones)
	var acc float32
	for g, e := range w.Scales[r*groups : (r+1)*groups] {
		s := 0
		for k := 32 * g; k < 32*g+32; k++ {
			s += int(row[k]) * int(q[k])
		}
		scale := math.Ldexp(1, int(e)-127)
		if e == 255 {
			scale = math.NaN()
		}
		acc = float32(float64(acc) + float64(s)*scale)
	}
	y := float32(acc * (ascale / 2)) // converted, so that arm64 does not fuse it with the addition
	if w.Bias != nil {
		y += w.Bias[r]
	}
	return y
}

func mxfp4Shapes() (list []shape) {
	for out := 1; out <= 33; out++ {
		list = append(list, shape{out, 64, 32, 1}, shape{out, 96, 32, 5})
	}
	for tokens := 0; tokens <= 50; tokens++ {
		list = append(list, shape{16, 64, 32, tokens}, shape{19, 32, 32, tokens})
	}
	for k := 32; k <= 1600; k += 32 { // fewer than sixteen blocks, multiples of it and none
		list = append(list, shape{17, k, 32, 1})
	}
	return append(list, shape{33, 2880, 32, 30}, shape{20, 2880, 32, 2}, shape{16, 4096, 32, 3}, shape{32, 2880, 32, 4})
}

func same(a, b float32) bool { return a == b || a != a && b != b }

func TestMXFP4EqualsOracle(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		for _, s := range mxfp4Shapes() {
			rng := rand.New(rand.NewPCG(uint64(s.out), uint64(s.k*100+s.tokens)))
			w := randomMXFP4(rng, s.out, s.k, s.tokens%2 == 1)
			xs := make([][]float32, s.tokens)
			for i := range xs {
				xs[i] = randomRow(rng, s.k-i%3) // some shorter than K
			}
			ldd := s.out + 3
			rows := rng.Perm(s.tokens + 2)[:s.tokens] // scattered, two rows left alone
			want := make([]float32, (s.tokens+2)*ldd+5)
			for i := range want {
				want[i] = sentinel
			}
			for i, x := range xs {
				for r := range s.out {
					want[rows[i]*ldd+r] = mxfp4Oracle(w, r, x)
				}
			}
			for i, v := range runMXFP4(w, xs, rows, ldd, len(want)) {
				if v != want[i] {
					t.Fatalf("%+v: dst[%d] (row %d, column %d) = %v, want %v", s, i, i/ldd, i%ldd, v, want[i])
				}
			}
		}
	})
}

// All scale bytes, with sums of both signs and zero: powers below the normal floats, overflow, NaN.
func TestMXFP4Scales(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		for _, tokens := range []int{1, 2, 4, 8, 16, 24} {
			w := randomMXFP4(rand.New(rand.NewPCG(5, 6)), 48, 256, false)
			for i := range w.Scales {
				w.Scales[i] = byte(i)
			}
			clear(w.Blocks[:40*16]) // zero, for scales that make more of it too
			xs, rows := make([][]float32, tokens), make([]int, tokens)
			for i := range xs {
				xs[i], rows[i] = randomRow(rand.New(rand.NewPCG(7, uint64(i))), w.K), i
			}
			for i, v := range runMXFP4(w, xs, rows, 48, 48*tokens) {
				if want := mxfp4Oracle(w, i%48, xs[i/48]); !same(v, want) {
					t.Fatalf("%d tokens: token %d row %d = %v, want %v", tokens, i/48, i%48, v, want)
				}
			}
		}
	})
}

// Sums at their largest, whose terms 16 bits hold only a few of.
func TestMXFP4Extremes(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		for _, tokens := range []int{1, 2, 4, 8, 16, 24} {
			for code, value := range map[byte]float32{0x77: 6, 0xFF: -6, 0x00: 0, 0x88: 0, 0x11: .5, 0x99: -.5} {
				for _, a := range []float32{127, -127} {
					w := randomMXFP4(rand.New(rand.NewPCG(1, 2)), 16, 2880, false)
					for i := range w.Blocks {
						w.Blocks[i] = code
					}
					for i := range w.Scales {
						w.Scales[i] = 127
					}
					x, xs, rows := make([]float32, w.K), make([][]float32, tokens), make([]int, tokens)
					for k := range x {
						x[k] = a
					}
					for i := range xs {
						xs[i], rows[i] = x, i
					}
					want := float32(w.K) * value * a // below 2^24
					for i, v := range runMXFP4(w, xs, rows, 16, 16*tokens) {
						if v != want {
							t.Fatalf("%d tokens, codes %#x, activations %g: dst[%d] = %v, want %v", tokens, code, a, i, v, want)
						}
					}
				}
			}
		}
	})
}

// The addition of a block rounds once: cancelling sums where a rounded product or a second rounding would show.
func TestMXFP4RoundsOnce(t *testing.T) {
	rng := rand.New(rand.NewPCG(8, 9))
	var c tile
	var acc [maxWidth][TileRows]float32
	var sum [maxWidth][TileRows]int32
	c.rows, c.scales = []int{0}, make([]byte, TileRows)
	for range 200_000 {
		e, a, s := byte(60+rng.IntN(130)), float32(math.Ldexp(rng.NormFloat64(), rng.IntN(130)-65)), rng.Int32N(2*48768+1)-48768
		acc[0][0], sum[0][0], c.scales[0] = a, s, e
		c.foldMXFP4(&acc, &sum, 0)
		if want := fusedOracle(a, s, int(e)-127); acc[0][0] != want {
			t.Fatalf("%v + %d·2^%d = %v, want %v", a, s, int(e)-127, acc[0][0], want)
		}
	}
}

func TestMXFP4Split(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(3, 4))
		w := randomMXFP4(rng, 16*5+5, 544, true)
		xs, rows := make([][]float32, 47), make([]int, 47)
		for i := range xs {
			xs[i], rows[i] = randomRow(rng, w.K), i
		}
		want := runMXFP4(w, xs, rows, w.Out, 47*w.Out)
		got := make([]float32, len(want))
		for first, n := 0, 1; first < len(xs); first, n = first+n, n+1 {
			end := min(first+n, len(xs))
			var p Panel
			fillMXFP4(&p, w, xs[first:end], rows[first:end])
			var wg sync.WaitGroup
			for tile := range w.Tiles() {
				wg.Go(func() { MatMulMXFP4(got, w.Out, w, tile, tile+1, &p, new(MXFP4Tile)) })
			}
			wg.Wait()
		}
		for i := range want {
			if got[i] != want[i] {
				t.Fatalf("dst[%d] = %v split, %v whole", i, got[i], want[i])
			}
		}
	})
}

func TestMXFP4NoAllocation(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(5, 6))
		w := randomMXFP4(rng, 40, 96, true)
		x := randomRow(rng, 96)
		xs, rows := [][]float32{x, x, x}, []int{0, 1, 2}
		var p Panel
		var turned MXFP4Tile
		turned.Reset(96)
		fillMXFP4(&p, w, xs, rows)
		dst := make([]float32, 3*40)
		if a := testing.AllocsPerRun(5, func() {
			fillMXFP4(&p, w, xs, rows)
			MatMulMXFP4(dst, 40, w, 0, w.Tiles(), &p, &turned)
		}); a != 0 {
			t.Errorf("%v allocations a run", a)
		}
	})
}

func TestMXFP4WrongLengthsPanic(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	for name, spoil := range map[string]func(w *MXFP4Rows, p *Panel, dst *[]float32, ldd, from, to *int){
		"blocks":     func(w *MXFP4Rows, _ *Panel, _ *[]float32, _, _, _ *int) { w.Blocks = w.Blocks[1:] },
		"scales":     func(w *MXFP4Rows, _ *Panel, _ *[]float32, _, _, _ *int) { w.Scales = w.Scales[1:] },
		"bias":       func(w *MXFP4Rows, _ *Panel, _ *[]float32, _, _, _ *int) { w.Bias = w.Bias[1:] },
		"columns":    func(w *MXFP4Rows, _ *Panel, _ *[]float32, _, _, _ *int) { w.K = 80 },
		"format":     func(_ *MXFP4Rows, p *Panel, _ *[]float32, _, _, _ *int) { p.Reset(Int4, 96, 32, 2) },
		"k":          func(_ *MXFP4Rows, p *Panel, _ *[]float32, _, _, _ *int) { p.Reset(MXFP4, 64, 32, 2) },
		"dst":        func(_ *MXFP4Rows, _ *Panel, dst *[]float32, _, _, _ *int) { *dst = (*dst)[1:] },
		"ldd":        func(_ *MXFP4Rows, _ *Panel, _ *[]float32, ldd, _, _ *int) { *ldd = 21 },
		"tile below": func(_ *MXFP4Rows, _ *Panel, _ *[]float32, _, from, _ *int) { *from = -1 },
		"tile above": func(_ *MXFP4Rows, _ *Panel, _ *[]float32, _, _, to *int) { *to = 3 },
	} {
		t.Run(name, func(t *testing.T) {
			w := randomMXFP4(rng, 20, 96, true)
			var p Panel
			fillMXFP4(&p, w, [][]float32{randomRow(rng, 96), randomRow(rng, 96)}, []int{0, 1})
			dst, ldd, from, to := make([]float32, 40), 20, 0, 2
			MatMulMXFP4(dst, ldd, w, from, to, &p, new(MXFP4Tile)) // right as it is
			spoil(w, &p, &dst, &ldd, &from, &to)
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			MatMulMXFP4(dst, ldd, w, from, to, &p, new(MXFP4Tile))
		})
	}
}

// BenchmarkMXFP4 is one thread's product, turning included; bytes are those of the weights.
func BenchmarkMXFP4(b *testing.B) {
	eachISA(b, func(b *testing.B) {
		w := randomMXFP4(rand.New(rand.NewPCG(2, 2)), 5760, 2880, true)
		for _, tokens := range []int{1, 2, 4, 8, 16, 24, 64, 512} {
			b.Run(fmt.Sprintf("rows=5760/cols=2880/tokens=%d", tokens), func(b *testing.B) {
				xs, rows := make([][]float32, tokens), make([]int, tokens)
				for i := range xs {
					xs[i], rows[i] = randomRow(rand.New(rand.NewPCG(3, uint64(i))), w.K), i
				}
				var p Panel
				var turned MXFP4Tile
				fillMXFP4(&p, w, xs, rows)
				dst := make([]float32, tokens*w.Out)
				b.SetBytes(int64(len(w.Blocks) + len(w.Scales)))
				for b.Loop() {
					MatMulMXFP4(dst, w.Out, w, 0, w.Tiles(), &p, &turned)
				}
				b.ReportMetric(float64(b.N)*float64(w.Out)*float64(w.K)*float64(tokens)/b.Elapsed().Seconds()/1e9, "GMAC/s")
			})
		}
	})
}

// fusedOracle is a + s·2^e, rounded once, by arithmetic of more digits than the sum can have.
func fusedOracle(a float32, s int32, e int) float32 {
	exact := new(big.Float).SetPrec(400).SetInt64(int64(s))
	exact.SetMantExp(exact, e)
	exact.Add(exact, big.NewFloat(float64(a)))
	f, _ := exact.Float32()
	return f
}
