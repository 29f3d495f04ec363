package t16

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/x448/float16"
)

// quantizeOracle is the documented arithmetic, written with the standard library's rounding.
func quantizeOracle(x []float32) (q []int8, scale float32) {
	q = make([]int8, len(x))
	var absmax float32
	for _, v := range x {
		if f := float64(v); math.IsNaN(f) || math.IsInf(f, 0) {
			return q, float32(math.NaN())
		}
		absmax = max(absmax, float32(math.Abs(float64(v))))
	}
	if absmax < 0x1p-120 {
		return q, 0
	}
	inv := 127 / absmax
	for k, v := range x {
		q[k] = int8(math.RoundToEven(float64(float32(v * inv))))
	}
	return q, absmax / 127
}

func checkQuantize(t *testing.T, x []float32) {
	t.Helper()
	want, wantScale := quantizeOracle(x)
	buf := make([]int8, len(x)+16)
	for i := range buf {
		buf[i] = 99
	}
	scale := QuantizeRow(buf[8:8+len(x)], x)
	if scale != wantScale && (scale == scale || wantScale == wantScale) {
		t.Fatalf("%d values: scale %v, want %v", len(x), scale, wantScale)
	}
	for k, q := range buf {
		if in := k >= 8 && k < 8+len(x); in && q != want[k-8] || !in && q != 99 {
			t.Fatalf("%d values: code %d = %d", len(x), k-8, q)
		}
	}
}

func TestQuantizeRow(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(11, 12))
		for n := range 140 {
			checkQuantize(t, randomRow(rng, n))
			for at := range n { // every lane carries the largest, and every kind of it
				x := make([]float32, n)
				for _, v := range []float64{127, -3e38, 1e-45, 0x1p-120, 0x1p-121, math.NaN(), math.Inf(1), math.Inf(-1)} {
					x[at] = float32(v)
					checkQuantize(t, x)
				}
			}
		}
		ties := make([]float32, 0, 512)
		for v := -127.0; v <= 127; v += .5 {
			ties = append(ties, float32(v))
		}
		checkQuantize(t, ties)
		for range 200 { // largest values whose product with inv may pass 127
			x := randomRow(rng, 64)
			for k := range x {
				x[k] = math.Float32frombits(math.Float32bits(float32(rng.Float64()+.5)) &^ 7)
			}
			checkQuantize(t, x)
		}
	})
}

// Panel.Set stores what QuantizeRow says, and the negated sums, whatever the lengths of groups and strips.
func TestPanelHoldsQuantizedRows(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(13, 14))
		var p Panel
		for _, s := range []shape{{0, 96, 16, 27}, {0, 528, 528, 9}, {0, 2880, 480, 3}, {0, 64, 32, 1}, {0, 768, 256, 50}} {
			p.Reset(Ternary2, s.k, s.group, s.tokens)
			xs := make([][]float32, s.tokens)
			for i := range xs {
				xs[i] = randomRow(rng, s.k-i)
				p.Set(i, xs[i], i)
			}
			for i, x := range xs {
				q := make([]int8, s.k)
				if scale := QuantizeRow(q[:len(x)], x); scale != p.scales[i] {
					t.Fatalf("%+v: token %d: scale %v, want %v", s, i, p.scales[i], scale)
				}
				st := p.find(i)
				var sum int32
				for k, v := range q {
					at := k/4*st.width + i - st.first
					if st.paired {
						at = pairedAt(p.format, st.width, k/4) + 2*(i-st.first)
					}
					d := p.acts[st.acts+at]
					if int8(d>>(8*(k%4))) != v {
						t.Fatalf("%+v: token %d column %d: dword %08x, want %d", s, i, k, d, v)
					}
					sum += int32(v)
					if (k+1)%s.group == 0 {
						if got := p.nsums[st.sums+k/s.group*st.width+i-st.first]; got != -sum {
							t.Fatalf("%+v: token %d group %d: sum %d, want %d", s, i, k/s.group, got, -sum)
						}
						sum = 0
					}
				}
			}
		}
	})
}

func TestHalfToFloat(t *testing.T) {
	for i := range 1 << 16 {
		got, want := halfToFloat(uint16(i)), float16.Frombits(uint16(i)).Float32()
		if got != want && (got == got || want == want) {
			t.Fatalf("half %04x = %v, want %v", i, got, want)
		}
	}
}

// A panel whose columns repeat is the panel of inputs that repeat.
func TestPanelRepeats(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 9))
	for _, f := range []Format{Ternary2, Ternary5, Int4, Int8} {
		for _, cols := range []int{80, 320} {
			for _, n := range []int{1, 2, 5, 24, 31} {
				var twice, whole Panel
				twice.Reset(f, 2*cols, 80, n)
				whole.Reset(f, 2*cols, 80, n)
				for i := range n {
					x := randomRow(rng, cols)
					twice.SetRepeated(i, x[:cols-3], cols, i)
					clear(x[cols-3:])
					whole.Set(i, append(x, x...), i)
				}
				if !slices.Equal(twice.acts, whole.acts) || !slices.Equal(twice.nsums, whole.nsums) || !slices.Equal(twice.scales, whole.scales) {
					t.Errorf("format %d, %d columns, %d tokens: the panels differ", f, cols, n)
				}
			}
		}
	}
}
