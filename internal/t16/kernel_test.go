package t16

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
)

// sentinel fills what a kernel must not write; no result equals it.
const sentinel = -1.2345e33

// randomWeights packs random codes and scales straight into the layout of the package comment.
func randomWeights(rng *rand.Rand, out, k, group int, bias bool) *Weights {
	w := &Weights{Out: out, K: k, Group: group}
	w.Codes = make([]byte, w.Tiles()*4*k)
	for i := range w.Codes {
		w.Codes[i] = byte(rng.IntN(3) | rng.IntN(3)<<2 | rng.IntN(3)<<4 | rng.IntN(3)<<6)
	}
	w.Scales = make([]byte, w.Tiles()*k/group*TileRows*scaleBytes)
	for i := 0; i < len(w.Scales); i += 2 { // ±[2^-14, 2) and some subnormals
		h := uint16(rng.IntN(15*1024)) | uint16(rng.IntN(2))<<15
		binary.LittleEndian.PutUint16(w.Scales[i:], h)
	}
	if bias {
		w.Bias = randomRow(rng, out)
	}
	return w
}

func randomRow(rng *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	return x
}

// code reads one weight by the formula of the package comment.
func (w *Weights) code(row, k int) int {
	tile, r := row/TileRows, row%TileRows
	b := w.Codes[tile*4*w.K+k/16*64+r*4+k%4]
	return int(b>>(2*(k%16/4))&3) - 1
}

func (w *Weights) scale(row, k int) float64 {
	tile, r := row/TileRows, row%TileRows
	at := (tile*w.K/w.Group+k/w.Group)*TileRows + r
	return float64(halfToFloat(binary.LittleEndian.Uint16(w.Scales[2*at:])))
}

// oracle is the dequantized product in float64, and the sum of its terms' magnitudes.
func (w *Weights) oracle(row int, q []int8, ascale float32) (y, size float64) {
	for k, a := range q {
		v := float64(w.code(row, k)) * w.scale(row, k) * float64(a) * float64(ascale)
		y += v
		size += math.Abs(v)
	}
	if w.Bias != nil {
		y += float64(w.Bias[row])
		size += math.Abs(float64(w.Bias[row]))
	}
	return y, size
}

// run multiplies all tiles into a fresh dst of sentinels.
func run(w *Weights, xs [][]float32, rows []int, ldd, size int) []float32 {
	dst := make([]float32, size)
	for i := range dst {
		dst[i] = sentinel
	}
	var p Panel
	fill(&p, w, xs, rows)
	MatMul(dst, ldd, w, 0, w.Tiles(), &p)
	return dst
}

func fill(p *Panel, w *Weights, xs [][]float32, rows []int) {
	p.Reset(w.Format, w.K, w.Group, len(xs))
	for i, x := range xs {
		p.Set(i, x, rows[i])
	}
}

type shape struct{ out, k, group, tokens int }

// smallShapes has every out with some tokens, every token count with some outs, and every group of some depths.
func smallShapes() (list []shape) {
	for out := 1; out <= 33; out++ {
		for _, tokens := range []int{1, 2, 5, 8, 25} {
			list = append(list, shape{out, 96, 48, tokens})
		}
	}
	for tokens := 0; tokens <= 50; tokens++ {
		for _, out := range []int{16, 19} {
			list = append(list, shape{out, 64, 32, tokens})
		}
	}
	for k := 16; k <= 192; k += 16 {
		for group := 16; group <= k; group += 16 {
			if k%group == 0 {
				list = append(list, shape{17, k, group, 1}, shape{16, k, group, 31})
			}
		}
	}
	return append(list, shape{33, 2880, 192, 30}, shape{20, 2880, 2880, 7}, shape{16, 4096, 64, 3}, shape{16, 528, 528, 23})
}

