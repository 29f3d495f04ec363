package ops

import (
	"errors"
	"fmt"
	"math"

	"github.com/seed-796a8800/tritium/graph"
	"github.com/seed-796a8800/tritium/ops/internal/kernel"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// Attention is causal attention with grouped queries and sinks. Query head n
// reads key-value head n / (Heads/KVHeads). A token sees the tokens of its
// sequence up to itself, the last Window of them where Window > 0. Each head's
// softmax has one more term, exp(Sinks[n]), that has no value: the weights sum
// to less than one.
//
//	s_k = q·k / √D, m = max(max s, sink),
//	o = Σ_k exp(s_k - m) v_k / (Σ_k exp(s_k - m) + exp(sink - m))
//
// Keys and values are kept per sequence: a ring of Window rows and some more,
// to rewind by, where there is a window, all rows otherwise.
// Source: gpt_oss/triton/attention.py, attention_ref.
type Attention struct {
	Name                    string
	Heads, KVHeads, HeadDim int
	Window                  int       // 0: no window
	Sinks                   []float32 // [Heads], logits
}

type attention struct {
	graph.Base
	Attention
}

// Apply declares the attention of rotated queries and keys.
//
// Shapes: q [T, N·D], k and v [T, K·D] -> [T, N·D].
func (o Attention) Apply(b *graph.Builder, q, k, v *gorgonia.Node) *gorgonia.Node {
	switch {
	case o.KVHeads < 1 || o.HeadDim < 1 || o.Heads%o.KVHeads != 0 || o.Heads < 1:
		b.Fail(fmt.Errorf("%s: %d query heads over %d key-value heads of size %d", o.Name, o.Heads, o.KVHeads, o.HeadDim))
	case len(o.Sinks) != o.Heads:
		b.Fail(fmt.Errorf("%s: %d sinks for %d heads", o.Name, len(o.Sinks), o.Heads))
	case o.Window < 0:
		b.Fail(fmt.Errorf("%s: a window of %d", o.Name, o.Window))
	}
	t := graph.Float32Tensor(2)
	return b.Apply(lastPart(o.Name), &attention{
		Base: graph.Base{Kind: "attention", Attributes: fmt.Sprintf("%s window=%d kv=%d", o.Name, o.Window, o.KVHeads),
			In: []gorgonia.TensorType{t, t, t}, Out: t},
		Attention: o,
	}, q, k, v)
}

func (o *attention) InferShape(in ...gorgonia.DimSizer) (tensor.Shape, error) {
	shapes, err := gorgonia.DimSizersToShapes(in)
	if err != nil {
		return nil, err
	}
	q, k, v := shapes[0], shapes[1], shapes[2]
	if q[1] != o.Heads*o.HeadDim || k[1] != o.KVHeads*o.HeadDim || !k.Eq(v) || q[0] != k[0] {
		return nil, fmt.Errorf("attention of shapes %v, %v, %v with %d and %d heads of %d", q, k, v, o.Heads, o.KVHeads, o.HeadDim)
	}
	return q.Clone(), nil
}

func (o *attention) Do(in ...gorgonia.Value) (gorgonia.Value, error) { return graph.Do(o, in...) }

// NewState returns an empty cache.
func (o *attention) NewState(graph.Device) (graph.State, error) {
	return &kvCache{width: o.KVHeads * o.HeadDim, window: o.Window}, nil
}

// slack is how many tokens a ring can rewind by: rows beyond the window.
const slack = 64

// kvCache holds the keys and values of one sequence in one layer. Position p
// is at row p, or at row p mod (window + slack).
type kvCache struct {
	width, window int
	k, v          []float32
	length        int // tokens stored so far
	high          int // the most there ever were since it was empty: what a ring has overwritten
}

// ring is the number of rows of a cache with a window.
func (c *kvCache) ring() int { return c.window + slack }

func (c *kvCache) Reserve(tokens int) error {
	if c.window > 0 {
		tokens = min(tokens, c.ring())
	}
	if need := tokens * c.width; need > len(c.k) {
		c.k = append(make([]float32, 0, need), c.k...)[:need]
		c.v = append(make([]float32, 0, need), c.v...)[:need]
	}
	return nil
}

// room is the number of tokens that the cache has memory for.
func (c *kvCache) room() int { return len(c.k) / c.width }

func (c *kvCache) Truncate(n int) error {
	if c.window > 0 && n > 0 && n < c.length && c.high > c.ring() && c.high-n > slack {
		return fmt.Errorf("ops: a sliding window of %d has overwritten what position %d sees", c.window, n)
	}
	if c.length = min(c.length, n); n == 0 {
		c.high = 0
	}
	return nil
}

// rows returns where positions [lo, hi) are, oldest first, in at most two
// pieces [a, b) and [c, d). A ring that has not wrapped has the second empty.
func (c *kvCache) rows(lo, hi int) (first, second [2]int) {
	if c.window == 0 || lo == hi {
		return [2]int{lo, hi}, second
	}
	ring := c.ring()
	a, n := lo%ring, hi-lo
	if a+n <= ring {
		return [2]int{a, a + n}, second
	}
	return [2]int{a, ring}, [2]int{0, a + n - ring}
}

// store appends rows of keys and values; only the last matter to a ring.
func (c *kvCache) store(k, v []float32, start, n int) {
	end := start + n
	if c.window > 0 && n > c.ring() {
		skip := n - c.ring()
		k, v, start = k[skip*c.width:], v[skip*c.width:], start+skip
	}
	first, second := c.rows(start, end)
	m := copy(c.k[first[0]*c.width:first[1]*c.width], k)
	copy(c.v[first[0]*c.width:first[1]*c.width], v)
	copy(c.k[second[0]*c.width:second[1]*c.width], k[m:])
	copy(c.v[second[0]*c.width:second[1]*c.width], v[m:])
	c.length, c.high = end, max(c.high, end)
}

// errSelected is for operators that need every token of the batch.
var errSelected = errors.New("it follows a sequence and cannot be computed for selected rows")

// attentionRun is the memory of one prepared attention.
type attentionRun struct {
	*attention
	q, k, v, out []float32
	state        int
	batch        *graph.Batch
	segment      []int32     // of each row
	scores       [][]float32 // [worker][group][positions]
}

func (o *attention) Prepare(a *graph.Args) (graph.Step, error) {
	cpu, err := graph.HostDevice(a, o.Kind)
	if err != nil {
		return nil, err
	}
	if a.Rows != graph.TokenRows {
		return nil, errSelected
	}
	r := &attentionRun{attention: o, state: a.State,
		q: a.In[0].Float32s(), k: a.In[1].Float32s(), v: a.In[2].Float32s(), out: a.Out.Float32s(),
		segment: make([]int32, a.MaxRows), scores: make([][]float32, cpu.Threads())}
	do := r.head
	return func(b *graph.Batch) error {
		r.batch = b
		room := 0
		for i, s := range b.Segments {
			for t := range s.Len {
				r.segment[s.Row+t] = int32(i)
			}
			room = max(room, s.Sequence.State(r.state).(*kvCache).room())
		}
		r.grow(room)
		cpu.Parallel(b.Rows()*o.KVHeads, do)
		w := o.KVHeads * o.HeadDim
		for _, s := range b.Segments {
			cache := s.Sequence.State(r.state).(*kvCache)
			cache.store(r.k[s.Row*w:(s.Row+s.Len)*w], r.v[s.Row*w:(s.Row+s.Len)*w], s.Start, s.Len)
		}
		return nil
	}, nil
}

// grow makes room for the scores of one group of heads. It is asked for as many
// positions as the caches have room for, so that it allocates only when they
// did.
func (r *attentionRun) grow(positions int) {
	group := r.Heads / r.KVHeads
	if need := group * positions; need > len(r.scores[0]) {
		for w := range r.scores {
			r.scores[w] = make([]float32, need)
		}
	}
}

// head computes one token's query heads that share one key-value head.
func (r *attentionRun) head(worker, i int) {
	row, kv := i/r.KVHeads, i%r.KVHeads
	s := &r.batch.Segments[r.segment[row]]
	cache := s.Sequence.State(r.state).(*kvCache)
	pos := s.Start + row - s.Row
	lo := 0
	if r.Window > 0 {
		lo = max(0, pos-r.Window+1)
	}
	n := pos + 1 - lo
	// The keys: what earlier runs stored (in up to two pieces), then rows of
	// this batch.
	first, second := cache.rows(lo, max(lo, s.Start))
	from := s.Row + max(0, lo-s.Start)
	pieces := [3]keyRows{
		{cache.k, cache.v, first[0], first[1]},
		{cache.k, cache.v, second[0], second[1]},
		{r.k, r.v, from, row + 1},
	}
	d, w := r.HeadDim, r.KVHeads*r.HeadDim
	group := r.Heads / r.KVHeads
	scores := r.scores[worker][:group*n]
	q := r.q[(row*r.Heads+kv*group)*d : (row*r.Heads+(kv+1)*group)*d]
	at := 0
	for _, p := range pieces {
		if m := p.hi - p.lo; m > 0 {
			kernel.MatMulNT(scores[at:], n, q, d, p.k[p.lo*w+kv*d:], w, group, m, d, false)
			at += m
		}
	}
	scale := float32(1 / math.Sqrt(float64(d)))
	for g := range group {
		h := kv*group + g
		weights := scores[g*n : (g+1)*n]
		kernel.Scale(weights, scale, weights)
		kernel.SoftmaxSink(weights, weights, r.Sinks[h])
		out := r.out[(row*r.Heads+h)*d : (row*r.Heads+h+1)*d]
		clear(out)
		at := 0
		for _, p := range pieces {
			for j := p.lo; j < p.hi; j++ {
				kernel.Axpy(weights[at], p.v[j*w+kv*d:j*w+kv*d+d], out)
				at++
			}
		}
	}
}

// keyRows are consecutive rows of keys and values.
type keyRows struct {
	k, v   []float32
	lo, hi int
}
