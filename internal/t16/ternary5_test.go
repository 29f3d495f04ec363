package t16

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// weight5 reads one weight of Ternary5 codes by the formula of the format.
func weight5(codes []byte, k, row, col int) int {
	tile, r := row/TileRows, row%TileRows
	b := int(codes[tile*Ternary5.tileBytes(k)+col/20*64+r*4+col%4])
	for range col % 20 / 4 {
		b /= 3
	}
	return b%3 - 1
}

// randomWeights5 is randomWeights for Ternary5; with any, the codes are any bytes.
func randomWeights5(rng *rand.Rand, out, k, group int, any bool) *Weights {
	w := &Weights{Format: Ternary5, Out: out, K: k, Group: group, Bias: randomRow(rng, out)}
	w.Codes = make([]byte, w.Tiles()*Ternary5.tileBytes(k))
	for i := range w.Codes {
		if w.Codes[i] = byte(rng.IntN(243)); any {
			w.Codes[i] = byte(rng.IntN(256))
		}
	}
	w.Scales = make([]byte, w.Tiles()*k/group*TileRows*scaleBytes)
	for i := 0; i < len(w.Scales); i += 2 {
		binary.LittleEndian.PutUint16(w.Scales[i:], uint16(rng.IntN(15*1024))|uint16(rng.IntN(2))<<15)
	}
	return w
}

func randomRows(rng *rand.Rand, n, k int) (xs [][]float32, rows []int) {
	xs, rows = make([][]float32, n), make([]int, n)
	for i := range xs {
		xs[i], rows[i] = randomRow(rng, k-i%3), i
	}
	return xs, rows
}

func shapes5() (list []shape) {
	for out := 1; out <= 33; out++ {
		list = append(list, shape{out, 120, 40, 5}, shape{out, 120, 60, 25})
	}
	for tokens := 0; tokens <= 50; tokens++ {
		list = append(list, shape{19, 80, 40, tokens}, shape{16, 60, 20, tokens})
	}
	for k := 20; k <= 240; k += 20 {
		for group := 20; group <= k; group += 20 {
			if k%group == 0 {
				list = append(list, shape{17, k, group, 1}, shape{16, k, group, 31})
			}
		}
	}
	return append(list, shape{33, 2880, 320, 30}, shape{20, 2880, 2880, 7}, shape{16, 4160, 160, 3})
}

func TestTernary5EqualsGeneric(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		for i, s := range shapes5() {
			rng := rand.New(rand.NewPCG(uint64(s.out), uint64(s.k*100+s.tokens)))
			w := randomWeights5(rng, s.out, s.k, s.group, i%2 == 1)
			xs, rows := randomRows(rng, s.tokens, s.k)
			got := run(w, xs, rows, s.out+3, s.tokens*(s.out+3)+5)
			var want []float32
			withGeneric(t, func() { want = run(w, xs, rows, s.out+3, s.tokens*(s.out+3)+5) })
			for i := range want {
				if got[i] != want[i] {
					t.Fatalf("%+v: dst[%d] = %v, generic says %v", s, i, got[i], want[i])
				}
			}
		}
	})
}

// Every byte in every row and place of a block: its five weights, one column at a time.
func TestTernary5EveryByte(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		for b := range 256 {
			w := &Weights{Format: Ternary5, Out: 16, K: 20, Group: 20, Codes: make([]byte, 64), Scales: make([]byte, 32)}
			for i := range w.Codes {
				w.Codes[i] = byte(b)
			}
			for i := 0; i < 32; i += 2 {
				binary.LittleEndian.PutUint16(w.Scales[i:], 0x3C00)
			}
			xs, rows := make([][]float32, 35), make([]int, 35) // strips of 24 and 8, or of 4, 2 and 1
			for i := range xs {
				xs[i], rows[i] = make([]float32, 20), i
				xs[i][i%20] = 127
			}
			for _, n := range []int{35, 16, 7, 3, 2, 1} {
				for i, v := range run(w, xs[:n], rows[:n], 16, 16*n) {
					if want := float32(127 * (int(trit(byte(b), i/16%20/4)) - 1)); v != want {
						t.Fatalf("byte %d, %d tokens: token %d row %d = %v, want %v", b, n, i/16, i%16, v, want)
					}
				}
			}
		}
	})
}

// The expanded weights give the same results.
func TestExpandedProduct(t *testing.T) {
	rng := rand.New(rand.NewPCG(33, 34))
	for _, s := range []shape{{33, 480, 160, 9}, {16, 100, 100, 3}} {
		w := randomWeights5(rng, s.out, s.k, s.group, false)
		wide := *w
		wide.Format, wide.K = Ternary2, (s.k+15)/16*16
		if s.group == s.k {
			wide.Group = wide.K
		}
		wide.Codes = make([]byte, w.Tiles()*Ternary2.tileBytes(wide.K))
		ExpandTernary5(wide.Codes, w.Codes, w.K)
		xs, rows := randomRows(rng, s.tokens, s.k)
		want, got := run(w, xs, rows, s.out, s.out*s.tokens), run(&wide, xs, rows, s.out, s.out*s.tokens)
		for i := range want {
			if got[i] != want[i] {
				t.Fatalf("%+v: dst[%d] = %v expanded, %v as it was", s, i, got[i], want[i])
			}
		}
	}
}

