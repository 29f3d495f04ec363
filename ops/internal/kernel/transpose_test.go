package kernel

import (
	"fmt"
	"math"
	"testing"
)

// TestTranspose: both functions write what their definition says and nothing
// else, with operands that end at a protected page.
func TestTranspose(t *testing.T) {
	eachISA(t, func(t *testing.T, _ string) {
		r := newRand()
		from, to := newArena(t, 2), newArena(t, 2)
		for _, size := range [][2]int{{1, 1}, {1, 40}, {40, 1}, {3, 5}, {7, 9}, {8, 8}, {9, 15}, {15, 17}, {16, 16}, {17, 33}, {33, 16}, {24, 40}, {41, 23}} {
			rows, cols := size[0], size[1]
			for pad := range 2 {
				lds, ldd := cols+pad, rows+3*pad
				src := from.floats((rows-1)*lds+cols, atEnd)
				fill(r, src, fills["bits"])
				index := make([]int32, rows)
				for i := range index {
					index[i] = int32(r.IntN(rows))
				}
				for name, f := range map[string]func(dst []float32) (row func(int) int){
					"Transpose": func(dst []float32) func(int) int {
						Transpose(dst, ldd, src, lds, rows, cols)
						return func(r int) int { return r }
					},
					"GatherTranspose": func(dst []float32) func(int) int {
						GatherTranspose(dst, ldd, src, lds, index, cols)
						return func(r int) int { return int(index[r]) }
					},
				} {
					n := (cols-1)*ldd + rows
					to.guard()
					dst := to.floats(n, atEnd)
					row := f(dst)
					what := fmt.Sprintf("%s %d x %d, strides %d and %d", name, rows, cols, lds, ldd)
					if !to.intact(n, atEnd) {
						t.Fatalf("%s: wrote outside of dst", what)
					}
					for i, v := range dst {
						c, r := i/ldd, i%ldd
						if r >= rows {
							if want := guardFloat(); !same(v, want) {
								t.Fatalf("%s: wrote between rows", what)
							}
						} else if want := src[row(r)*lds+c]; !same(v, want) {
							t.Fatalf("%s: [%d, %d] is %v, want %v", what, c, r, v, want)
						}
					}
				}
			}
		}
	})
}

// guardFloat is what arena.guard fills memory with.
func guardFloat() float32 { return math.Float32frombits(0xA5A5A5A5) }

func TestTransposeRefusesWrongLengths(t *testing.T) {
	for name, f := range map[string]func(){
		"src":   func() { Transpose(make([]float32, 6), 2, make([]float32, 5), 3, 2, 3) },
		"dst":   func() { Transpose(make([]float32, 5), 2, make([]float32, 6), 3, 2, 3) },
		"index": func() { GatherTranspose(make([]float32, 6), 2, make([]float32, 6), 3, []int32{0, 2}, 3) },
		"below": func() { GatherTranspose(make([]float32, 6), 2, make([]float32, 6), 3, []int32{0, -1}, 3) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			f()
		}()
	}
}

func BenchmarkTranspose(b *testing.B) {
	eachISA(b, func(b *testing.B, _ string) {
		const rows, cols = 256, 384
		src, dst := make([]float32, rows*cols), make([]float32, rows*cols)
		b.SetBytes(4 * rows * cols)
		for b.Loop() {
			Transpose(dst, rows, src, cols, rows, cols)
		}
	})
}
