package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"unsafe"
)

// codeFills are ways to fill an operand of 8 bits between two bounds.
var codeFills = map[string]func(r *rand.Rand, low, high int) int{
	"random":   func(r *rand.Rand, low, high int) int { return low + r.IntN(high-low+1) },
	"extremes": func(r *rand.Rand, low, high int) int { return []int{low, high}[r.IntN(2)] },
	"high":     func(_ *rand.Rand, _, high int) int { return high },
	"low":      func(_ *rand.Rand, low, _ int) int { return low },
}

func fillCodes(r *rand.Rand, b []byte, name string, low, high int) {
	for i := range b {
		b[i] = byte(codeFills[name](r, low, high))
	}
}

func TestAttendScores8(t *testing.T) {
	km, sm, dm := newArena(t, 4), newArena(t, 1), newArena(t, 3)
	eachISA(t, func(t *testing.T, _ string) {
		r := newRand()
		for _, d := range []int{4, 8, 12, 28, 64, 132} {
			for tiles := range 6 {
				for qs := range codeFills {
					for ks := range codeFills {
						var q AttendQueries8
						q.Init(d)
						codes := make([]byte, d)
						for row := range AttendRows {
							fillCodes(r, codes, qs, -127, 127)
							q.Set(row, signed(codes), float32(r.NormFloat64()))
						}
						k, scales := km.bytes(tiles*AttendTile*d, atEnd), sm.floats(tiles*AttendTile, atEnd)
						fillCodes(r, k, ks, 0, 255) // 0, a key of -128, is what unused memory holds
						fill(r, scales, fills["bits"])
						ldd := tiles*AttendTile + 3
						want := make([]float32, (AttendRows-1)*ldd+tiles*AttendTile)
						dm.guard()
						dst := dm.floats(len(want), atEnd)
						copy(dst, want)
						AttendScores8(dst, ldd, &q, k, scales)
						attendScores8Generic(want, ldd, &q, k, scales)
						if i := firstDiff(dst, want); i >= 0 {
							t.Fatalf("d=%d tiles=%d %s %s: [%d, %d] = %x, want %x", d, tiles, qs, ks, i/ldd, i%ldd, dst[i], want[i])
						}
						if !dm.intact(len(dst), atEnd) {
							t.Fatalf("d=%d tiles=%d: wrote outside dst", d, tiles)
						}
					}
				}
			}
		}
	})
}

// weightFills are scores, whose largest is m, and scales of values.
var weightFills = map[string][2]func(r *rand.Rand) float32{
	"usual":     {func(r *rand.Rand) float32 { return float32(r.NormFloat64()) - 4 }, func(r *rand.Rand) float32 { return r.Float32() }},
	"masked":    {func(r *rand.Rand) float32 { return []float32{-inf, -1}[r.IntN(2)] }, func(r *rand.Rand) float32 { return hostile[r.IntN(len(hostile))] }},
	"all zero":  {func(*rand.Rand) float32 { return -inf }, func(r *rand.Rand) float32 { return hostile[r.IntN(len(hostile))] }},
	"vanishing": {func(r *rand.Rand) float32 { return -63.5 - r.Float32() }, func(*rand.Rand) float32 { return 0x1p-28 }},
	"far":       {func(r *rand.Rand) float32 { return -200 * r.Float32() }, func(r *rand.Rand) float32 { return r.Float32() }},
	"hostile":   {fills["hostile"], fills["hostile"]},
	"bits":      {fills["bits"], fills["bits"]},
	"no values": {func(r *rand.Rand) float32 { return -r.Float32() }, func(*rand.Rand) float32 { return 0 }},
}

func TestAttendWeights8(t *testing.T) {
	cm, sm, im, vm := newArena(t, 1), newArena(t, 1), newArena(t, 1), newArena(t, 1)
	eachISA(t, func(t *testing.T, name string) {
		r := newRand()
		for blocks := range 5 {
			for values, fs := range weightFills {
				for range 5 {
					n := blocks * AttendBlock
					scores, vscales := im.floats(n, atEnd), vm.floats(n, atEnd)
					fill(r, scores, fs[0])
					fill(r, vscales, fs[1])
					cm.guard()
					sm.guard()
					codes, scales := signed(cm.bytes(n, atEnd)), sm.floats(blocks, atEnd)
					wantCodes, wantScales := make([]int8, n), make([]float32, blocks)
					var sums [lanes]float32
					AttendWeights8(codes, scales, &sums, scores, vscales, 0)
					if sum, want := foldLanes(&sums), weights8Ref(wantCodes, wantScales, scores, vscales); !same(sum, want) {
						t.Fatalf("%s: sum %x, want %x", values, sum, want)
					}
					for i := range codes {
						if codes[i] != wantCodes[i] {
							t.Fatalf("%s: code %d is %d, want %d", values, i, codes[i], wantCodes[i])
						}
					}
					if i := firstDiff(scales, wantScales); i >= 0 {
						t.Fatalf("%s: scale %d is %x, want %x", values, i, scales[i], wantScales[i])
					}
				}
			}
		}
	})
}

