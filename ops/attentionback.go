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

// errWhole is for the derivative of attention, which remembers no keys.
var errWhole = errors.New("only whole sequences can be differentiated: truncate them to 0 before each run")

// attentionBack computes the derivatives of attention for whole sequences. With
// the weights p of a query row, s_k the scaled scores, and δ = Σ_k p_k dp_k:
//
//	dv_k += p_k·do, dp_k = do·v_k, ds_k = p_k (dp_k - δ),
//	dq = Σ_k ds_k k_k/√D, dk_k += ds_k q/√D, dsink = -p_sink·δ
//
// A row of its output has the derivatives by q, k, v and the sinks, one after
// the other: [T, N·D + 2·K·D + N].
type attentionBack struct{ Attention }

// widths are the columns of the output's parts.
func (o attentionBack) widths() [4]int {
	q, kv := o.Heads*o.HeadDim, o.KVHeads*o.HeadDim
	return [4]int{q, kv, kv, o.Heads}
}

// derivatives returns the derivatives of attention by its four inputs.
func (o attentionBack) derivatives() graph.Gradient {
	var g graph.Gradient
	at := 0
	for i, w := range o.widths() {
		lo := at
		at += w
		g = append(g, func(in gorgonia.Nodes, out, grad *gorgonia.Node) (*gorgonia.Node, error) {
			all, err := o.apply(in, grad) // the same node for every i
			if err != nil {
				return nil, err
			}
			part, err := columns(all, lo, w)
			if err != nil || i < 3 {
				return part, err
			}
			return sumRowsOf(in, out, part)
		})
	}
	return g
}

func (o attentionBack) apply(in gorgonia.Nodes, grad *gorgonia.Node) (*gorgonia.Node, error) {
	w := o.widths()
	return gorgonia.ApplyOp(&graph.Function{
		Base: graph.Base{Kind: "attention derivatives", Attributes: fmt.Sprintf("%s window=%d kv=%d", o.Name, o.Window, o.KVHeads),
			In: graph.Float32Tensors(2, 2, 2, 1, 2), Out: graph.Float32Tensor(2)},
		Infer: func(in []tensor.Shape) (tensor.Shape, error) {
			return tensor.Shape{in[0][0], w[0] + w[1] + w[2] + w[3]}, nil
		},
		OnCPU: o.prepare,
	}, in[0], in[1], in[2], in[3], grad)
}

// columns are the columns [lo, lo+width) of a matrix.
func columns(x *gorgonia.Node, lo, width int) (*gorgonia.Node, error) {
	return gorgonia.ApplyOp(&graph.Function{
		Base: graph.Base{Kind: "columns", Attributes: fmt.Sprintf("%d+%d", lo, width),
			In: graph.Float32Tensors(2), Out: graph.Float32Tensor(2)},
		Infer: func(in []tensor.Shape) (tensor.Shape, error) { return tensor.Shape{in[0][0], width}, nil },
		OnCPU: func(a *graph.Args, cpu *graph.CPU) (graph.Step, error) {
			do := func(_, t int) { copy(rowOf(a.Out, t), rowOf(a.In[0], t)[lo:]) }
			return func(b *graph.Batch) error {
				cpu.Parallel(b.Active(a.Rows), do)
				return nil
			}, nil
		},
	}, x)
}

// backRows and backFloats bound how many query rows, of all heads that share
// keys, are computed at a time, and their scores: enough rows for products, few
// enough scores to stay in the cache.
const (
	backRows   = 192
	backFloats = 128 << 10
)

// backScratch is one worker's memory for one key-value head of a sequence of L
// tokens, R query rows at a time.
type backScratch struct {
	keys       []float32 // [D, lead(L)], transposed
	q, do, dq  []float32 // [R, D]
	sides      []float32 // [D, R]: q or do, transposed
	p, dp      []float32 // [R, L], rows padded to whole vectors
	turned     []float32 // [L, R]
	dk, dv     []float32 // [L, D]
	allWorkers []backScratch
}

func (s *backScratch) grow(length, rows, d int) {
	s.keys, s.dk, s.dv = grow(s.keys, lead(length)*d), grow(s.dk, length*d), grow(s.dv, length*d)
	s.q, s.do, s.dq, s.sides = grow(s.q, rows*d), grow(s.do, rows*d), grow(s.dq, rows*d), grow(s.sides, rows*d)
	scores := rows * lead(length)
	s.p, s.dp, s.turned = grow(s.p, scores), grow(s.dp, scores), grow(s.turned, scores)
}

// backHead is one key-value head of one sequence.
type backHead struct {
	attentionBack
	*backScratch
	length      int // L
	tokens      int // whose query rows are computed at a time
	kv          int
	q, k, v, do []float32 // from the sequence's first row on
	sinks, out  []float32
	width       int // of a row of out
}

// tokensAtOnce is how many tokens' query rows are computed at a time.
func (o attentionBack) tokensAtOnce(length int) int {
	return min(length, max(1, min(backRows, backFloats/length)/(o.Heads/o.KVHeads)))
}

