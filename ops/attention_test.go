package ops

import (
	"math"
	"slices"
	"testing"

	"gorgonia.org/gorgonia"

	"github.com/seed-796a8800/tritium/graph"
	"github.com/seed-796a8800/tritium/internal/reference"
)

func attend(a sunkAttention) func(b *graph.Builder, in []*gorgonia.Node) *gorgonia.Node {
	return func(b *graph.Builder, in []*gorgonia.Node) *gorgonia.Node {
		return a.Apply(b, in[0], in[1], in[2], parameter(b, "sinks", a.Sinks, max(1, len(a.Sinks))))
	}
}

// sunkAttention is attention with its sinks.
type sunkAttention struct {
	Attention
	Sinks []float32
}

// decomposed is attention of one sequence in float64, by whole score matrices.
func decomposed(a sunkAttention, q, k, v []float32) []float64 {
	d, w := a.HeadDim, a.KVHeads*a.HeadDim
	rows := len(k) / w
	out := make([]float64, rows*a.Heads*d)
	for p := range rows {
		lo := 0
		if a.Window > 0 {
			lo = max(0, p-a.Window+1)
		}
		for h := range a.Heads {
			kv := h / (a.Heads / a.KVHeads) * d
			var scores []float64
			for j := lo; j <= p; j++ {
				s := 0.0
				for i := range d {
					s += float64(q[(p*a.Heads+h)*d+i]) * float64(k[j*w+kv+i])
				}
				scores = append(scores, s/math.Sqrt(float64(d)))
			}
			for j, weight := range reference.SinkSoftmax(scores, float64(a.Sinks[h])) {
				for i := range d {
					out[(p*a.Heads+h)*d+i] += weight * float64(v[(lo+j)*w+kv+i])
				}
			}
		}
	}
	return out
}

var attentions = []sunkAttention{
	{Attention: Attention{Name: "attention", Heads: 1, KVHeads: 1, HeadDim: 1}},
	{Attention: Attention{Name: "attention", Heads: 4, KVHeads: 2, HeadDim: 16, Window: 8}},
	{Attention: Attention{Name: "attention", Heads: 6, KVHeads: 1, HeadDim: 7, Window: 3}},
	{Attention: Attention{Name: "attention", Heads: 3, KVHeads: 3, HeadDim: 24}},
	{Attention: Attention{Name: "attention", Heads: 8, KVHeads: 2, HeadDim: 64, Window: 1}},
	{Attention: Attention{Name: "attention", Heads: 8, KVHeads: 1, HeadDim: 64, Window: 128}},
}

// inputsOf draws queries, keys, values and sinks for rows tokens.
func inputsOf(a *sunkAttention, rows int) []value {
	r := newRandom()
	a.Sinks = random(r, a.Heads)
	q, kv := a.Heads*a.HeadDim, a.KVHeads*a.HeadDim
	return []value{{[]int{rows, q}, random(r, rows*q)}, {[]int{rows, kv}, random(r, rows*kv)}, {[]int{rows, kv}, random(r, rows*kv)}}
}

func TestAttention(t *testing.T) {
	for _, a := range attentions {
		checkAttention(t, a, 1e-6)
		a.Cache = CacheInt8
		checkAttention(t, a, 0.02)
	}
}

// checkAttention compares with the decomposition, chunks with the whole, and
// the tokens behind a truncation, a copy and a saved state with a fresh run.
func checkAttention(t *testing.T, a sunkAttention, tolerance float64) {
	t.Helper()
	const rows = 40
	in := inputsOf(&a, rows)
	got := compute(t, in, attend(a))
	near(t, "attention", got, decomposed(a, in[0].data.([]float32), in[1].data.([]float32), in[2].data.([]float32)), tolerance)
	width := a.Heads * a.HeadDim
	// Chunks, through the cache: the same bits.
	for _, chunks := range [][]int{slices.Repeat([]int{1}, 40), {16, 1, 2, 21}, {7, 8, 9, 16}, {39, 1}} {
		d, err := declare(t, 3, in, attend(a))
		if err != nil {
			t.Fatal(err)
		}
		seq, at := d.sequence(), 0
		for _, n := range chunks {
			d.feed(in, at, n)
			if err := d.run(seq, n); err != nil {
				t.Fatal(err)
			}
			same(t, d.out.Float32s()[:n*width], got[at*width:(at+n)*width])
			at += n
		}
	}
}

// feed puts rows [at, at+n) of the inputs into the plan.
func (d *declared) feed(in []value, at, n int) {
	for i, v := range in {
		w := v.shape[1]
		copy(d.ins[i].Float32s(), v.data.([]float32)[at*w:(at+n)*w])
	}
}

