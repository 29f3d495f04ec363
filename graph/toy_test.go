package graph_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"slices"

	"github.com/seed-796a8800/tritium/graph"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// toy is a kernel for tests: every row of the output, of any width, is
// computed from the same row of the inputs by f.
type toy struct {
	graph.Base
	width int // of the output; 0: the first input's
	f     func(dst []float32, in [][]float32)
}

func newToy(kind, attributes string, inputs, width int, f func(dst []float32, in [][]float32)) *toy {
	t := &toy{Base: graph.Base{Kind: kind, Attributes: attributes, Out: graph.Float32Tensor(2)}, width: width, f: f}
	t.In = slices.Repeat([]gorgonia.TensorType{graph.Float32Tensor(2)}, inputs)
	return t
}

func (t *toy) InferShape(in ...gorgonia.DimSizer) (tensor.Shape, error) {
	shapes, err := gorgonia.DimSizersToShapes(in)
	if err != nil {
		return nil, err
	}
	for _, s := range shapes {
		if len(s) != 2 || s[0] != shapes[0][0] {
			return nil, fmt.Errorf("%s of shapes %v", t.Kind, shapes)
		}
	}
	if t.width == 0 {
		return shapes[0].Clone(), nil
	}
	return tensor.Shape{shapes[0][0], t.width}, nil
}

func (t *toy) Do(in ...gorgonia.Value) (gorgonia.Value, error) { return graph.Do(t, in...) }

func (t *toy) Prepare(a *graph.Args) (graph.Step, error) {
	cpu, err := graph.HostDevice(a, t.Kind)
	if err != nil {
		return nil, err
	}
	rows := make([][][]float32, cpu.Threads())
	for w := range rows {
		rows[w] = make([][]float32, len(a.In))
	}
	do := func(worker, i int) {
		in := rows[worker]
		for k, b := range a.In {
			w := b.Shape()[1]
			in[k] = b.Float32s()[i*w : (i+1)*w]
		}
		w := a.Out.Shape()[1]
		t.f(a.Out.Float32s()[i*w:(i+1)*w], in)
	}
	return func(b *graph.Batch) error {
		cpu.Parallel(b.Active(a.Rows), do)
		return nil
	}, nil
}

// selectToy keeps the wanted rows.
type selectToy struct{ *toy }

func newSelect() selectToy { return selectToy{newToy("select", "", 1, 0, nil)} }

func (s selectToy) SelectsRows() {}

func (s selectToy) Do(in ...gorgonia.Value) (gorgonia.Value, error) { return graph.Do(s, in...) }

func (s selectToy) Prepare(a *graph.Args) (graph.Step, error) {
	w := a.Out.Shape()[1]
	return func(b *graph.Batch) error {
		for i, r := range b.Outputs {
			copy(a.Out.Float32s()[i*w:(i+1)*w], a.In[0].Float32s()[r*w:(r+1)*w])
		}
		return nil
	}, nil
}

// runningSum adds to every row the rows before it in its sequence: the least
// kernel with a state.
type runningSum struct {
	*toy
	noTruncate bool
}

func newRunningSum(attributes string) *runningSum {
	return &runningSum{toy: newToy("running sum", attributes, 1, 0, nil)}
}

type sums struct {
	width    int
	rows     [][]float32 // the sum up to each token
	reserved int
	stuck    bool
}

func (s *sums) Reserve(n int) error {
	for len(s.rows) < n {
		s.rows = append(s.rows, make([]float32, s.width))
	}
	s.reserved = n
	return nil
}

func (s *sums) Truncate(n int) error {
	if s.stuck && n > 0 {
		return fmt.Errorf("cannot forget")
	}
	return nil
}

func (s *sums) Fork() (graph.State, error) {
	f := *s
	f.rows = slices.Clone(s.rows)
	for i, row := range f.rows {
		f.rows[i] = slices.Clone(row)
	}
	return &f, nil
}

func (s *sums) Save(w io.Writer) error {
	if err := binary.Write(w, binary.LittleEndian, uint32(len(s.rows))); err != nil {
		return err
	}
	for _, row := range s.rows {
		if err := binary.Write(w, binary.LittleEndian, row); err != nil {
			return err
		}
	}
	return nil
}

func (s *sums) Load(r io.Reader, _ int) error {
	var n uint32
	if err := binary.Read(r, binary.LittleEndian, &n); err != nil {
		return err
	}
	s.rows = s.rows[:0]
	for range n {
		row := make([]float32, s.width)
		if err := binary.Read(r, binary.LittleEndian, row); err != nil {
			return err
		}
		s.rows = append(s.rows, row)
	}
	return nil
}

func (r *runningSum) NewState(graph.Device) (graph.State, error) {
	return &sums{width: 3, stuck: r.noTruncate}, nil
}

func (r *runningSum) Do(in ...gorgonia.Value) (gorgonia.Value, error) { return graph.Do(r, in...) }

func (r *runningSum) Prepare(a *graph.Args) (graph.Step, error) {
	w := a.Out.Shape()[1]
	return func(b *graph.Batch) error {
		for _, s := range b.Segments {
			kept := s.Sequence.State(a.State).(*sums)
			for t := range s.Len {
				sum := kept.rows[s.Start+t]
				copy(sum, a.In[0].Float32s()[(s.Row+t)*w:])
				if s.Start+t > 0 {
					for i, v := range kept.rows[s.Start+t-1] {
						sum[i] += v
					}
				}
				copy(a.Out.Float32s()[(s.Row+t)*w:(s.Row+t+1)*w], sum)
			}
		}
		return nil
	}, nil
}
