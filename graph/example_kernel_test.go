package graph_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log"
	"slices"

	"github.com/seed-796a8800/tritium/graph"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// average is an operator of one's own: the mean of a sequence's rows so far,
// y_t = (x_0 + … + x_t) / (t + 1). It keeps the sums of every sequence from
// one run to the next.
type average struct {
	graph.Base
	h int // the size of a row
}

// Average declares it. Shapes: x [T, H] -> [T, H].
func Average(b *graph.Builder, name string, x *gorgonia.Node) *gorgonia.Node {
	if x.Dims() != 2 {
		b.Fail(fmt.Errorf("%s: an input of shape %v, want [T, H]", name, x.Shape()))
		return x
	}
	return b.Apply(name, &average{graph.Base{Kind: "average", Attributes: name,
		In: []gorgonia.TensorType{graph.Float32Tensor(2)}, Out: graph.Float32Tensor(2)}, x.Shape()[1]}, x)
}

func (o *average) InferShape(in ...gorgonia.DimSizer) (tensor.Shape, error) {
	shapes, err := gorgonia.DimSizersToShapes(in)
	if err != nil {
		return nil, err
	}
	return shapes[0].Clone(), nil
}

// Do lets gorgonia's machines run it too.
func (o *average) Do(in ...gorgonia.Value) (gorgonia.Value, error) { return graph.Do(o, in...) }

// averageState is what is kept of one sequence: the sum of the rows up to each
// token, one after the other, so that any number of tokens can be forgotten.
type averageState struct {
	h    int
	sums []float32
}

// Reserve makes the room, so that a run allocates nothing.
func (s *averageState) Reserve(tokens int) error {
	if n := tokens * s.h; n > len(s.sums) {
		s.sums = append(s.sums, make([]float32, n-len(s.sums))...)
	}
	return nil
}

// Truncate has nothing to do: what follows a position is written anew.
func (s *averageState) Truncate(int) error { return nil }

// Fork copies.
func (s *averageState) Fork() (graph.State, error) {
	return &averageState{h: s.h, sums: slices.Clone(s.sums)}, nil
}

// Save writes the sums, their number first.
func (s *averageState) Save(w io.Writer) error {
	return errors.Join(binary.Write(w, binary.LittleEndian, uint64(len(s.sums))), binary.Write(w, binary.LittleEndian, s.sums))
}

// Load reads them one by one: what claims to be long and is not costs nothing.
func (s *averageState) Load(r io.Reader, _ int) error {
	var n uint64
	err := binary.Read(r, binary.LittleEndian, &n)
	for s.sums = s.sums[:0]; err == nil && uint64(len(s.sums)) < n; {
		var x float32
		err = binary.Read(r, binary.LittleEndian, &x)
		s.sums = append(s.sums, x)
	}
	return err
}

// NewState is called once per sequence.
func (o *average) NewState(graph.Device) (graph.State, error) { return &averageState{h: o.h}, nil }

// Prepare is called once per plan and returns what is called once per run.
func (o *average) Prepare(a *graph.Args) (graph.Step, error) {
	if _, err := graph.HostDevice(a, o.Kind); err != nil {
		return nil, err
	}
	x, y, h := a.In[0].Float32s(), a.Out.Float32s(), o.h
	return func(b *graph.Batch) error {
		for _, s := range b.Segments {
			sums := s.Sequence.State(a.State).(*averageState).sums
			for t := s.Start; t < s.Start+s.Len; t++ {
				row := (s.Row + t - s.Start) * h
				for i := range h {
					sum := x[row+i]
					if t > 0 {
						sum += sums[(t-1)*h+i]
					}
					sums[t*h+i] = sum
					y[row+i] = sum / float32(t+1)
				}
			}
		}
		return nil
	}, nil
}

// An operator of one's own, and two sequences that share a run.
func Example_kernel() {
	b := graph.NewBuilder()
	x := b.Input("x", tensor.Float32, 4, 1) // at most four rows, one wide
	var y *gorgonia.Node
	b.Scope("layer", func() { y = Average(b, "average", x) })

	cpu := graph.NewCPU(0)
	defer cpu.Close()
	watch := graph.WithProbe(
		func(name string, _ gorgonia.Op) bool { return name == "layer.average" },
		func(name string, b *graph.Batch, in []graph.Buffer, _ graph.Buffer) error {
			fmt.Println(name, "reads", in[0].Float32s()[:b.Rows()])
			return nil
		})
	plan, err := b.Compile(cpu, 4, watch)
	if err != nil {
		log.Fatal(err)
	}
	in, _ := plan.Value(x)
	out, _ := plan.Value(y)
	one, _ := plan.NewSequence()
	two, _ := plan.NewSequence()

	batch := graph.NewBatch()
	batch.Add(one, 3) // rows 0 to 2
	batch.Add(two, 1) // row 3
	copy(in.Float32s(), []float32{1, 2, 6, 10})
	if err := plan.Run(batch); err != nil {
		log.Fatal(err)
	}
	fmt.Println(out.Float32s()[:batch.Rows()])

	batch.Reset()
	batch.Add(two, 1) // its next token, alone
	copy(in.Float32s(), []float32{20})
	if err := plan.Run(batch); err != nil {
		log.Fatal(err)
	}
	fmt.Println(out.Float32s()[:batch.Rows()])
	// Output:
	// layer.average reads [1 2 6 10]
	// [1 1.5 3 10]
	// layer.average reads [20]
	// [15]
}
