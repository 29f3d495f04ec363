package graph

import (
	"fmt"
	"hash"
	"hash/fnv"
	"io"

	"github.com/chewxy/hm"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// A Kernel is an operator that a Plan can run without allocating: a
// gorgonia.Op that prepares itself once for the buffers it will always see.
// Operators that are not kernels (gorgonia's own) also run in a Plan, through
// their Do method and at its price.
//
// A kernel never writes to an input and never returns one; Function.Reuses is
// the one exception.
type Kernel interface {
	gorgonia.Op
	// Prepare returns the step that computes a.Out from a.In. It is called
	// once per plan; whatever the step needs (scratch memory, closures for
	// Parallel) is made here.
	Prepare(a *Args) (Step, error)
}

// A Step does one node's work for one batch. It must not allocate, and what it
// computes for a row must not depend on which other rows are in the batch.
type Step func(*Batch) error

// Args is what a kernel is prepared with.
type Args struct {
	Device  Device
	MaxRows int      // no batch has more rows
	Rows    RowSet   // which rows of the batch the node's first axis holds
	Out     Buffer   // of the node's shape
	In      []Buffer // of the inputs' shapes
	State   int      // for a Stateful kernel: the slot in every sequence's state

	shared sharedMemory // of the plan; see Shared
}

// RowSet says what the rows of a node are.
type RowSet uint8

const (
	// TokenRows are all rows of the batch: row i belongs to its i-th token.
	TokenRows RowSet = iota
	// OutputRows are the rows that the batch asks for (Batch.Outputs), packed:
	// row i belongs to token Outputs[i].
	OutputRows
)

// A RowSelector is a kernel whose output rows are OutputRows while its inputs
// are TokenRows. Nodes downstream of it hold OutputRows; they may not also read
// what was computed for TokenRows. Its own Args.Rows is OutputRows.
type RowSelector interface {
	Kernel
	SelectsRows()
}

// A RowRestorer is a kernel whose output rows are TokenRows while its inputs are
// OutputRows: the derivative of a RowSelector.
type RowRestorer interface {
	Kernel
	RestoresRows()
}

// Stateful is a kernel that keeps something per sequence from one run to the
// next, such as the keys and values of attention.
type Stateful interface {
	Kernel
	NewState(dev Device) (State, error)
}

// State is what one Stateful kernel keeps for one sequence.
type State interface {
	// Reserve makes room for a sequence of that many tokens, so that runs up
	// to it need no allocation.
	Reserve(tokens int) error
	// Truncate forgets what was kept for tokens at positions n and later, be it
	// more than the sequence counts (a run that failed). It fails where that
	// cannot be done exactly; n = 0 never fails.
	Truncate(n int) error
	// Fork returns an independent copy: what is run on either changes nothing of
	// the other.
	Fork() (State, error)
	// Save writes what is kept, in the same bytes on every machine.
	Save(w io.Writer) error
	// Load replaces what is kept by what Save wrote for a state of the same
	// kernel after that many tokens, so that runs go on with the same bits; it reads that and no more.
	// It refuses what such a state cannot hold, and allocates in proportion to
	// what it has read, not to what the stream claims to hold. After a failure
	// the state may be in any condition that Truncate(0) mends.
	Load(r io.Reader, tokens int) error
}

// A Keeper is a State that forgets tokens at its beginning and can hold on to
// what one Truncate will need.
type Keeper interface {
	State
	// Keep makes Truncate to the present length succeed, whatever is appended
	// behind it, until another Keep, or a Truncate to less.
	Keep()
}

// Base implements the methods of gorgonia.Op that are the same for every
// kernel. Embed it and add InferShape, Do (see Do) and Prepare.
type Base struct {
	// Kind is the operator's name, such as "rmsnorm".
	Kind string
	// Attributes tells apart operators of one kind: the canonical name of the
	// weights it holds, its epsilon. Gorgonia silently merges nodes whose
	// operators hash alike and whose inputs are the same; everything that
	// changes the result must be here.
	Attributes string
	// In and Out are the types of the inputs and of the output.
	In  []gorgonia.TensorType
	Out gorgonia.TensorType
}

// Float32Tensor is the type of activations.
func Float32Tensor(dims int) gorgonia.TensorType {
	return gorgonia.TensorType{Dims: dims, Of: tensor.Float32}
}

// Int32Tensor is the type of token ids and positions.
func Int32Tensor(dims int) gorgonia.TensorType {
	return gorgonia.TensorType{Dims: dims, Of: tensor.Int32}
}

// Arity returns the number of inputs.
func (o *Base) Arity() int { return len(o.In) }

// Type returns the function type In -> Out. Gorgonia recycles the returned
// value, so each call makes a new one.
func (o *Base) Type() hm.Type {
	ts := make([]hm.Type, 0, len(o.In)+1)
	for _, t := range o.In {
		ts = append(ts, t)
	}
	return hm.NewFnType(append(ts, o.Out)...)
}

// ReturnsPtr is false: the output is the kernel's own.
func (o *Base) ReturnsPtr() bool { return false }

// CallsExtern is false: no cgo.
func (o *Base) CallsExtern() bool { return false }

// OverwritesInput is -1: no input is ever overwritten.
func (o *Base) OverwritesInput() int { return -1 }

// WriteHash writes the kind and the attributes.
func (o *Base) WriteHash(h hash.Hash) { fmt.Fprintf(h, "%s{%s}", o.Kind, o.Attributes) }

// Hashcode is the FNV-1a hash of what WriteHash writes.
func (o *Base) Hashcode() uint32 {
	h := fnv.New32a()
	o.WriteHash(h)
	return h.Sum32()
}

func (o *Base) String() string { return o.Kind }

// Do runs a kernel on whole values, as gorgonia's machines call it: every row
// of the first input's first axis belongs to one new sequence that starts at
// position 0. It is what a kernel's Do method returns. It allocates; plans do
// not use it.
func Do(k Kernel, inputs ...gorgonia.Value) (gorgonia.Value, error) {
	dev := NewCPU(1)
	shapes := make([]gorgonia.DimSizer, len(inputs))
	args := &Args{Device: dev, In: make([]Buffer, len(inputs))}
	for i, v := range inputs {
		var err error
		if args.In[i], err = bufferOf(v); err != nil {
			return nil, fmt.Errorf("graph: %v: input %d: %w", k, i, err)
		}
		shapes[i] = args.In[i].shape
	}
	if len(inputs) == 0 || len(args.In[0].shape) == 0 {
		return nil, fmt.Errorf("graph: %v: the first input has no rows", k)
	}
	args.MaxRows = args.In[0].shape[0]
	shape, err := k.InferShape(shapes...)
	if err != nil {
		return nil, err
	}
	dt, err := outputType(k)
	if err != nil {
		return nil, err
	}
	if args.Out, err = dev.Alloc(shape, dt); err != nil {
		return nil, err
	}
	seq := &Sequence{}
	if s, ok := k.(Stateful); ok {
		st, err := s.NewState(dev)
		if err != nil {
			return nil, err
		}
		seq.states = []State{st}
	}
	step, err := k.Prepare(args)
	if err != nil {
		return nil, err
	}
	if err := seq.Reserve(args.MaxRows); err != nil {
		return nil, err
	}
	if err := step(wholeBatch(args.MaxRows, seq)); err != nil {
		return nil, err
	}
	return valueOf(args.Out)
}

// outputType returns the element type of what a kernel computes.
func outputType(k Kernel) (tensor.Dtype, error) {
	if f, ok := k.Type().(*hm.FunctionType); ok {
		switch t := f.Ret(true).(type) {
		case tensor.Dtype:
			return t, nil
		case gorgonia.TensorType:
			if dt, ok := t.Of.(tensor.Dtype); ok {
				return dt, nil
			}
		}
	}
	return tensor.Dtype{}, fmt.Errorf("graph: %v: the output is not a tensor", k)
}