func (o attentionBack) prepare(a *graph.Args, cpu *graph.CPU) (graph.Step, error) {
	shared := graph.Shared[backScratch](a)
	if shared.allWorkers == nil {
		shared.allWorkers = make([]backScratch, cpu.Threads())
	}
	w := o.widths()
	width := w[0] + w[1] + w[2] + w[3]
	return func(b *graph.Batch) error {
		for _, s := range b.Segments {
			if s.Start != 0 {
				return errWhole
			}
			for i := range shared.allWorkers {
				shared.allWorkers[i].grow(s.Len, o.tokensAtOnce(s.Len)*(o.Heads/o.KVHeads), o.HeadDim)
			}
		}
		cpu.Parallel(len(b.Segments)*o.KVHeads, func(worker, i int) {
			s := &b.Segments[i/o.KVHeads]
			h := backHead{attentionBack: o, backScratch: &shared.allWorkers[worker], length: s.Len, tokens: o.tokensAtOnce(s.Len), kv: i % o.KVHeads,
				q: a.In[0].Float32s()[s.Row*w[0]:], k: a.In[1].Float32s()[s.Row*w[1]:], v: a.In[2].Float32s()[s.Row*w[2]:],
				sinks: a.In[3].Float32s(), do: a.In[4].Float32s()[s.Row*w[0]:], out: a.Out.Float32s()[s.Row*width:], width: width}
			h.run()
		})
		return nil
	}, nil
}

func (h *backHead) run() {
	d := h.HeadDim
	kernel.Transpose(h.keys, lead(h.length), h.k[h.kv*d:], h.KVHeads*d, h.length, d)
	pad(h.keys, d, h.length)
	clear(h.dk[:h.length*d])
	clear(h.dv[:h.length*d])
	for first := 0; first < h.length; first += h.tokens {
		h.block(first, min(h.length, first+h.tokens))
	}
	w := h.widths()
	for t := range h.length {
		row := h.out[t*h.width:]
		copy(row[w[0]+h.kv*d:][:d], h.dk[t*d:])
		copy(row[w[0]+w[1]+h.kv*d:][:d], h.dv[t*d:])
	}
}

// block is the query rows of tokens [first, last), head by head within a token.
// They see keys from lo on.
func (h *backHead) block(first, last int) {
	d, group := h.HeadDim, h.Heads/h.KVHeads
	n, kvStride := (last-first)*group, h.KVHeads*d
	lo := 0
	if h.Window > 0 {
		lo = max(0, first-h.Window+1) &^ (vectorFloats - 1)
	}
	seen := last - lo
	ld := roundUp(seen, vectorFloats)
	scale := float32(1 / math.Sqrt(float64(d)))
	q, do := h.backScratch.q[:n*d], h.backScratch.do[:n*d]
	for i := range last - first {
		from := (first+i)*h.Heads*d + h.kv*group*d
		kernel.Scale(q[i*group*d:(i+1)*group*d], scale, h.q[from:from+group*d])
		copy(do[i*group*d:(i+1)*group*d], h.do[from:])
	}
	kernel.MatMulNT(h.p, ld, q, d, h.k[lo*kvStride+h.kv*d:], kvStride, n, seen, d, false)
	kernel.MatMulNT(h.dp, ld, do, d, h.v[lo*kvStride+h.kv*d:], kvStride, n, seen, d, false)
	for r := range n {
		head, position := h.kv*group+r%group, first+r/group
		h.out[position*h.width+h.width-h.Heads+head] = h.weigh(h.p[r*ld:(r+1)*ld], h.dp[r*ld:(r+1)*ld], head, position, lo)
	}
	// dv += pᵀ·do, dk += dsᵀ·q/√D
	kernel.Transpose(h.turned, n, h.p, ld, n, seen)
	kernel.Transpose(h.sides, n, do, d, n, d)
	kernel.MatMulNT(h.dv[lo*d:], d, h.turned, n, h.sides, n, seen, d, n, true)
	kernel.Transpose(h.turned, n, h.dp, ld, n, seen)
	kernel.Transpose(h.sides, n, q, d, n, d)
	kernel.MatMulNT(h.dk[lo*d:], d, h.turned, n, h.sides, n, seen, d, n, true)
	// dq = ds·k/√D
	kernel.MatMulNT(h.dq, d, h.dp, ld, h.keys[lo:], lead(h.length), n, d, ld, false)
	for i := range last - first {
		kernel.Scale(h.out[(first+i)*h.width+h.kv*group*d:][:group*d], scale, h.dq[i*group*d:(i+1)*group*d])
	}
}

// weigh turns a row of scores into weights and one of dp into ds, and returns
// the derivative by the sink. The row's keys start at position lo.
func (h *backHead) weigh(p, ds []float32, head, position, lo int) float32 {
	from := 0
	if h.Window > 0 {
		from = max(0, position-h.Window+1-lo)
	}
	to := position + 1 - lo
	for _, x := range [][]float32{p, ds} {
		clear(x[:from])
		clear(x[to:])
	}
	p, ds = p[from:to], ds[from:to]
	sink := h.sinks[head]
	top := max(kernel.Max(p), sink)
	share := 1 / kernel.ExpSink(p, p, sink)
	kernel.Scale(p, share, p)
	delta := kernel.Dot(p, ds)
	kernel.Mul(ds, ds, p)
	kernel.Axpy(-delta, p, ds)
	return -delta * share * float32(math.Exp(float64(sink-top)))
}
