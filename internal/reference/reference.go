// Package reference is GPT-OSS written a second time, for tests only: a float64 forward pass without caches or
// cleverness, and a generator of small random checkpoints for it to run on.
//
// It shares no code with the product beyond the safetensors reader: it parses config.json, decodes MXFP4 and applies
// every operator by itself, so that an agreement between the two means something. Tensors may have any dtype that
// safetensors can widen to float32, so a checkpoint of dequantized weights in F32 makes it the oracle of a quantized
// model as well.
package reference

import (
	"fmt"
	"math"
)

// Options are deviations from the exact forward pass.
type Options struct {
	// Int8Activations rounds what enters q, k, v, o, gate_up and down to int8, one scale per token ([QuantizeInt8]).
	Int8Activations bool
	Int8Head        bool // what enters the head too
}

// Trace is everything a forward pass computed that a test may want to compare, layer by layer.
//
// Shapes: T tokens, L layers, H hidden, E experts, A active experts, V vocab.
type Trace struct {
	// Hidden is the embedding at 0, the residual stream after that many layers at 1..L-1, and the final norm's output
	// at L: [L+1, T, H].
	Hidden         [][][]float64
	Attention      [][][]float64 // [L, T, H]: what attention adds to the residual
	MoE            [][][]float64 // [L, T, H]: what the experts add to the residual
	RouterLogits   [][][]float64 // [L, T, E]
	Routing        [][][]int     // [L, T, A]: the chosen experts, best first
	RoutingWeights [][][]float64 // [L, T, A]: their weights, in the order of Routing
	Logits         [][]float64   // [T, V]
}

// Forward computes the logits of every position of one sequence; it panics if an id is outside the vocabulary.
func (m *Model) Forward(ids []int32) Trace { return m.ForwardWith(Options{}, ids) }

// ForwardWith is [Model.Forward] with deviations.
func (m *Model) ForwardWith(o Options, ids []int32) Trace {
	input := func(x []float64) []float64 { return x }
	if o.Int8Activations {
		input = QuantizeInt8
	}
	var trace Trace
	x := make([][]float64, len(ids)) // [T, H], the residual stream
	for t, id := range ids {
		if id < 0 || int(id) >= m.Config.Vocab {
			panic(fmt.Sprintf("reference: token %d: id %d is outside the vocabulary of %d", t, id, m.Config.Vocab))
		}
		x[t] = m.embedding.row(int(id))
	}
	trace.Hidden = append(trace.Hidden, x)

	for i, l := range m.layers {
		attention := m.attention(l, m.Config.Sliding[i], m.normalize(x, l.attentionNorm), input)
		x = add(x, attention)
		h := m.normalize(x, l.expertsNorm)
		routing := m.route(l, h)
		moe := m.experts(l, routing, h, input)
		x = add(x, moe)

		trace.Attention = append(trace.Attention, attention)
		trace.MoE = append(trace.MoE, moe)
		trace.RouterLogits = append(trace.RouterLogits, routing.logits)
		trace.Routing = append(trace.Routing, routing.experts)
		trace.RoutingWeights = append(trace.RoutingWeights, routing.weights)
		if i+1 < len(m.layers) {
			trace.Hidden = append(trace.Hidden, x)
		}
	}
	x = m.normalize(x, m.norm)
	trace.Hidden = append(trace.Hidden, x)
	trace.Logits = each(x, func(v []float64) []float64 {
		if o.Int8Head {
			v = QuantizeInt8(v)
		}
		return m.head.apply(v)
	})
	return trace
}

// attention is masked multi-head attention with a sink in every softmax. Shapes: x [T, H], result [T, H].
func (m *Model) attention(l layer, sliding bool, x [][]float64, input func([]float64) []float64) [][]float64 {
	c := m.Config
	x = each(x, input)
	q, k, v := each(x, l.q.apply), each(x, l.k.apply), each(x, l.v.apply)
	for p := range x {
		for n := range c.Heads {
			m.rope(p, q[p][n*c.HeadDim:][:c.HeadDim])
		}
		for n := range c.KVHeads {
			m.rope(p, k[p][n*c.HeadDim:][:c.HeadDim])
		}
	}
	out := make([][]float64, len(x))
	for p := range x {
		first := 0 // the oldest visible position: a window of w sees w positions, its own included
		if sliding {
			first = max(0, p-c.Window+1)
		}
		mixed := make([]float64, c.Heads*c.HeadDim)
		for n := range c.Heads {
			query := q[p][n*c.HeadDim:][:c.HeadDim]
			at := n / (c.Heads / c.KVHeads) * c.HeadDim // this head's share of a k or v row
			var scores []float64
			for s := first; s <= p; s++ {
				scores = append(scores, dot(query, k[s][at:][:c.HeadDim])/math.Sqrt(float64(c.HeadDim)))
			}
			for j, w := range SinkSoftmax(scores, l.sinks[n]) {
				for d, value := range v[first+j][at:][:c.HeadDim] {
					mixed[n*c.HeadDim+d] += w * value
				}
			}
		}
		out[p] = l.o.apply(input(mixed))
	}
	return out
}

// rope rotates one head of position p in place.
func (m *Model) rope(p int, head []float64) {
	Rotate(head, p, m.inverseFrequencies, m.Config.Rope.Attention())
}

type routing struct {
	logits  [][]float64 // [T, E]
	experts [][]int     // [T, A]
	weights [][]float64 // [T, A]
}

func (m *Model) route(l layer, x [][]float64) routing {
	r := routing{logits: each(x, l.router.apply)}
	for _, logits := range r.logits {
		experts, weights := TopK(logits, m.Config.TopK)
		r.experts = append(r.experts, experts)
		r.weights = append(r.weights, weights)
	}
	return r
}

// experts is the weighted sum of each token's chosen experts. Shapes: x [T, H], result [T, H].
func (m *Model) experts(l layer, r routing, x [][]float64, input func([]float64) []float64) [][]float64 {
	out := make([][]float64, len(x))
	for t := range x {
		out[t] = make([]float64, m.Config.Hidden)
		entering := input(x[t])
		for j, e := range r.experts[t] {
			gateUp := l.gateUp[e].apply(entering) // [2I]: gate, up, gate, up, ...
			activated := make([]float64, m.Config.Intermediate)
			for i := range activated {
				activated[i] = SwiGLU(gateUp[2*i], gateUp[2*i+1], m.Config.SwigluLimit)
			}
			for i, y := range l.down[e].apply(input(activated)) {
				out[t][i] += r.weights[t][j] * y
			}
		}
	}
	return out
}

func (m *Model) normalize(x [][]float64, weight []float64) [][]float64 {
	return each(x, func(row []float64) []float64 { return RMSNorm(row, weight, m.Config.NormEpsilon) })
}