func TestMatMulEqualsGeneric(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		for _, s := range smallShapes() {
			rng := rand.New(rand.NewPCG(uint64(s.out), uint64(s.k*100+s.tokens)))
			w := randomWeights(rng, s.out, s.k, s.group, s.tokens%2 == 1)
			xs := make([][]float32, s.tokens)
			for i := range xs {
				xs[i] = randomRow(rng, s.k-i%3) // some shorter than K
			}
			ldd := s.out + 3
			rows := rng.Perm(s.tokens + 2)[:s.tokens] // scattered, two rows left alone
			size := (s.tokens+2)*ldd + 5
			got := run(w, xs, rows, ldd, size)
			var want []float32
			withGeneric(t, func() { want = run(w, xs, rows, ldd, size) })
			for i := range want {
				if got[i] != want[i] {
					t.Fatalf("%+v: dst[%d] (row %d, column %d) = %v, generic says %v", s, i, i/ldd, i%ldd, got[i], want[i])
				}
			}
		}
	})
}

// The truth itself: against float64, and nothing written outside the rows.
func TestGenericAgainstFloat64(t *testing.T) {
	for _, s := range smallShapes() {
		rng := rand.New(rand.NewPCG(uint64(s.out+7), uint64(s.k*100+s.tokens)))
		w := randomWeights(rng, s.out, s.k, s.group, s.tokens%2 == 0)
		xs, rows := make([][]float32, s.tokens), rng.Perm(s.tokens + 2)[:s.tokens]
		for i := range xs {
			xs[i] = randomRow(rng, s.k)
		}
		ldd := s.out + 1
		var got []float32
		withGeneric(t, func() { got = run(w, xs, rows, ldd, (s.tokens+2)*ldd) })
		written := make([]bool, len(got))
		for i, x := range xs {
			q := make([]int8, s.k)
			ascale := QuantizeRow(q, x)
			for r := range s.out {
				want, size := w.oracle(r, q, ascale)
				at := rows[i]*ldd + r
				written[at] = true
				if math.Abs(float64(got[at])-want) > 4e-7*float64(s.k/s.group+2)*size {
					t.Fatalf("%+v: token %d row %d = %v, float64 says %v", s, i, r, got[at], want)
				}
			}
		}
		for i, v := range got {
			if !written[i] && v != sentinel {
				t.Fatalf("%+v: dst[%d] was written", s, i)
			}
		}
	}
}

// Extreme sums: constant codes and activations at full scale, where 16-bit and 32-bit sums would overflow first.
func TestExtremes(t *testing.T) {
	maxK := Ternary2.MaxK()
	eachISA(t, func(t *testing.T) {
		for _, s := range []shape{{16, 4096, 4096, 1}, {17, 4096, 256, 30}, {16, 8192, 8192, 9}, {16, 2880, 2880, 24},
			{16, 1040, 1040, 6}, {16, maxK, maxK, 1}, {16, maxK, maxK, 4}} {
			if testing.Short() && s.k == maxK {
				continue
			}
			for _, crumb := range []byte{0, 1, 2} {
				for _, sign := range []float32{-1, 1} {
					extreme(t, s, crumb, sign)
				}
			}
		}
	})
}

func extreme(t *testing.T, s shape, crumb byte, sign float32) {
	w := &Weights{Out: s.out, K: s.k, Group: s.group}
	w.Codes = make([]byte, w.Tiles()*4*s.k)
	for i := range w.Codes {
		w.Codes[i] = crumb * 0x55
	}
	w.Scales = make([]byte, w.Tiles()*s.k/s.group*TileRows*scaleBytes)
	for i := 0; i < len(w.Scales); i += 2 {
		binary.LittleEndian.PutUint16(w.Scales[i:], 0x3C00) // 1
	}
	x, xs, rows := make([]float32, s.k), make([][]float32, s.tokens), make([]int, s.tokens)
	for k := range x {
		x[k] = sign * 127
	}
	for i := range xs {
		xs[i], rows[i] = x, i
	}
	want := float32(0) // the truth's sum: scales are 1, and so is the activations'
	for range s.k / s.group {
		want += float32((int(crumb) - 1) * int(sign) * 127 * s.group)
	}
	for i, v := range run(w, xs, rows, s.out, s.out*s.tokens) {
		if v != want {
			t.Fatalf("%+v, all codes %d, all activations %g: dst[%d] = %v, want %v", s, int(crumb)-1, sign*127, i, v, want)
		}
	}
}