// Constant codes and activations at full scale, up to the most columns.
func TestTernary5Extremes(t *testing.T) {
	maxK := Ternary5.MaxK() / 20 * 20
	eachISA(t, func(t *testing.T) {
		for _, s := range []shape{{16, 4160, 4160, 1}, {16, 2880, 320, 30}, {16, 16400, 16400, 8},
			{16, maxK, maxK, 1}, {16, maxK, maxK, 4}} {
			for _, code := range []byte{0, 121, 242} {
				for _, a := range []float32{-127, 127} {
					w := randomWeights5(rand.New(rand.NewPCG(1, 2)), s.out, s.k, s.group, false)
					w.Bias = nil
					for i := range w.Codes {
						w.Codes[i] = code
					}
					for i := 0; i < len(w.Scales); i += 2 {
						binary.LittleEndian.PutUint16(w.Scales[i:], 0x3C00)
					}
					xs, rows := make([][]float32, s.tokens), make([]int, s.tokens)
					for i := range xs {
						xs[i], rows[i] = make([]float32, s.k), i
						for k := range xs[i] {
							xs[i][k] = a
						}
					}
					want := float32(0)
					for range s.k / s.group {
						want += float32((int(code)/121 - 1) * int(a) * s.group)
					}
					for i, v := range run(w, xs, rows, s.out, s.out*s.tokens) {
						if v != want {
							t.Fatalf("%+v, code %d, activation %v: dst[%d] = %v, want %v", s, code, a, i, v, want)
						}
					}
				}
			}
		}
	})
}

// A scale that is no number makes its row none, as a NaN or an infinity, and no other row.
func TestScaleNotFiniteShows(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(35, 36))
		for _, bad := range []uint16{0x7C00, 0xFC00, 0x7E00} {
			for _, w := range []*Weights{randomWeights(rng, 32, 160, 80, true), randomWeights5(rng, 32, 160, 80, false)} {
				binary.LittleEndian.PutUint16(w.Scales[(TileRows+5)*scaleBytes:], bad) // tile 0, group 1, row 5
				xs, rows := randomRows(rng, 31, 160)
				for i, v := range run(w, xs, rows, 32, 31*32) {
					if isBad := math.IsNaN(float64(v)) || math.IsInf(float64(v), 0); isBad != (i%32 == 5) {
						t.Fatalf("format %d, scale %04x: dst[%d, %d] = %v", w.Format, bad, i/32, i%32, v)
					}
				}
			}
		}
	})
}

// Every valid byte in every place, every remainder of k: each weight is what it was, and the padding is 0.
func TestExpandTernary5(t *testing.T) {
	rng := rand.New(rand.NewPCG(31, 32))
	for k := 20; k <= 400; k += 20 {
		const tiles = 3
		src := make([]byte, tiles*Ternary5.tileBytes(k))
		for i := range src {
			src[i] = byte((i + rng.IntN(2)*k) % 243)
		}
		padded := (k + 15) / 16 * 16
		w := &Weights{Codes: make([]byte, tiles*Ternary2.tileBytes(padded)), Out: tiles * TileRows, K: padded}
		ExpandTernary5(w.Codes, src, k)
		for row := range w.Out {
			for col := range padded {
				want := 0
				if col < k {
					want = weight5(src, k, row, col)
				}
				if got := w.code(row, col); got != want {
					t.Fatalf("%d columns: weight [%d, %d] = %d, want %d", k, row, col, got, want)
				}
			}
		}
	}
}

func TestExpandTernary5Panics(t *testing.T) {
	for name, f := range map[string]func(){
		"k 30":  func() { ExpandTernary5(make([]byte, 128), make([]byte, 96), 30) },
		"k 0":   func() { ExpandTernary5(nil, nil, 0) },
		"short": func() { ExpandTernary5(make([]byte, 127), make([]byte, 64), 20) },
		"part":  func() { ExpandTernary5(make([]byte, 128), make([]byte, 65), 20) },
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

// A byte has the digits of its number; the thirteen that are no number have small ones.
func TestTrit(t *testing.T) {
	for b := range 256 {
		sum := 0
		for c, unit := range []int{1, 3, 9, 27, 81} {
			d := int(trit(byte(b), c))
			if d > 2 {
				t.Errorf("byte %d: digit %d is %d", b, c, d)
			}
			sum += d * unit
		}
		if b < 243 && sum != b {
			t.Errorf("the digits of byte %d make %d", b, sum)
		}
	}
}

// BenchmarkExpandTernary5 counts the bytes written.
func BenchmarkExpandTernary5(b *testing.B) {
	for _, k := range []int{2880, 4160} {
		b.Run(fmt.Sprintf("cols=%d", k), func(b *testing.B) {
			src, dst := make([]byte, 8*Ternary5.tileBytes(k)), make([]byte, 8*Ternary2.tileBytes(k))
			for i := range src {
				src[i] = byte(i % 243)
			}
			b.SetBytes(int64(len(dst)))
			for b.Loop() {
				ExpandTernary5(dst, src, k)
			}
		})
	}
}
