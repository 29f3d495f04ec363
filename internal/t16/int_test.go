package t16

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// intWeights packs random codes, all of which occur, in a format of whole numbers.
func intWeights(rng *rand.Rand, f Format, out, k, group int) *Weights {
	w := &Weights{Format: f, Out: out, K: k, Group: group}
	w.Codes = make([]byte, w.Tiles()*f.tileBytes(k))
	for i := range w.Codes {
		w.Codes[i] = byte(rng.Uint32())
	}
	w.Scales = make([]byte, w.Tiles()*k/group*TileRows*scaleBytes)
	for i := 0; i < len(w.Scales); i += 2 {
		binary.LittleEndian.PutUint16(w.Scales[i:], uint16(rng.IntN(15*1024))|uint16(rng.IntN(2))<<15)
	}
	if out%2 == 1 {
		w.Bias = randomRow(rng, out)
	}
	return w
}

// intCode reads one weight by the formula of Format.
func (w *Weights) intCode(row, k int) int {
	cols := w.Format.BlockCols()
	b := w.Codes[row/TileRows*w.Format.tileBytes(w.K)+k/cols*blockBytes+row%TileRows*4+k%4]
	if w.Format == Int8 {
		return int(b) - 128
	}
	return int(b>>(k%cols/4*4)&15) - 8
}

// intShapes has every out with some tokens, every token count with some outs, and every group of some depths.
func intShapes(f Format) (list []shape) {
	for out := 1; out <= 33; out++ {
		for _, tokens := range []int{1, 2, 4, 9, 25} {
			list = append(list, shape{out, 64, 32, tokens})
		}
	}
	for tokens := 0; tokens <= 50; tokens++ {
		list = append(list, shape{16, 48, 16, tokens}, shape{19, 48, 48, tokens})
	}
	step := f.BlockCols()
	for k := step; k <= 12*step; k += step {
		for group := step; group <= k; group += step {
			if k%group == 0 {
				list = append(list, shape{17, k, group, 1}, shape{16, k, group, 3}, shape{16, k, group, 31})
			}
		}
	}
	return append(list, shape{33, 2880, 64, 30}, shape{20, 2880, 2880, 7}, shape{16, 4096, 64, 3})
}

func eachInt(t *testing.T, f func(*testing.T, Format)) {
	for _, format := range []Format{Int4, Int8} {
		t.Run(fmt.Sprintf("format=%d", format), func(t *testing.T) { f(t, format) })
	}
}

func TestIntEqualsGeneric(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		eachInt(t, func(t *testing.T, f Format) {
			for _, s := range intShapes(f) {
				rng := rand.New(rand.NewPCG(uint64(s.out), uint64(s.k*100+s.tokens)))
				w := intWeights(rng, f, s.out, s.k, s.group)
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
	})
}

// The truth itself: the sums are exact, so only a rounding a group and the last few separate it from float64.
func TestIntGenericAgainstFloat64(t *testing.T) {
	eachInt(t, func(t *testing.T, f Format) {
		for _, s := range intShapes(f) {
			rng := rand.New(rand.NewPCG(uint64(s.out+7), uint64(s.k*100+s.tokens)))
			w := intWeights(rng, f, s.out, s.k, s.group)
			xs, rows := make([][]float32, s.tokens), make([]int, s.tokens)
			for i := range xs {
				xs[i], rows[i] = randomRow(rng, s.k), i
			}
			var got []float32
			withGeneric(t, func() { got = run(w, xs, rows, s.out, s.tokens*s.out) })
			for i, x := range xs {
				q := make([]int8, s.k)
				ascale := QuantizeRow(q, x)
				for r := range s.out {
					var want, size float64
					if w.Bias != nil {
						want, size = float64(w.Bias[r]), math.Abs(float64(w.Bias[r]))
					}
					for k, a := range q {
						at := (r/TileRows*(s.k/s.group)+k/s.group)*TileRows + r%TileRows
						scale := float64(halfToFloat(binary.LittleEndian.Uint16(w.Scales[2*at:])))
						v := float64(w.intCode(r, k)) * scale * float64(a) * float64(ascale)
						want, size = want+v, size+math.Abs(v)
					}
					if math.Abs(float64(got[i*s.out+r])-want) > 4e-7*float64(s.k/s.group+2)*size {
						t.Fatalf("%+v: token %d row %d = %v, float64 says %v", s, i, r, got[i*s.out+r], want)
					}
				}
			}
		}
	})
}

// Extreme sums: constant codes and activations at full scale, where 16-bit and 32-bit sums would overflow first.
func TestIntExtremes(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		eachInt(t, func(t *testing.T, f Format) {
			maxK := f.MaxK()
			for _, s := range []shape{{16, 2880, 2880, 1}, {17, 2880, 64, 30}, {16, 4096, 4096, 3}, {16, 8192, 8192, 24},
				{16, maxK, maxK, 1}, {16, maxK, maxK, 4}} {
				if testing.Short() && s.k == maxK {
					continue
				}
				for _, code := range []byte{0x00, 0x77, 0x80, 0x88, 0xFF} {
					intExtreme(t, f, s, code, 127)
					intExtreme(t, f, s, code, -127)
				}
			}
		})
	})
}

