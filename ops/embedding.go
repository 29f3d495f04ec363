package ops

import (
	"fmt"

	"github.com/seed-796a8800/tritium/graph"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

type embedding struct {
	graph.Base
	graph.Gradient // none: no training changes the table
	table          Matrix
	v, hid         int
}

// Embedding looks up the rows of table [V, H] that the token ids name.
//
// Shapes: tokens [T] int32 -> [T, H].
// Errors at run: an id outside the table.
func Embedding(b *graph.Builder, name string, table Matrix, tokens *gorgonia.Node) *gorgonia.Node {
	v, h := table.Dims()
	b.Fail(wrap(name, checkMatrix(table)))
	return b.Apply(name, &embedding{
		Base: graph.Base{Kind: "embedding", Attributes: fmt.Sprintf("%s %dx%d", name, v, h),
			In: []gorgonia.TensorType{graph.Int32Tensor(1)}, Out: graph.Float32Tensor(2)},
		table: table, v: v, hid: h,
	}, tokens)
}

func (o *embedding) InferShape(in ...gorgonia.DimSizer) (tensor.Shape, error) {
	t, err := in[0].DimSize(0)
	return tensor.Shape{t, o.hid}, err
}

func (o *embedding) Do(in ...gorgonia.Value) (gorgonia.Value, error) { return graph.Do(o, in...) }

func (o *embedding) Prepare(a *graph.Args) (graph.Step, error) {
	if _, err := graph.HostDevice(a, o.Kind); err != nil {
		return nil, err
	}
	ids, out := a.In[0].Int32s(), a.Out.Float32s()
	return func(b *graph.Batch) error {
		for t, id := range ids[:b.Active(a.Rows)] {
			if id < 0 || int(id) >= o.v {
				return fmt.Errorf("token id %d is outside the vocabulary of %d", id, o.v)
			}
			o.table.DecodeRows(out[t*o.hid:(t+1)*o.hid], int(id), 1)
		}
		return nil
	}, nil
}

func wrap(name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", name, err)
}