// weights8Ref is the documented formula, with m = 0.
func weights8Ref(codes []int8, scales, scores, vscales []float32) float32 {
	e := make([]float32, len(scores))
	expSubGeneric(e, scores, 0)
	for i, s := range scores {
		if s < -64 {
			e[i] = 0
		}
	}
	for b := range scales {
		var x [AttendBlock]float32
		top, broken := float32(0), false
		for i := range x {
			if v := e[b*AttendBlock+i]; v != 0 {
				x[i] = v * vscales[b*AttendBlock+i]
			}
			broken = broken || math.Signbit(float64(x[i])) || x[i] != x[i] || x[i] == inf
			top = max(top, x[i])
		}
		switch {
		case broken:
			scales[b] = float32(math.NaN())
		case top >= 0x1p-120:
			scales[b] = top / 127
			for i, v := range x {
				codes[b*AttendBlock+i] = int8(math.RoundToEven(float64(v * (127 / top))))
			}
		}
	}
	return sumRef(e)
}

func TestAttendValues8(t *testing.T) {
	wm, sm, vm, dm := newArena(t, 1), newArena(t, 1), newArena(t, 4), newArena(t, 2)
	eachISA(t, func(t *testing.T, _ string) {
		r := newRand()
		for _, width := range []int{0, 16, 32, 48, 64, 80, 128} {
			for ws := range codeFills {
				for vs := range codeFills {
					const ldw, lds = AttendBlock + 5, 3
					w := signed(wm.bytes((AttendRows-1)*ldw+AttendBlock, atEnd))
					fillCodes(r, unsigned(w), ws, 0, 127)
					v := vm.bytes(AttendBlock*width, atEnd)
					fillCodes(r, v, vs, -128, 127)
					scales := sm.floats((AttendRows-1)*lds+1, atEnd)
					fill(r, scales, fills["normal"])
					want := make([]float32, AttendRows*width)
					fill(r, want, fills["normal"])
					dm.guard()
					dst := dm.floats(len(want), atEnd)
					copy(dst, want)
					AttendValues8(dst, w, ldw, scales, lds, signed(v), width)
					attendValues8Generic(want, w, ldw, scales, lds, signed(v), width)
					if i := firstDiff(dst, want); i >= 0 {
						t.Fatalf("width=%d %s %s: [%d, %d] = %x, want %x", width, ws, vs, i/width, i%width, dst[i], want[i])
					}
					if !dm.intact(len(dst), atEnd) {
						t.Fatalf("width=%d: wrote outside dst", width)
					}
				}
			}
		}
	})
}

func unsigned(c []int8) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(c))), len(c))
}

func TestAttend8WrongLengthsPanic(t *testing.T) {
	var q AttendQueries8
	q.Init(4)
	x, c := make([]float32, 1024), make([]int8, 4096)
	for i, f := range []func(){
		func() { AttendScores8(x, 16, &q, unsigned(c[:64]), x[:15]) },
		func() { AttendScores8(x, 16, &q, unsigned(c[:63]), x[:16]) },
		func() { AttendScores8(x, 15, &q, unsigned(c[:64]), x[:16]) },
		func() { AttendWeights8(c[:63], x[:1], nil, x[:64], x[:64], 0) },
		func() { AttendWeights8(c[:64], x[:1], nil, x[:65], x[:64], 0) },
		func() { AttendWeights8(c[:64], x[:1], nil, x[:64], x[:63], 0) },
		func() { AttendValues8(x[:127], c, 64, x, 1, c[:1024], 16) },
		func() { AttendValues8(x[:128], c, 64, x, 1, c[:1023], 16) },
		func() { AttendValues8(x[:128], c, 63, x, 1, c[:1024], 16) },
		func() { AttendValues8(x[:128], c[:511], 64, x, 1, c[:1024], 16) },
		func() { AttendValues8(x[:128], c, 64, x[:7], 1, c[:1024], 16) },
		func() { AttendValues8(x[:64], c, 64, x, 1, c[:512], 8) },
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

func BenchmarkAttend8(b *testing.B) {
	const d = 64
	eachISA(b, func(b *testing.B, name string) {
		for _, n := range []int{AttendBlock, 8192} {
			var q AttendQueries8
			q.Init(d)
			k, s := make([]byte, n*d), make([]float32, n)
			w, c, cs, o := make([]float32, AttendRows*(n+16)), make([]int8, AttendRows*n), make([]float32, AttendRows*n/AttendBlock), make([]float32, AttendRows*d)
			fill(newRand(), w, func(r *rand.Rand) float32 { return -r.Float32() })
			fill(newRand(), s, fills["normal"])
			b.Run(fmt.Sprintf("weights/positions=%d", n), func(b *testing.B) {
				b.SetBytes(int64(4 * n))
				var sums [lanes]float32
				for range b.N {
					AttendWeights8(c[:n], cs[:n/AttendBlock], &sums, w[:n], s, 0)
				}
			})
			b.Run(fmt.Sprintf("scores/positions=%d", n), func(b *testing.B) {
				benchAttend(b, name, n*d, func() { AttendScores8(w, n+16, &q, k, s) })
			})
			b.Run(fmt.Sprintf("values/positions=%d", n), func(b *testing.B) {
				benchAttend(b, name, n*d, func() {
					for p := 0; p < n; p += AttendBlock {
						AttendValues8(o, c[p:], n, cs[p/AttendBlock:], n/AttendBlock, signed(k[p*d:(p+AttendBlock)*d]), d)
					}
				})
			})
		}
	})
}

func signed(b []byte) []int8 {
	x := make([]int8, len(b))
	for i, v := range b {
		x[i] = int8(v)
	}
	return x
}
