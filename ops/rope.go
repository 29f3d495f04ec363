package ops

import (
	"fmt"
	"math"
	"slices"

	"github.com/seed-796a8800/tritium/graph"
	"github.com/seed-796a8800/tritium/ops/internal/kernel"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// Rotary describes a rotary position embedding: pair i of a head (elements i
// and i + D/2) turns by position · InvFreq[i], and is stretched by Scale.
type Rotary struct {
	InvFreq []float32 // [D/2], radians a position
	Scale   float32
}

// YaRN returns the rotary embedding of GPT-OSS for heads of size d: frequencies
// theta^(-2i/d), slowed by factor where a pair turns less than betaSlow times
// within the original context, untouched where it turns more than betaFast
// times, and blended linearly between. The bounds of the blend are not
// truncated to integers. Scale is 0.1·ln(factor) + 1. With factor 1 it is the
// plain rotary embedding.
//
// Source: arXiv 2309.00071; gpt_oss/torch/model.py, RotaryEmbedding.
func YaRN(d int, theta, factor, betaFast, betaSlow, originalContext float64) Rotary {
	inv := make([]float32, d/2)
	pair := func(turns float64) float64 {
		return float64(d) / 2 * math.Log(originalContext/(turns*2*math.Pi)) / math.Log(theta)
	}
	// The clamps, which GPT-OSS' own constants do not reach, are Transformers'.
	low, high := max(pair(betaFast), 0), min(pair(betaSlow), float64(d-1))
	if low == high {
		high += 0.001
	}
	for i := range inv {
		f := math.Pow(theta, 2*float64(i)/float64(d))
		if factor == 1 {
			inv[i] = float32(1 / f)
			continue
		}
		r := min(max((float64(i)-low)/(high-low), 0), 1)
		inv[i] = float32((1-r)/f + r/(factor*f))
	}
	scale := 1.0
	if factor > 1 {
		scale = 0.1*math.Log(factor) + 1
	}
	return Rotary{inv, float32(scale)}
}

type rope struct {
	graph.Base
	graph.Gradient
	Rotary
	inverse bool // turn the other way
}

// Rope applies a rotary embedding to every head of x, at each token's position
// in its sequence.
//
// Shapes: x [T, heads·D] -> the same, D = 2·len(InvFreq).
func Rope(b *graph.Builder, name string, r Rotary, x *gorgonia.Node) *gorgonia.Node {
	return b.Apply(name, newRope(name, r, false), x)
}

// newRope returns the operator. Its derivative by its input is the rotation
// back, stretched as much.
func newRope(name string, r Rotary, inverse bool) *rope {
	return &rope{
		Base: graph.Base{Kind: "rope", Attributes: fmt.Sprintf("%s %v x%g inverse=%v", name, r.InvFreq, r.Scale, inverse),
			In: graph.Float32Tensors(2), Out: graph.Float32Tensor(2)},
		Gradient: graph.Gradient{func(_ gorgonia.Nodes, _, grad *gorgonia.Node) (*gorgonia.Node, error) {
			return gorgonia.ApplyOp(newRope(name, r, !inverse), grad)
		}},
		Rotary: r, inverse: inverse,
	}
}

func (o *rope) InferShape(in ...gorgonia.DimSizer) (tensor.Shape, error) {
	shapes, err := gorgonia.DimSizersToShapes(in)
	if err != nil {
		return nil, err
	}
	if s := shapes[0]; len(o.InvFreq) == 0 || s[1]%(2*len(o.InvFreq)) != 0 {
		return nil, fmt.Errorf("rope of shape %v with heads of %d", s, 2*len(o.InvFreq))
	}
	return shapes[0].Clone(), nil
}

func (o *rope) Do(in ...gorgonia.Value) (gorgonia.Value, error) { return graph.Do(o, in...) }

func (o *rope) Prepare(a *graph.Args) (graph.Step, error) {
	cpu, err := graph.HostDevice(a, o.Kind)
	if err != nil {
		return nil, err
	}
	if a.Rows != graph.TokenRows {
		return nil, errSelected
	}
	x, out := a.In[0].Float32s(), a.Out.Float32s()
	w, half := a.Out.Shape()[1], len(o.InvFreq)
	known := o.firstAngles(a)
	rooms := make([][]float32, cpu.Threads()) // [3][D/2] a worker, for other positions
	for i := range rooms {
		rooms[i] = make([]float32, 3*half)
	}
	positions := make([]int32, a.MaxRows)
	do := func(worker, t int) {
		angles, at := rooms[worker], int(positions[t])*3*half
		if at+3*half <= len(known) {
			angles = known[at : at+3*half]
		} else {
			o.angles(angles, positions[t])
		}
		cos, sin := angles[:half], angles[half:2*half]
		if o.inverse {
			sin = angles[2*half:]
		}
		for at := t * w; at < (t+1)*w; at += 2 * half {
			kernel.Rope(out[at:at+2*half], x[at:at+2*half], cos, sin)
		}
	}
	return func(b *graph.Batch) error {
		for _, s := range b.Segments {
			for i := range s.Len {
				positions[s.Row+i] = int32(s.Start + i)
			}
		}
		cpu.Parallel(b.Rows(), do)
		return nil
	}, nil
}

// angles computes the cosines and sines of one position, and the sines of the
// rotation back.
//
// Shapes: dst [3][D/2].
func (r Rotary) angles(dst []float32, position int32) {
	half := len(r.InvFreq)
	for i, f := range r.InvFreq {
		// The product is rounded to float32, as the reference does; it matters at
		// long positions.
		s, c := math.Sincos(float64(float32(position) * f))
		dst[i], dst[half+i] = float32(c)*r.Scale, float32(s)*r.Scale
		dst[2*half+i] = -dst[half+i]
	}
}

// firstAngles are the angles of as many positions as a plan has rows, which is
// where training and the first run of a sequence are. All rotary embeddings of
// a plan that are alike share them.
//
// Shapes: [MaxRows][3][D/2].
func (r Rotary) firstAngles(a *graph.Args) []float32 {
	type tables struct {
		of   []Rotary
		data [][]float32
	}
	t := graph.Shared[tables](a)
	for i, other := range t.of {
		if other.Scale == r.Scale && slices.Equal(other.InvFreq, r.InvFreq) {
			return t.data[i]
		}
	}
	n := 3 * len(r.InvFreq)
	data := make([]float32, a.MaxRows*n)
	for p := range a.MaxRows {
		r.angles(data[p*n:(p+1)*n], int32(p))
	}
	t.of, t.data = append(t.of, r), append(t.data, data)
	return data
}
