package ops

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"gorgonia.org/gorgonia"

	"github.com/seed-796a8800/tritium/graph"
	"github.com/seed-796a8800/tritium/internal/reference"
)

// stored is a matrix in some format and the weights that it holds.
type stored struct {
	Matrix
	weights []float32 // [Out][In]
}

func randomBytes(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// formats draws an [out, in] matrix in every format; in is a multiple of 32.
func formats(r *rand.Rand, out, in int) map[string]stored {
	n := out * in
	all := map[string]stored{}
	x := random(r, n)
	all["F32"] = stored{F32{out, in, x}, x}

	rounded, straight, turned := make([]float32, n), make([]byte, 2*n), make([]byte, 2*n)
	for i, v := range x {
		bits := uint16(math.Float32bits(v) >> 16)
		rounded[i] = math.Float32frombits(uint32(bits) << 16)
		binary.LittleEndian.PutUint16(straight[2*i:], bits)
		binary.LittleEndian.PutUint16(turned[2*(i%in*out+i/in):], bits)
	}
	all["BF16"] = stored{BF16{out, in, straight}, rounded}
	all["BF16Transposed"] = stored{BF16Transposed{out, in, turned}, rounded}

	blocks, scales := randomBytes(r, n/2), make([]byte, n/32)
	for i := range scales {
		scales[i] = 120 + byte(r.IntN(8))
	}
	all["MXFP4"] = stored{MXFP4{out, in, blocks, scales}, reference.DecodeMXFP4(blocks, scales)}
	return all
}

// Any run of rows decodes to the weights, exactly, and nothing else is written.
func TestDecodeRows(t *testing.T) {
	const out, in = 133, 64
	for name, m := range formats(newRandom(), out, in) {
		if o, i := m.Dims(); o != out || i != in {
			t.Errorf("%s: %d x %d", name, o, i)
		}
		for _, run := range [][2]int{{0, out}, {0, 1}, {out - 1, 1}, {5, 64}, {5, 65}, {3, 130}, {7, 0}} {
			dst := make([]float32, run[1]*in+3)
			for i := range dst {
				dst[i] = 1234
			}
			m.DecodeRows(dst, run[0], run[1])
			for i, v := range dst {
				want := float32(1234)
				if i < run[1]*in {
					want = m.weights[run[0]*in+i]
				}
				if v != want {
					t.Fatalf("%s: rows %v: element %d is %v, want %v", name, run, i, v, want)
				}
			}
		}
	}
	// Spec 3.
	dst := make([]float32, 32)
	blocks := make([]byte, 16)
	for i := range blocks {
		blocks[i] = 0x10 + byte(i)
	}
	MXFP4{1, 32, blocks, []byte{121}}.DecodeRows(dst, 0, 1)
	same(t, dst[:16], []float32{0, .0078125, .0078125, .0078125, .015625, .0078125, .0234375, .0078125, .03125, .0078125, .046875, .0078125, .0625, .0078125, .09375, .0078125})
	same(t, dst[30:], []float32{-.09375, .0078125})
}

func project(d Dense) func(b *graph.Builder, in []*gorgonia.Node) *gorgonia.Node {
	return func(b *graph.Builder, in []*gorgonia.Node) *gorgonia.Node { return d.Apply(b, in[0]) }
}

// multiplied is W·x + b in float64.
func multiplied(w, x []float32, in int, bias []float32, int8Inputs bool) (y []float64) {
	entering := widen(x)
	if int8Inputs {
		entering = reference.QuantizeInt8(entering)
	}
	for o := range len(w) / in {
		sum := 0.0
		for i, v := range entering {
			sum += float64(w[o*in+i]) * v
		}
		if bias != nil {
			sum += float64(bias[o])
		}
		y = append(y, sum)
	}
	return y
}

func TestDense(t *testing.T) {
	r := newRandom()
	for _, size := range []struct{ rows, out, in int }{{1, 1, 32}, {3, 70, 32}, {33, 133, 96}} {
		x, bias := random(r, size.rows*size.in), random(r, size.out)
		for name, m := range formats(r, size.out, size.in) {
			for _, int8Inputs := range []bool{false, true} {
				for _, b := range [][]float32{nil, bias} {
					var want []float64
					for i := range size.rows {
						want = append(want, multiplied(m.weights, x[i*size.in:(i+1)*size.in], size.in, b, int8Inputs)...)
					}
					got := compute(t, []value{{[]int{size.rows, size.in}, x}}, project(Dense{Name: "q_proj", Weight: m.Matrix, Bias: b, Int8Inputs: int8Inputs}))
					near(t, fmt.Sprintf("%s %+v int8 %t", name, size, int8Inputs), got, want, 2e-6)
				}
			}
		}
	}
}

func TestDenseErrors(t *testing.T) {
	x := []value{{[]int{2, 32}, make([]float32, 64)}}
	refused(t, x, project(Dense{Name: "layer.q_proj", Weight: F32{3, 31, make([]float32, 93)}}), "q_proj", "(2, 32)", "from 31 to 3")
	refused(t, x, project(Dense{Name: "layer.q_proj", Weight: F32{3, 32, make([]float32, 96)}, Bias: make([]float32, 2)}), "layer.q_proj: 2 biases for 3 outputs")
	for _, m := range []Matrix{
		F32{3, 32, make([]float32, 95)}, F32{0, 32, nil}, F32{-1, -32, make([]float32, 32)}, BF16{3, 32, make([]byte, 191)}, BF16Transposed{3, 32, make([]byte, 193)},
		MXFP4{3, 32, make([]byte, 47), make([]byte, 3)}, MXFP4{3, 32, make([]byte, 48), make([]byte, 2)}, MXFP4{2, 48, make([]byte, 48), make([]byte, 3)},
	} {
		refused(t, x, project(Dense{Name: "layer.q_proj", Weight: m}), "layer.q_proj: ")
	}
}

// routingOf gives every token the experts of a pattern that has tokens with
// all, some and none of their slots in use.
func routingOf(rows, e, active int) []float32 {
	routing := make([]float32, rows*e)
	for t := range rows {
		for s := range (t + active) % (active + 1) {
			routing[t*e+(t*3+s*2)%e] = float32(s+1) / 8
		}
	}
	return routing
}

func TestDenseExperts(t *testing.T) {
	const rows, e, active, out, in = 23, 7, 3, 70, 32
	r := newRandom()
	bias, routing := random(r, e*out), routingOf(rows, e, active)
	byFormat := map[string][]stored{}
	for range e {
		for name, m := range formats(r, out, in) {
			byFormat[name] = append(byFormat[name], m)
		}
	}
	for _, shape := range [][]int{{rows, in}, {rows, active, in}} {
		x := random(r, rows*in*len(shape)*len(shape))[:rows*in*(1+(active-1)*(len(shape)-2))]
		for name, ms := range byFormat {
			for _, int8Inputs := range []bool{false, true} {
				d := DenseExperts{Name: "layer.gate_up_proj", Bias: bias, Active: active, Int8Inputs: int8Inputs}
				for _, m := range ms {
					d.Weights = append(d.Weights, m.Matrix)
				}
				want := make([]float64, rows*active*out)
				for t := range rows {
					slot := 0
					for i := range e {
						if routing[t*e+i] == 0 {
							continue
						}
						at := t
						if len(shape) == 3 {
							at = t*active + slot
						}
						copy(want[(t*active+slot)*out:], multiplied(ms[i].weights, x[at*in:(at+1)*in], in, bias[i*out:(i+1)*out], int8Inputs))
						slot++
					}
				}
				got := compute(t, []value{{shape, x}, {[]int{rows, e}, routing}}, experts(d))
				near(t, fmt.Sprintf("%s %v int8 %t", name, shape, int8Inputs), got, want, 2e-6)
			}
		}
	}
}

func experts(d DenseExperts) func(b *graph.Builder, in []*gorgonia.Node) *gorgonia.Node {
	return func(b *graph.Builder, in []*gorgonia.Node) *gorgonia.Node { return d.Apply(b, in[0], in[1]) }
}

func TestDenseExpertsErrors(t *testing.T) {
	m := F32{5, 4, make([]float32, 20)}
	good := DenseExperts{Name: "layer.down_proj", Weights: []Matrix{m, m, m}, Active: 2}
	x, routing := value{[]int{2, 4}, make([]float32, 8)}, value{[]int{2, 3}, make([]float32, 6)}
	change := func(f func(*DenseExperts)) DenseExperts {
		d := good
		f(&d)
		return d
	}
	for _, tc := range []struct {
		d    DenseExperts
		want string
	}{
		{change(func(d *DenseExperts) { d.Weights = nil }), "2 of 0 experts active"},
		{change(func(d *DenseExperts) { d.Active = 0 }), "0 of 3 experts active"},
		{change(func(d *DenseExperts) { d.Active = 4 }), "4 of 3 experts active"},
		{change(func(d *DenseExperts) { d.Weights = []Matrix{m, m, F32{4, 5, make([]float32, 20)}} }), "expert 2 is 4 x 5, expert 0 is 5 x 4"},
		{change(func(d *DenseExperts) { d.Weights = []Matrix{m, F32{5, 4, nil}, m} }), "expert 1: 0 elements"},
		{change(func(d *DenseExperts) { d.Bias = make([]float32, 5) }), "5 biases for 3 experts of 5 outputs"},
	} {
		refused(t, []value{x, routing}, experts(tc.d), "layer.down_proj: "+tc.want)
	}
	for _, in := range [][]value{
		{{[]int{2, 5}, make([]float32, 10)}, routing}, {x, {[]int{2, 4}, make([]float32, 8)}}, {x, {[]int{3, 3}, make([]float32, 9)}},
		{{[]int{2, 3, 4}, make([]float32, 24)}, routing}, {{[]int{2, 2, 5}, make([]float32, 20)}, routing},
	} {
		refused(t, in, experts(good), "down_proj", "for 3 experts from 4 to 5, 2 of them active")
	}
	// At run: weights that are no numbers, and too many of them.
	nan := float32(math.NaN())
	for want, weights := range map[string][]float32{
		"token 1: the routing weight of expert 2 is not a number": {1, 0, 0, 1, 0, nan},
		"token 0 is routed to 3 experts, at most 2":               {1, 1, 1, 0, 0, 0},
	} {
		d, err := declare(t, 1, []value{x, {[]int{2, 3}, weights}}, experts(good))
		if err != nil {
			t.Fatal(err)
		}
		checkError(t, d.run(nil, 2), "graph: down_proj: ", want)
	}
	// Nobody is routed anywhere.
	for _, v := range compute(t, []value{{[]int{2, 4}, []float32{1, 2, 3, 4, 5, 6, 7, 8}}, routing}, experts(good)) {
		if v != 0 {
			t.Fatal("slots without an expert are not zero")
		}
	}
}