// Behind a truncation, whatever was there before, tokens are those of a fresh
// run, in rings that have wrapped too; so they are behind chunks longer than
// a ring's slack and in batches of two sequences.
func TestAttentionRewinds(t *testing.T) {
	const rows = 300
	for _, cache := range []CacheFormat{CacheFloat32, CacheInt8} {
		for _, window := range []int{0, 1, 30, 128} {
			a := sunkAttention{Attention: Attention{Name: "attention", Heads: 6, KVHeads: 2, HeadDim: 20, Window: window, Cache: cache}}
			in := inputsOf(&a, rows)
			width := a.Heads * a.HeadDim
			want := compute(t, in, attend(a))
			d, err := declare(t, 2, in, attend(a))
			if err != nil {
				t.Fatal(err)
			}
			seq, other := d.sequence(), d.sequence()
			step := func(at, n int, seqs ...*graph.Sequence) {
				b := graph.NewBatch()
				for _, s := range seqs {
					b.Add(s, n)
				}
				for i, v := range in {
					w := v.shape[1]
					for j := range seqs {
						copy(d.ins[i].Float32s()[j*n*w:], v.data.([]float32)[at*w:(at+n)*w])
					}
				}
				if err := d.plan.Run(b); err != nil {
					t.Fatal(err)
				}
				for j := range seqs {
					same(t, d.out.Float32s()[j*n*width:(j+1)*n*width], want[at*width:(at+n)*width])
				}
			}
			step(0, 110, seq, other)
			step(110, 90, seq, other)
			for _, back := range []int{1, 5, 63, 64} {
				to := seq.Len() - back
				// Something else is there first.
				if err := seq.Truncate(to); err != nil {
					t.Fatal(err)
				}
				d.feed(in, 0, back)
				if err := d.run(seq, back); err != nil {
					t.Fatal(err)
				}
				if err := seq.Truncate(to); err != nil {
					t.Fatal(err)
				}
				step(to, back, seq)
				step(to+back, 3, seq)
			}
			step(200, 30, other)
		}
	}
}

// Spec 4.6: with heads of size 1, keys are scores and values pick a weight.
func TestSinks(t *testing.T) {
	weights := func(sink float32, scores ...float32) (got []float32) {
		n := len(scores)
		for pick := range n {
			q, v := slices.Repeat([]float32{1}, n), make([]float32, n)
			v[pick] = 1
			out := compute(t, []value{{[]int{n, 1}, q}, {[]int{n, 1}, scores}, {[]int{n, 1}, v}},
				attend(sunkAttention{Attention{Name: "attention", Heads: 1, KVHeads: 1, HeadDim: 1}, []float32{sink}}))
			got = append(got, out[n-1])
		}
		return got
	}
	near(t, "sink 0.5", weights(0.5, 1, 2, 3), []float64{0.08536889, 0.23205671, 0.63079554}, 1e-7)
	near(t, "sink 4", weights(4, -5), []float64{0.00012339}, 1e-8)
	// The sink's share is dropped once, whatever the number of keys.
	sum := float32(0)
	for _, w := range weights(0.5, 1, 2, 3) {
		sum += w
	}
	near(t, "share", []float32{1 - sum}, []float64{0.05177885}, 1e-6)
	near(t, "no sink", weights(float32(math.Inf(-1)), 1, 1), []float64{0.5, 0.5}, 1e-7)
	near(t, "large", weights(1e30, 1, 1), []float64{0, 0}, 0)
}

// A window of w sees w tokens, the current one included.
func TestWindow(t *testing.T) {
	const p = 30
	for _, a := range attentions {
		in := inputsOf(&a, p+1)
		width := a.Heads * a.HeadDim
		last := compute(t, in, attend(a))[p*width:]
		changed := func(position int) bool {
			other := slices.Clone(in)
			for i := 1; i < 3; i++ {
				data, w := slices.Clone(in[i].data.([]float32)), in[i].shape[1]
				for j := range w {
					data[position*w+j] += 1
				}
				other[i].data = data
			}
			return !slices.Equal(compute(t, other, attend(a))[p*width:], last)
		}
		if a.Window == 0 || a.Window > p {
			if !changed(0) {
				t.Errorf("window %d: the first token does not matter", a.Window)
			}
			continue
		}
		if changed(p - a.Window) {
			t.Errorf("window %d: token p-%d matters", a.Window, a.Window)
		}
		if !changed(p - a.Window + 1) {
			t.Errorf("window %d: token p-%d does not matter", a.Window, a.Window-1)
		}
	}
}

func TestAttentionErrors(t *testing.T) {
	x := func(w int) value { return value{[]int{4, w}, make([]float32, 4*w)} }
	good := sunkAttention{Attention{Name: "layer.attention", Heads: 4, KVHeads: 2, HeadDim: 8}, make([]float32, 4)}
	change := func(f func(*sunkAttention)) sunkAttention {
		a := good
		f(&a)
		return a
	}
	for _, tc := range []struct {
		a       sunkAttention
		q, k, v int
		want    string
	}{
		{good, 16, 16, 16, "(4, 16)"},
		{good, 32, 32, 16, "(4, 32)"},
		{good, 32, 16, 32, "(4, 32)"},
		{change(func(a *sunkAttention) { a.KVHeads = 3 }), 32, 24, 24, "layer.attention: 4 query heads over 3"},
		{change(func(a *sunkAttention) { a.KVHeads = 0 }), 32, 16, 16, "over 0"},
		{change(func(a *sunkAttention) { a.HeadDim = 0 }), 32, 16, 16, "size 0"},
		{change(func(a *sunkAttention) { a.Heads = 0 }), 32, 16, 16, "0 query heads"},
		{change(func(a *sunkAttention) { a.Sinks = a.Sinks[1:] }), 32, 16, 16, "3 sinks for 4 heads"},
		{change(func(a *sunkAttention) { a.Window = -1 }), 32, 16, 16, "a window of -1"},
		{change(func(a *sunkAttention) { a.Cache = 7 }), 32, 16, 16, "kept as CacheFormat(7)"},
	} {
		refused(t, []value{x(tc.q), x(tc.k), x(tc.v)}, attend(tc.a), "attention", tc.want)
	}
	refused(t, []value{x(32), {[]int{5, 16}, make([]float32, 80)}, {[]int{5, 16}, make([]float32, 80)}}, attend(good), "attention")
}
