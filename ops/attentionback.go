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
// the weights p of a query row, sᵢ the scaled scores, and δ = Σ_k p_k dp_k:
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

// backRows is how many query rows of one head are computed at a time: enough
// for products, few enough that their scores stay in the cache.
const backRows = 64

// backScratch is one worker's memory for one key-value head of a sequence of L
// tokens.
type backScratch struct {
	keys       []float32 // [D, L], transposed
	p, dp      []float32 // [backRows, L]
	turned     []float32 // [L, backRows]
	rows       []float32 // [D, backRows]: a block of q or do, transposed
	dk, dv     []float32 // [L, D]
	allWorkers []backScratch
}

func (s *backScratch) grow(length, d int) {
	s.keys, s.dk, s.dv = grow(s.keys, length*d), grow(s.dk, length*d), grow(s.dv, length*d)
	s.p, s.dp, s.turned = grow(s.p, backRows*length), grow(s.dp, backRows*length), grow(s.turned, backRows*length)
	s.rows = grow(s.rows, backRows*d)
}

// backHead is one key-value head of one sequence.
type backHead struct {
	attentionBack
	*backScratch
	length      int // L
	kv          int
	q, k, v, do []float32 // from the sequence's first row on
	sinks, out  []float32
	width       int // of a row of out
}

func (o attentionBack) prepare(a *graph.Args, cpu *graph.CPU) (graph.Step, error) {
	shared := graph.Shared[backScratch](a)
	if shared.allWorkers == nil {
		shared.allWorkers = make([]backScratch, cpu.Threads())
	}
	w := o.widths()
	width := w[0] + w[1] + w[2] + w[3]
	return func(b *graph.Batch) error {
		longest := 0
		for _, s := range b.Segments {
			if s.Start != 0 {
				return errWhole
			}
			longest = max(longest, s.Len)
		}
		for i := range shared.allWorkers {
			shared.allWorkers[i].grow(longest, o.HeadDim)
		}
		cpu.Parallel(len(b.Segments)*o.KVHeads, func(worker, i int) {
			s := &b.Segments[i/o.KVHeads]
			h := backHead{attentionBack: o, backScratch: &shared.allWorkers[worker], length: s.Len, kv: i % o.KVHeads,
				q: a.In[0].Float32s()[s.Row*w[0]:], k: a.In[1].Float32s()[s.Row*w[1]:], v: a.In[2].Float32s()[s.Row*w[2]:],
				sinks: a.In[3].Float32s(), do: a.In[4].Float32s()[s.Row*w[0]:], out: a.Out.Float32s()[s.Row*width:], width: width}
			h.run()
		})
		return nil
	}, nil
}

func (h *backHead) run() {
	d, stride := h.HeadDim, h.KVHeads*h.HeadDim
	kernel.Transpose(h.keys, h.length, h.k[h.kv*d:], stride, h.length, d)
	clear(h.dk[:h.length*d])
	clear(h.dv[:h.length*d])
	group := h.Heads / h.KVHeads
	for head := h.kv * group; head < (h.kv+1)*group; head++ {
		for first := 0; first < h.length; first += backRows {
			h.block(head, first, min(h.length, first+backRows))
		}
	}
	w := h.widths()
	for t := range h.length {
		row := h.out[t*h.width:]
		copy(row[w[0]+h.kv*d:][:d], h.dk[t*d:])
		copy(row[w[0]+w[1]+h.kv*d:][:d], h.dv[t*d:])
	}
}

// block is query rows [first, last) of one head, which see keys from lo on.
func (h *backHead) block(head, first, last int) {
	d, n := h.HeadDim, last-first
	qStride, kvStride := h.Heads*d, h.KVHeads*d
	lo := 0
	if h.Window > 0 {
		lo = max(0, first-h.Window+1)
	}
	seen := last - lo
	q, do := h.q[first*qStride+head*d:], h.do[first*qStride+head*d:]
	kernel.MatMulNT(h.p, seen, q, qStride, h.k[lo*kvStride+h.kv*d:], kvStride, n, seen, d, false)
	kernel.MatMulNT(h.dp, seen, do, qStride, h.v[lo*kvStride+h.kv*d:], kvStride, n, seen, d, false)
	for i := range n {
		p, ds := h.p[i*seen:(i+1)*seen], h.dp[i*seen:(i+1)*seen]
		h.out[(first+i)*h.width+h.width-h.Heads+head] = h.weigh(p, ds, head, first+i, lo)
	}
	// dv += pᵀ·do, dk += dsᵀ·q
	kernel.Transpose(h.turned, n, h.p, seen, n, seen)
	kernel.Transpose(h.rows, n, do, qStride, n, d)
	kernel.MatMulNT(h.dv[lo*d:], d, h.turned, n, h.rows, n, seen, d, n, true)
	kernel.Transpose(h.turned, n, h.dp, seen, n, seen)
	kernel.Transpose(h.rows, n, q, qStride, n, d)
	kernel.MatMulNT(h.dk[lo*d:], d, h.turned, n, h.rows, n, seen, d, n, true)
	// dq = ds·k
	kernel.MatMulNT(h.out[first*h.width+head*d:], h.width, h.dp, seen, h.keys[lo:], h.length, n, d, seen, false)
}

// weigh turns a row of q·k into weights and one of dp into ds/√D, and returns
// the derivative by the sink. The row's keys start at position lo.
func (h *backHead) weigh(p, ds []float32, head, position, lo int) float32 {
	from := 0
	if h.Window > 0 {
		from = max(0, position-h.Window+1-lo)
	}
	to := position + 1 - lo
	clear(p[:from])
	clear(p[to:])
	clear(ds[:from])
	clear(ds[to:])
	p, ds = p[from:to], ds[from:to]
	scale := float32(1 / math.Sqrt(float64(h.HeadDim)))
	kernel.Scale(p, scale, p)
	top, sink := kernel.Max(p), h.sinks[head]
	kernel.SoftmaxSink(p, p, sink)
	delta := kernel.Dot(p, ds)
	for i, w := range p {
		ds[i] = scale * w * (ds[i] - delta)
	}
	if sink > top {
		return -delta * (1 - kernel.Sum(p))
	}
	// The sink's weight over that of the likeliest key is exp(sink - top).
	return -delta * kernel.Max(p) * float32(math.Exp(float64(sink-top)))
}