// A NaN or an infinity in a row makes all of its results NaN and no other row's.
func TestNonFiniteShows(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(1, 2))
		w := randomWeights(rng, 20, 64, 32, true)
		for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
			xs := [][]float32{randomRow(rng, 64), randomRow(rng, 64), randomRow(rng, 64)}
			xs[1][37] = float32(bad)
			dst := run(w, xs, []int{0, 1, 2}, 20, 60)
			for i, v := range dst {
				if isNaN := v != v; isNaN != (i/20 == 1) {
					t.Fatalf("x[1][37] = %v: dst[%d, %d] = %v", bad, i/20, i%20, v)
				}
			}
		}
	})
}

// Any split of tiles over threads writes the same dst.
func TestSplitTiles(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(3, 4))
		w := randomWeights(rng, 16*11+5, 192, 96, true)
		xs, rows := make([][]float32, 27), make([]int, 27)
		for i := range xs {
			xs[i], rows[i] = randomRow(rng, 192), i
		}
		want := run(w, xs, rows, w.Out, 27*w.Out)
		var p Panel
		p.Reset(w.Format, w.K, w.Group, len(xs))
		var wg sync.WaitGroup
		for i := range xs {
			wg.Go(func() { p.Set(i, xs[i], rows[i]) })
		}
		wg.Wait()
		got := make([]float32, len(want))
		for tile := 0; tile < w.Tiles(); tile += 2 {
			wg.Go(func() { MatMul(got, w.Out, w, tile, min(tile+2, w.Tiles()), &p) })
		}
		wg.Wait()
		for i := range want {
			if got[i] != want[i] {
				t.Fatalf("dst[%d] = %v split, %v whole", i, got[i], want[i])
			}
		}
	})
}

func TestNoAllocation(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(5, 6))
		w := randomWeights(rng, 40, 96, 48, true)
		xs, rows := make([][]float32, 30), make([]int, 30)
		for i := range xs {
			xs[i], rows[i] = randomRow(rng, 96), i
		}
		var p Panel
		fill(&p, w, xs, rows)
		dst := make([]float32, 30*40)
		for _, n := range []int{30, 1, 13} {
			if a := testing.AllocsPerRun(5, func() {
				fill(&p, w, xs[:n], rows)
				MatMul(dst, 40, w, 0, w.Tiles(), &p)
			}); a != 0 {
				t.Errorf("%d tokens: %v allocations a run", n, a)
			}
		}
	})
}

