package ops

import (
	"fmt"

	"github.com/seed-796a8800/tritium/graph"
	"github.com/seed-796a8800/tritium/internal/routing"
	"github.com/seed-796a8800/tritium/ops/internal/kernel"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// DenseExperts is one projection of a mixture of experts by dense matrices in
// any storage format, as Dense is by one. Only the experts that a batch uses
// are read.
type DenseExperts struct {
	Name       string   // canonical name, "model.layers.0.mlp.experts.gate_up_proj"
	Weights    []Matrix // [E], all of one shape
	Bias       []float32
	Active     int // active experts a token
	Int8Inputs bool
}

type denseExperts struct {
	graph.Base
	DenseExperts
	out, in int
}

// Apply declares the projection as one node.
func (d DenseExperts) Apply(b *graph.Builder, x, routing *gorgonia.Node) *gorgonia.Node {
	if len(d.Weights) == 0 || d.Active < 1 || d.Active > len(d.Weights) {
		b.Fail(fmt.Errorf("%s: %d of %d experts active", d.Name, d.Active, len(d.Weights)))
		return x
	}
	out, in := d.Weights[0].Dims()
	for e, w := range d.Weights {
		if o, i := w.Dims(); o != out || i != in {
			b.Fail(fmt.Errorf("%s: expert %d is %d x %d, expert 0 is %d x %d", d.Name, e, o, i, out, in))
		}
		b.Fail(wrap(fmt.Sprintf("%s: expert %d", d.Name, e), checkMatrix(w)))
	}
	if d.Bias != nil && len(d.Bias) != len(d.Weights)*out {
		b.Fail(fmt.Errorf("%s: %d biases for %d experts of %d outputs", d.Name, len(d.Bias), len(d.Weights), out))
	}
	return b.Apply(lastPart(d.Name), &denseExperts{
		Base: graph.Base{Kind: "experts", Attributes: fmt.Sprintf("%s %T int8=%v", d.Name, d.Weights[0], d.Int8Inputs),
			In: []gorgonia.TensorType{graph.Float32Tensor(x.Dims()), graph.Float32Tensor(2)}, Out: graph.Float32Tensor(3)},
		DenseExperts: d, out: out, in: in,
	}, x, routing)
}

// CanonicalName returns the name of the weights the projection holds.
func (o *denseExperts) CanonicalName() string { return o.Name }

func (o *denseExperts) InferShape(in ...gorgonia.DimSizer) (tensor.Shape, error) {
	return inferExpertShape(len(o.Weights), o.Active, o.out, o.in, in...)
}

// inferExpertShape is the shape rule of an expert projection.
func inferExpertShape(experts, active, out, in int, inputs ...gorgonia.DimSizer) (tensor.Shape, error) {
	shapes, err := gorgonia.DimSizersToShapes(inputs)
	if err != nil {
		return nil, err
	}
	x, r := shapes[0], shapes[1]
	if len(x) < 2 || x[len(x)-1] != in || len(x) == 3 && x[1] != active || x[0] != r[0] || r[1] != experts {
		return nil, fmt.Errorf("inputs of shapes %v and %v for %d experts from %d to %d, %d of them active", x, r, experts, in, out, active)
	}
	return tensor.Shape{x[0], active, out}, nil
}

func (o *denseExperts) Do(in ...gorgonia.Value) (gorgonia.Value, error) { return graph.Do(o, in...) }

// expertRun is the memory of one prepared denseExperts: the inputs sorted by
// expert and the outputs in that order.
type expertRun struct {
	*denseExperts
	cpu          *graph.CPU
	as           *routing.Assignment
	x, out       []float32
	perSlot      bool // x is [T, A, In], not [T, In]
	block        int
	blocks       int
	packed, prod []float32
	scratch      [][]float32
}

func (o *denseExperts) Prepare(a *graph.Args) (graph.Step, error) {
	cpu, err := graph.HostDevice(a, o.Kind)
	if err != nil {
		return nil, err
	}
	if w := o.int8Weights(); w != nil {
		return o.prepareInt8(a, cpu, w), nil
	}
	block := blockRows(o.out, cpu.Threads())
	r := &expertRun{
		denseExperts: o, cpu: cpu, out: a.Out.Float32s(),
		as:      routing.New(a.MaxRows, len(o.Weights), o.Active),
		perSlot: len(a.In[0].Shape()) == 3,
		block:   block, blocks: (o.out + block - 1) / block,
		packed:  make([]float32, a.MaxRows*o.Active*o.in),
		prod:    make([]float32, a.MaxRows*o.Active*o.out),
		scratch: make([][]float32, cpu.Threads()),
	}
	for w := range r.scratch {
		r.scratch[w] = make([]float32, block*o.in)
	}
	gather, multiply, scatter := r.gather, r.multiply, r.scatter
	weights := a.In[1].Float32s()
	return func(b *graph.Batch) error {
		rows := b.Active(a.Rows)
		r.x = a.In[0].Float32s()
		if err := r.as.Build(weights, rows); err != nil {
			return err
		}
		n := int(r.as.Start[len(o.Weights)])
		if n < rows*o.Active {
			clear(r.out[:rows*o.Active*o.out]) // slots without an expert
		}
		cpu.Parallel(n, gather)
		cpu.Parallel(len(r.as.Active)*r.blocks, multiply)
		cpu.Parallel(n, scatter)
		return nil
	}, nil
}

// gather copies the input of the i-th (token, expert) pair to its place.
func (r *expertRun) gather(_, i int) {
	row := int(r.as.Tokens[i])
	if r.perSlot {
		row = row*r.Active + int(r.as.Slot[i])
	}
	dst, src := r.packed[i*r.in:(i+1)*r.in], r.x[row*r.in:(row+1)*r.in]
	if r.Int8Inputs {
		roundInt8(dst, src)
	} else {
		copy(dst, src)
	}
}

// multiply computes a block of outputs of one expert for all its tokens.
func (r *expertRun) multiply(worker, i int) {
	e := int(r.as.Active[i/r.blocks])
	row := i % r.blocks * r.block
	n := min(r.block, r.denseExperts.out-row)
	lo, hi := int(r.as.Start[e]), int(r.as.Start[e+1])
	width := r.denseExperts.out
	mulRows(r.Weights[e], r.prod[lo*width+row:], width, r.packed[lo*r.in:], hi-lo, row, n, r.scratch[worker][:n*r.in])
	if r.Bias != nil {
		bias := r.Bias[e*width+row : e*width+row+n]
		for t := lo; t < hi; t++ {
			y := r.prod[t*width+row : t*width+row+n]
			kernel.Add(y, y, bias)
		}
	}
}

// scatter copies the output of the i-th pair to its token's slot.
func (r *expertRun) scatter(_, i int) {
	w := r.denseExperts.out
	at := (int(r.as.Tokens[i])*r.Active + int(r.as.Slot[i])) * w
	copy(r.out[at:at+w], r.prod[i*w:(i+1)*w])
}
