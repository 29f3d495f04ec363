package t16

import (
	"fmt"
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
