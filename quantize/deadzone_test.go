package quantize

import (
	"math"
	"slices"
	"strings"
	"testing"

	"gonum.org/v1/gonum/mat"
	"pgregory.net/rapid"
)

// nonzero counts the codes that are not 0.
func nonzero(codes []int8) (n float64) {
	for _, c := range codes {
		n += math.Abs(float64(c))
	}
	return n
}

// rateOf is Σ λ·H_jj over the codes of a batch that are not 0.
func rateOf(b *batch, h mat.Symmetric) (rate float64) {
	for i, c := range b.codes {
		row, j := i/b.in, i%b.in
		rate += b.price(row, j/b.group) * h.At(j, j) * math.Abs(float64(c))
	}
	return rate
}

// TestPricedDescentNeverRaises: no pass raises objective + λ·rate, wherever it starts.
func TestPricedDescentNeverRaises(t *testing.T) {
	cpu := newCPU(t, 1)
	rapid.Check(t, func(t *rapid.T) {
		b, oracle, r := drawBatch(t, cpu, ternary{})
		w, codes, scales, group := b.w, b.codes, b.scales, b.group
		for range scales {
			b.prices = append(b.prices, rapid.Float64Range(0, 3).Draw(t, "price"))
		}
		drawStart(t, b, r)
		sum := func() float64 { return objective(oracle, w, codes, scales, group) + rateOf(b, oracle) }
		last := sum()
		for pass := range 4 {
			b.descend(1)
			now := sum()
			if now > last*(1+1e-6) {
				t.Fatalf("pass %d raised objective and rate from %g to %g", pass, last, now)
			}
			last = now
		}
	})
}

// TestPricedStage1: with a price too, no number of codes that are not 0 does better.
func TestPricedStage1(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 64).Draw(t, "n")
		r := randomSource(rapid.Uint64().Draw(t, "seed"))
		price := rapid.Float64Range(0, 2).Draw(t, "price")
		w := normals(r, n)
		a := stage1Scale(w, make([]uint32, n), price)
		codes := make([]int8, n)
		encodePriced(codes, w, a, price)
		got := plainError(w, codes, a) + price*nonzero(codes)

		order := slices.Clone(w)
		slices.SortFunc(order, func(a, b float32) int {
			return int(math.Copysign(1, math.Abs(float64(b))-math.Abs(float64(a))))
		})
		best, squares, s := dot(w, w), dot(w, w), 0.
		for k, v := range order {
			s += math.Abs(float64(v))
			best = min(best, squares-s*s/float64(k+1)+price*float64(k+1))
		}
		if got > best+squares/(2048*2048)+1e-9 {
			t.Fatalf("error and rate %g, best %g", got, best)
		}
	})
}

// TestDeadZone: a wider zone has more zeros; for its own price it does better than the fit without one; .5 is none; and
// threads change nothing.
func TestDeadZone(t *testing.T) {
	const out, in, group = 48, 160, 80
	r := randomSource(5)
	cpu := newCPU(t, 1)
	x := correlatedTokens(r, 2*in, in)
	w, h, m := normals(r, out*in), dampedOracle(x, in, DefaultDamp), momentOf(t, cpu, x, in)
	for _, method := range []Method{Stage1, PTBitNet, GPTQWithDescent} {
		fit := func(threads int, zone float64) Fit {
			f, err := NewFitter(newCPU(t, threads)).Ternary(w, out, in, group, m, method, FitOptions{DeadZone: zone})
			if err != nil {
				t.Fatal(err)
			}
			return f
		}
		off := fit(1, 0)
		if none := fit(1, .5); !slices.Equal(none.Codes, off.Codes) || !slices.Equal(none.Scales, off.Scales) {
			t.Errorf("%s: a zone of .5 changes the fit", method)
		}
		last := nonzero(off.Codes)
		for _, zone := range []float64{.6, .7, .8, 1} {
			got, same := fit(1, zone), fit(3, zone)
			if !slices.Equal(got.Codes, same.Codes) || !slices.Equal(got.Scales, same.Scales) {
				t.Errorf("%s, zone %v: the fit depends on the threads", method, zone)
			}
			if n := nonzero(got.Codes); n >= last {
				t.Errorf("%s, zone %v: %v codes are not 0, before %v", method, zone, n, last)
			} else {
				last = n
			}
			if method == Stage1 {
				continue // minimises with H = 1
			}
			sum := func(f Fit) (s float64) {
				for row := range out {
					s += objective(h, w[row*in:][:in], f.Codes[row*in:][:in], f.Scales[row*in/group:][:in/group], group)
				}
				b := &batch{scratch: &scratch{order: make([]uint32, group)}, rows: out, in: in, group: group, groups: in / group, w: w, codes: f.Codes}
				b.setPrices(zone)
				return s + rateOf(b, h)
			}
			if with, without := sum(got), sum(off); with >= without {
				t.Errorf("%s, zone %v: error and rate %g, without a zone %g", method, zone, with, without)
			}
		}
	}
}

func TestDeadZoneRefusals(t *testing.T) {
	for _, c := range []struct {
		zone   float64
		method Method
		want   string
	}{
		{.4, PTBitNet, "want .5"}, {1.1, PTBitNet, "want .5"}, {math.NaN(), PTBitNet, "want .5"}, {-1, Stage1, "want .5"},
		{.7, AbsMean, "absmean has no dead zone"}, {.7, GPTQ, "gptq has no dead zone"}, {.7, Reconstruct, "reconstruct has no dead zone"},
	} {
		_, err := NewFitter(newCPU(t, 1)).Ternary(make([]float32, 16), 1, 16, 16, nil, c.method, FitOptions{DeadZone: c.zone})
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v of %s: error %v, want %q", c.zone, c.method, err, c.want)
		}
	}
}
