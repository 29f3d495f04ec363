package quantize

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

const testInt4Group = 32

func TestFitInt8(t *testing.T) {
	const out, in = 5, 77
	w := normals(randomSource(1), out*in)
	clear(w[2*in : 3*in])
	codes, scales, err := FitInt8(w, out, in)
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range codes {
		a := scales[i/in]
		if storedScale(float64(a)) != a {
			t.Fatalf("scale %g is not a float16", a)
		}
		// Half a step, and half a float16 ulp of 127 steps where clipped.
		if d := math.Abs(float64(w[i]) - float64(a)*float64(c)); d > float64(a)*(0.5+127.0/2048) {
			t.Fatalf("w[%d] = %g became %d·%g", i, w[i], c, a)
		}
		if c == -128 {
			t.Fatalf("code %d is -128", i)
		}
	}
	if scales[2] != 0 {
		t.Errorf("a row of zeros has scale %g", scales[2])
	}
	if _, _, err := FitInt8(w, out, in+1); err == nil {
		t.Error("a wrong shape was taken")
	}
}

// TestFitInt4 holds the search against a fine grid of scales.
func TestFitInt4(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := randomSource(rapid.Uint64().Draw(t, "seed"))
		n := rapid.IntRange(1, 64).Draw(t, "group")
		tail := rapid.Float64Range(0.5, 2).Draw(t, "tail")
		w := make([]float32, n)
		for i := range w {
			v := r.NormFloat64()
			w[i] = float32(math.Copysign(math.Pow(math.Abs(v), tail), v))
		}
		codes, scales, err := FitInt4(w, 1, n, n)
		if err != nil {
			t.Fatal(err)
		}
		for i, c := range codes {
			if c < -8 || c > 7 {
				t.Fatalf("code %d is %d", i, c)
			}
		}
		a := scales[0]
		if storedScale(float64(a)) != a {
			t.Fatalf("scale %g is not a float16", a)
		}
		trial := make([]int8, n)
		plain := storedScale(math.Abs(float64(extreme(w))) / 7)
		encodeInteger(trial, w, plain, -8, 7)
		if got, nearest := plainError(w, codes, a), plainError(w, trial, plain); got > nearest*(1+1e-9) {
			t.Fatalf("the search leaves %g, max|w|/7 %g", got, nearest)
		}
	})
}

// TestFitInt4Search: over many groups of normal weights the few steps tried
// come within 2 % of an exhaustive search.
func TestFitInt4Search(t *testing.T) {
	const groups = 300
	w := normals(randomSource(9), groups*testInt4Group)
	codes, scales, err := FitInt4(w, groups, testInt4Group, testInt4Group)
	if err != nil {
		t.Fatal(err)
	}
	var got, best, plain float64
	trial := make([]int8, testInt4Group)
	for g := range groups {
		w := w[g*testInt4Group:][:testInt4Group]
		got += plainError(w, codes[g*testInt4Group:][:testInt4Group], scales[g])
		top := float64(extreme(w))
		least := math.Inf(1)
		for span := 4.0; span < 11; span += 0.02 {
			for _, a := range []float32{float32(top / span), float32(-top / span)} {
				encodeInteger(trial, w, a, -8, 7)
				least = min(least, plainError(w, trial, leastSquaresScale(w, trial)))
			}
		}
		best += least
		encodeInteger(trial, w, float32(top/-8), -8, 7)
		plain += plainError(w, trial, float32(top/-8))
	}
	t.Logf("search %.4f, exhaustive %.4f, plain %.4f", got, best, plain)
	if got > 1.02*best {
		t.Errorf("the search leaves %g, an exhaustive one %g", got, best)
	}
}

// TestFitInt4Groups: the last group of a row may be shorter, and none reaches
// into the next row.
func TestFitInt4Groups(t *testing.T) {
	const out, in, group = 3, 50, 32
	w := normals(randomSource(4), out*in)
	codes, scales, err := FitInt4(w, out, in, group)
	if err != nil || len(scales) != 2*out {
		t.Fatalf("%d scales, %v", len(scales), err)
	}
	for row := range out {
		for g, k := range []int{0, group} {
			part := w[row*in+k : row*in+min(k+group, in)]
			alone, scale, err := FitInt4(part, 1, len(part), group)
			if err != nil {
				t.Fatal(err)
			}
			if scale[0] != scales[2*row+g] || !slices.Equal(alone, codes[row*in+k:][:len(part)]) {
				t.Errorf("row %d, group %d depends on others", row, g)
			}
		}
	}
}
