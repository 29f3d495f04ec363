package ops

import (
	"errors"
	"fmt"
	"math"

	"github.com/seed-796a8800/tritium/graph"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// Attention is causal attention with grouped queries and sinks. Query head n
// reads key-value head n / (Heads/KVHeads). A token sees the tokens of its
// sequence up to itself, the last Window of them where Window > 0. Each head's
// softmax has one more term, exp(sinks[n]), that has no value: the weights sum
// to less than one.
//
//	s_k = q·k / √D, m = max(max s, sink),
//	o = Σ_k exp(s_k - m) v_k / (Σ_k exp(s_k - m) + exp(sink - m))
//
// Keys and values are kept per sequence: of the last Window tokens and a few
// more where there is a window, of all tokens otherwise.
//
// The products (q/√D)·k are sums over the head's elements in order. The values are
// summed over the positions in order, in blocks that start at multiples of 64,
// and then divided. So a result does not depend on how the tokens were cut into
// batches.
// Source: gpt_oss/triton/attention.py, attention_ref.
type Attention struct {
	Name                    string
	Heads, KVHeads, HeadDim int
	Window                  int // 0: no window
	Cache                   CacheFormat
}

// CacheFormat is how attention keeps keys and values.
type CacheFormat uint8

const (
	// CacheFloat32 keeps them as they are.
	CacheFloat32 CacheFormat = iota
	// CacheInt8 keeps them in 8 bits, each head's key and value of a position
	// with a scale of its own, and also rounds queries and weights to 8 bits:
	// a quarter of the memory to read, and integer arithmetic.
	CacheInt8
)

func (f CacheFormat) String() string {
	switch f {
	case CacheFloat32:
		return "f32"
	case CacheInt8:
		return "int8"
	}
	return fmt.Sprintf("CacheFormat(%d)", uint8(f))
}

type attention struct {
	graph.Base
	graph.Gradient
	Attention
}

// Apply declares the attention of rotated queries and keys. It can be
// differentiated where every sequence of a batch is whole.
//
// Shapes: q [T, N·D], k and v [T, K·D], sinks [N] logits -> [T, N·D].
func (o Attention) Apply(b *graph.Builder, q, k, v, sinks *gorgonia.Node) *gorgonia.Node {
	switch {
	case o.KVHeads < 1 || o.HeadDim < 1 || o.Heads%o.KVHeads != 0 || o.Heads < 1:
		b.Fail(fmt.Errorf("%s: %d query heads over %d key-value heads of size %d", o.Name, o.Heads, o.KVHeads, o.HeadDim))
	case o.Window < 0:
		b.Fail(fmt.Errorf("%s: a window of %d", o.Name, o.Window))
	case o.Cache > CacheInt8:
		b.Fail(fmt.Errorf("%s: keys and values cannot be kept as %v", o.Name, o.Cache))
	}
	return b.Apply(lastPart(o.Name), &attention{
		Base: graph.Base{Kind: "attention", Attributes: fmt.Sprintf("%s window=%d kv=%d cache=%v", o.Name, o.Window, o.KVHeads, o.Cache),
			In: graph.Float32Tensors(2, 2, 2, 1), Out: graph.Float32Tensor(2)},
		Gradient:  attentionBack{o}.derivatives(),
		Attention: o,
	}, q, k, v, sinks)
}

func (o *attention) InferShape(in ...gorgonia.DimSizer) (tensor.Shape, error) {
	shapes, err := gorgonia.DimSizersToShapes(in)
	if err != nil {
		return nil, err
	}
	q, k, v, sinks := shapes[0], shapes[1], shapes[2], shapes[3]
	if sinks[0] != o.Heads {
		return nil, fmt.Errorf("%d sinks for %d heads", sinks[0], o.Heads)
	}
	if q[1] != o.Heads*o.HeadDim || k[1] != o.KVHeads*o.HeadDim || !k.Eq(v) || q[0] != k[0] {
		return nil, fmt.Errorf("attention of shapes %v, %v, %v with %d and %d heads of %d", q, k, v, o.Heads, o.KVHeads, o.HeadDim)
	}
	return q.Clone(), nil
}

func (o *attention) Do(in ...gorgonia.Value) (gorgonia.Value, error) { return graph.Do(o, in...) }

// NewState returns an empty cache.
func (o *attention) NewState(graph.Device) (graph.State, error) {
	return &kvCache{format: o.Cache, heads: o.KVHeads, dim: o.HeadDim, window: o.Window}, nil
}

// errSelected is for operators that need every token of the batch.
var errSelected = errors.New("it follows a sequence and cannot be computed for selected rows")

func (o *attention) Prepare(a *graph.Args) (graph.Step, error) {
	cpu, err := graph.HostDevice(a, o.Kind)
	if err != nil {
		return nil, err
	}
	if a.Rows != graph.TokenRows {
		return nil, errSelected
	}
	r := &attentionRun{attention: o, cpu: cpu, state: a.State,
		q: a.In[0].Float32s(), k: a.In[1].Float32s(), v: a.In[2].Float32s(),
		sinks: a.In[3].Float32s(), out: a.Out.Float32s(),
		panels: (o.Heads/o.KVHeads + panelHeads - 1) / panelHeads,
		scale:  float32(1 / math.Sqrt(float64(o.HeadDim))),
		chunk:  a.MaxRows,
		tiles:  make([]tokenTile, 0, a.MaxRows), workers: make([]attentionWorker, cpu.Threads()),
	}
	if o.Window > 0 {
		r.chunk = min(r.chunk, ringSlack)
	}
	r.prepareWorkers(min(a.MaxRows, maxTileTokens))
	r.doStore, r.doAttend = r.store, r.attend
	return r.step, nil
}
