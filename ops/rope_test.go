package ops

import (
	"math"
	"testing"

	"gorgonia.org/gorgonia"

	"github.com/seed-796a8800/tritium/graph"
	"github.com/seed-796a8800/tritium/internal/reference"
)

// Spec 4.4: the published frequencies, truncate = false.
func TestYaRN(t *testing.T) {
	r := YaRN(64, 150000, 32, 32, 1, 4096)
	near(t, "inverse frequencies", r.InvFreq, []float64{1.0, 6.890443059e-1, 4.747820555e-1, 3.271458719e-1, 2.254180002e-1,
		1.553229895e-1, 1.070244215e-1, 7.374456821e-2, 5.081327482e-2, 3.170569618e-2, 1.933500113e-2, 1.159204926e-2,
		6.794959490e-3, 3.860359317e-3, 2.093792379e-3, 1.052602101e-3, 4.564839192e-4, 1.293187012e-4, 3.830881237e-5,
		2.639646903e-5, 1.818833668e-5, 1.253256982e-5, 8.635495875e-6, 5.950239261e-6, 4.099978482e-6, 2.825066827e-6,
		1.946596211e-6, 1.341291035e-6, 9.242089502e-7, 6.368209146e-7, 4.387978251e-7, 3.023511428e-7}, 0x1p-24)
	for i, want := range map[int]float64{17: 1.293187012e-4, 24: 4.099978482e-6, 31: 3.023511428e-7} { // relative
		if math.Abs(float64(r.InvFreq[i])/want-1) > 1e-7 {
			t.Errorf("frequency %d is %g, want %g", i, r.InvFreq[i], want)
		}
	}
	if r.Scale != float32(1.3465735902799727) {
		t.Errorf("scale %v", r.Scale)
	}
	// Other constants, to and beyond the ends of the blend, are Transformers'.
	for _, x := range []struct {
		d                                int
		theta, factor, fast, slow, start float64
	}{
		{32, 10000, 8, 32, 1, 1024}, {64, 10000, 4, 32, 1, 131072}, {64, 150000, 32, 32, 1, 64}, {64, 150000, 32, 32, 1, 2},
		{2, 150000, 32, 32, 1, 4096}, {128, 500000, 2, 64, 0.5, 8192}, {64, 150000, 1, 32, 1, 4096}, {16, 1.5, 32, 32, 1, 4096},
	} {
		got := YaRN(x.d, x.theta, x.factor, x.fast, x.slow, x.start)
		oracle := reference.Rope{Theta: x.theta, Factor: x.factor, BetaFast: x.fast, BetaSlow: x.slow, OriginalContext: x.start}
		for i, want := range oracle.InverseFrequencies(x.d) {
			if math.Abs(float64(got.InvFreq[i])-want) > 1e-7*want {
				t.Errorf("%+v: frequency %d is %g, want %g", x, i, got.InvFreq[i], want)
			}
		}
		if want := float32(oracle.Attention()); got.Scale != want {
			t.Errorf("%+v: scale %g, want %g", x, got.Scale, want)
		}
	}
}

func rotate(r Rotary) func(b *graph.Builder, in []*gorgonia.Node) *gorgonia.Node {
	return func(b *graph.Builder, in []*gorgonia.Node) *gorgonia.Node { return Rope(b, "rope", r, in[0]) }
}

func TestRope(t *testing.T) {
	yarn := YaRN(64, 150000, 32, 32, 1, 4096)
	// Spec 4.4: unit vectors show cosine and sine.
	const rows = 1001
	x := make([]float32, rows*64)
	for i := range x {
		if i%64 < 32 {
			x[i] = 1
		}
	}
	y := compute(t, []value{{[]int{rows, 64}, x}}, rotate(yarn))
	for _, v := range []struct {
		p, i     int
		cos, sin float64
	}{
		{1, 0, 0.72755682, 1.13310261}, {1, 8, 1.34483555, 0.06839437}, {1, 17, 1.34657358, 0.00017414},
		{1000, 0, 0.75728481, 1.11345415}, {1000, 9, 1.29043456, 0.38475847}, {1000, 12, 1.17404657, 0.6594506}, {1000, 17, 1.33532968, 0.17365219},
	} {
		cos, sin := float64(y[v.p*64+v.i]), float64(y[v.p*64+32+v.i])
		if math.Abs(cos-v.cos) > 1e-6 || math.Abs(sin-v.sin) > 1e-6 {
			t.Errorf("position %d, pair %d: %.8f, %.8f, want %.8f, %.8f", v.p, v.i, cos, sin, v.cos, v.sin)
		}
	}
	// Any vector, several heads, odd sizes; positions count on in a sequence.
	r := newRandom()
	for _, size := range []struct{ heads, d, rows int }{{1, 2, 3}, {3, 6, 20}, {5, 32, 9}, {2, 64, 130}} {
		rotary := YaRN(size.d, 10000, 8, 32, 1, 1024)
		inverse := widen(rotary.InvFreq)
		w := size.heads * size.d
		x := random(r, size.rows*w)
		want := widen(x)
		for row := range size.rows {
			for h := range size.heads {
				reference.Rotate(want[row*w+h*size.d:][:size.d], row, inverse, float64(rotary.Scale))
			}
		}
		got := compute(t, []value{{[]int{size.rows, w}, x}}, rotate(rotary))
		near(t, "random", got, want, 1e-6)

		d, err := declare(t, 2, []value{{[]int{size.rows, w}, x}}, rotate(rotary))
		if err != nil {
			t.Fatal(err)
		}
		seq := d.sequence()
		for row := range size.rows {
			copy(d.ins[0].Float32s(), x[row*w:(row+1)*w])
			if err := d.run(seq, 1); err != nil {
				t.Fatal(err)
			}
			same(t, d.out.Float32s()[:w], got[row*w:(row+1)*w])
		}
	}
	refused(t, []value{{[]int{2, 96}, make([]float32, 192)}}, rotate(yarn), "rope", "(2, 96) with heads of 64")
	refused(t, []value{{[]int{2, 96}, make([]float32, 192)}}, rotate(Rotary{}), "rope")
}