func TestWrongLengthsPanic(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	for name, spoil := range map[string]func(w *Weights, p *Panel, dst *[]float32, ldd, from, to *int){
		"codes":      func(w *Weights, _ *Panel, _ *[]float32, _, _, _ *int) { w.Codes = w.Codes[1:] },
		"scales":     func(w *Weights, _ *Panel, _ *[]float32, _, _, _ *int) { w.Scales = w.Scales[2:] },
		"bias":       func(w *Weights, _ *Panel, _ *[]float32, _, _, _ *int) { w.Bias = w.Bias[1:] },
		"group":      func(w *Weights, _ *Panel, _ *[]float32, _, _, _ *int) { w.Group = 24 },
		"k":          func(_ *Weights, p *Panel, _ *[]float32, _, _, _ *int) { p.Reset(Ternary2, 48, 48, 2) },
		"dst":        func(_ *Weights, _ *Panel, dst *[]float32, _, _, _ *int) { *dst = (*dst)[1:] },
		"ldd":        func(_ *Weights, _ *Panel, _ *[]float32, ldd, _, _ *int) { *ldd = 21 },
		"huge ldd":   func(_ *Weights, _ *Panel, _ *[]float32, ldd, _, _ *int) { *ldd = math.MaxInt },
		"ldd below":  func(_ *Weights, _ *Panel, _ *[]float32, ldd, _, _ *int) { *ldd = -1 },
		"tile below": func(_ *Weights, _ *Panel, _ *[]float32, _, from, _ *int) { *from = -1 },
		"tile above": func(_ *Weights, _ *Panel, _ *[]float32, _, _, to *int) { *to = 3 },
	} {
		t.Run(name, func(t *testing.T) {
			w := randomWeights(rng, 20, 96, 48, true)
			var p Panel
			fill(&p, w, [][]float32{randomRow(rng, 96), randomRow(rng, 96)}, []int{0, 1})
			dst, ldd, from, to := make([]float32, 40), 20, 0, 2
			MatMul(dst, ldd, w, from, to, &p) // right as it is
			spoil(w, &p, &dst, &ldd, &from, &to)
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			MatMul(dst, ldd, w, from, to, &p)
		})
	}
}

func TestWrongPanelsPanic(t *testing.T) {
	var p Panel
	p.Reset(Ternary2, 32, 16, 2)
	for name, f := range map[string]func(){
		"group 24":     func() { new(Panel).Reset(Ternary2, 48, 24, 1) },
		"group 0":      func() { new(Panel).Reset(Ternary2, 48, 0, 1) },
		"group over k": func() { new(Panel).Reset(Ternary2, 48, 32, 1) },
		"no columns":   func() { new(Panel).Reset(Ternary2, 0, 16, 1) },
		"too wide":     func() { new(Panel).Reset(Ternary2, Ternary2.MaxK()+16, 16, 1) },
		"tokens below": func() { new(Panel).Reset(Ternary2, 32, 16, -1) },
		"token below":  func() { p.Set(-1, nil, 0) },
		"token above":  func() { p.Set(2, nil, 0) },
		"row below":    func() { p.Set(0, nil, -1) },
		"long row":     func() { p.Set(0, make([]float32, 33), 0) },
		"code lengths": func() { QuantizeRow(make([]int8, 3), make([]float32, 4)) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			f()
		})
	}
}

// A strip covers each token once, in order, and no wider than the frames of the kernels.
func TestStrips(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		var p Panel
		for n := range 200 {
			p.Reset(Ternary2, 32, 16, n)
			next := 0
			for _, s := range p.strips {
				if s.first != next || s.width < 1 || s.width > maxWidth {
					t.Fatalf("%d tokens: strips %v", n, p.strips)
				}
				next += s.width
			}
			if next < n {
				t.Fatalf("%d tokens: strips %v", n, p.strips)
			}
			for i := range n {
				if s := p.find(i); i < s.first || i >= s.first+s.width {
					t.Fatalf("token %d of %d is said to be in %v", i, n, s)
				}
			}
		}
	})
}

func ExamplePanel() {
	// One tile of 16 rows and 16 columns, all codes +1, all scales 1; two tokens go to rows 1 and 0 of dst.
	w := &Weights{Codes: make([]byte, 64), Scales: make([]byte, 32), Out: 16, K: 16, Group: 16}
	for i := range w.Codes {
		w.Codes[i] = 0xAA
	}
	for i := 0; i < 32; i += 2 {
		binary.LittleEndian.PutUint16(w.Scales[i:], 0x3C00)
	}
	var p Panel
	p.Reset(w.Format, w.K, w.Group, 2)
	p.Set(0, []float32{1, 1, 1}, 1)
	p.Set(1, []float32{127, -2}, 0)
	dst := make([]float32, 2*16)
	MatMul(dst, 16, w, 0, w.Tiles(), &p)
	fmt.Println(dst[0], dst[16])
	// Output: 125 3
}