func intExtreme(t *testing.T, f Format, s shape, code byte, a float32) {
	w := &Weights{Format: f, Out: s.out, K: s.k, Group: s.group}
	w.Codes = make([]byte, w.Tiles()*f.tileBytes(s.k))
	for i := range w.Codes {
		w.Codes[i] = code
	}
	w.Scales = make([]byte, w.Tiles()*s.k/s.group*TileRows*scaleBytes)
	for i := 0; i < len(w.Scales); i += 2 {
		binary.LittleEndian.PutUint16(w.Scales[i:], 0x3C00) // 1
	}
	x, xs, rows := make([]float32, s.k), make([][]float32, s.tokens), make([]int, s.tokens)
	for k := range x {
		x[k] = a
	}
	for i := range xs {
		xs[i], rows[i] = x, i
	}
	sum := 0
	for k := range s.group {
		sum += w.intCode(0, k) * int(a)
	}
	want := float32(0) // scales are 1, and so is the activations'
	for range s.k / s.group {
		want += float32(sum)
	}
	for i, v := range run(w, xs, rows, s.out, s.out*s.tokens) {
		if v != want {
			t.Fatalf("format %d, %+v, all codes %#x, all activations %g: dst[%d] = %v, want %v", f, s, code, a, i, v, want)
		}
	}
}

// Alternating signs at full scale: sums of neighbours that 16 bits cannot hold if they are added without their signs.
func TestIntAlternating(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		eachInt(t, func(t *testing.T, f Format) {
			w := &Weights{Format: f, Out: 16, K: 64, Group: 64, Codes: make([]byte, f.tileBytes(64)), Scales: make([]byte, 32)}
			for i := range w.Codes {
				w.Codes[i] = byte(0xFF * (i & 1))
			}
			for i := 1; i < len(w.Scales); i += 2 {
				w.Scales[i] = 0x3C
			}
			x, sum := make([]float32, 64), 0
			for k := range x {
				x[k] = float32(127 - 254*(k&1))
				sum += w.intCode(0, k) * int(x[k])
			}
			for i, v := range run(w, [][]float32{x, x, x}, []int{0, 1, 2}, 16, 48) {
				if v != float32(sum) {
					t.Fatalf("dst[%d] = %v, want %d", i, v, sum)
				}
			}
		})
	})
}

// Any split of tiles and of tokens gives the same bits.
func TestIntSplit(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		eachInt(t, func(t *testing.T, f Format) {
			rng := rand.New(rand.NewPCG(3, 4))
			w := intWeights(rng, f, 16*5+5, 192, 64)
			xs, rows := make([][]float32, 47), make([]int, 47)
			for i := range xs {
				xs[i], rows[i] = randomRow(rng, 192), i
			}
			want := run(w, xs, rows, w.Out, 47*w.Out)
			got := make([]float32, len(want))
			var p Panel
			for first, n := 0, 1; first < len(xs); first, n = first+n, n+1 {
				end := min(first+n, len(xs))
				fill(&p, w, xs[first:end], rows[first:end])
				for tile := range w.Tiles() {
					MatMul(got, w.Out, w, tile, tile+1, &p)
				}
			}
			for i := range want {
				if got[i] != want[i] {
					t.Fatalf("dst[%d] = %v split, %v whole", i, got[i], want[i])
				}
			}
		})
	})
}

// BenchmarkInt is one thread's product; bytes are those of the weights.
func BenchmarkInt(b *testing.B) {
	eachISA(b, func(b *testing.B) {
		for _, format := range []Format{Int4, Int8} {
			for _, tokens := range []int{1, 2, 4, 8, 16, 24, 64} {
				b.Run(fmt.Sprintf("format=%d/rows=4096/cols=2880/group=64/tokens=%d", format, tokens), func(b *testing.B) {
					rng := rand.New(rand.NewPCG(2, 2))
					w := intWeights(rng, format, 4096, 2880, 64)
					var p Panel
					p.Reset(format, w.K, w.Group, tokens)
					for i := range tokens {
						p.Set(i, randomRow(rng, w.K), i)
					}
					dst := make([]float32, tokens*w.Out)
					b.SetBytes(int64(len(w.Codes) + len(w.Scales)))
					for b.Loop() {
						MatMul(dst, w.Out, w, 0, w.Tiles(), &p)
					}
					b.ReportMetric(float64(b.N)*float64(w.Out)*float64(w.K)*float64(tokens)/b.Elapsed().Seconds()/1e9, "GMAC/s")
				})
			}
		}
	})
}
