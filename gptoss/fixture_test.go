package gptoss

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/seed-796a8800/tritium/graph"
	"github.com/seed-796a8800/tritium/internal/reference"
	"github.com/seed-796a8800/tritium/internal/safetensors"
	"github.com/seed-796a8800/tritium/ops"
	"github.com/seed-796a8800/tritium/ternaryop"
	"github.com/seed-796a8800/tritium/testdata"
)

// seed of every random checkpoint. internal/reference checks that with it no
// router's choice hangs on rounding.
const seed = 7

// tokens is a sequence without a period.
func tokens(n, vocab int) []int32 {
	ids := make([]int32, n)
	for i := range ids {
		ids[i] = int32((i*i*7 + i*31 + 5) % vocab)
	}
	return ids
}

func writeShape(t testing.TB, s reference.Shape) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := reference.Write(dir, s, seed); err != nil {
		t.Fatal(err)
	}
	return dir
}

func open(t testing.TB, dir string, opts ...OpenOption) *Checkpoint {
	t.Helper()
	c, err := Open(dir, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func openNano(t testing.TB) *Checkpoint {
	t.Helper()
	c, err := OpenFS(testdata.Nano())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func loadReference(t testing.TB, dir string) *reference.Model {
	t.Helper()
	m, err := reference.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func newCPU(t testing.TB, threads int) *graph.CPU {
	cpu := graph.NewCPU(threads)
	t.Cleanup(func() { cpu.Close() })
	return cpu
}

func compile(t testing.TB, c Config, w Weights, cpu *graph.CPU, rows int, opts ...graph.Option) *Model {
	t.Helper()
	m, err := Compile(c, w, cpu, rows, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// stored is a tensor about to be written.
type stored struct {
	safetensors.Spec
	data []byte
}

func tensorsOf(t testing.TB, dir string) []stored {
	t.Helper()
	a, err := safetensors.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	var all []stored
	for _, name := range a.Names() {
		x, _ := a.Lookup(name)
		all = append(all, stored{safetensors.Spec{Name: name, Dtype: x.Dtype, Shape: x.Shape}, slices.Clone(x.Data)})
	}
	return all
}

// writeModel writes a model directory.
func writeModel(t testing.TB, config []byte, tensors []stored) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "config.json"), config, 0o644); err != nil {
		t.Fatal(err)
	}
	var specs []safetensors.Spec
	for _, x := range tensors {
		specs = append(specs, x.Spec)
	}
	w, err := safetensors.Create(dir, specs, safetensors.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range tensors {
		if err := w.Write(x.Name, x.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// quantized is a model directory with quantized projections, and the oracle's:
// the same weights, dequantized to F32.
type quantized struct{ dir, oracle string }

// recipe says how projections are stored, in groups of 32 or the least there is.
// No embedding is int8: in layer 0 its codes would meet the rounding of the
// activations in exact ties, which float64 and float32 take differently.
type recipe struct{ experts, qkv, o, embedding, head string }

var (
	twoBits  = recipe{FormatTernary, FormatTernary, FormatTernary, FormatInt4, FormatInt8}
	withInt8 = recipe{FormatTernary, FormatTernary, FormatInt8, FormatInt4, FormatInt8}
	fives    = recipe{FormatTernary5, FormatTernary5, FormatTernary5, FormatInt4, FormatInt4}
	planes   = recipe{FormatPlanes2, FormatInt4, FormatInt8, FormatInt4, FormatInt8}
	fives2   = recipe{FormatPlanes5, FormatPlanes2, FormatPlanes5, FormatInt4, FormatInt4}
	integers = recipe{FormatInt4, FormatInt4, FormatInt8, FormatInt4, FormatInt8}
)

func (r recipe) format(t testing.TB, p Projection) (f Format, ok bool) {
	t.Helper()
	kind, group := r.qkv, 32
	switch {
	case p.Name == EmbeddingName:
		kind = r.embedding
	case p.Name == HeadName:
		kind = r.head
	case !p.Quantizable:
		return f, false
	case p.Experts > 0:
		kind = r.experts
	case strings.HasSuffix(p.Name, ".o_proj"):
		kind = r.o
	}
	if kind == FormatInt8 {
		group = 0
	}
	f, err := NewFormat(kind, p, group)
	if err != nil {
		t.Fatal(err)
	}
	return f, true
}

// quantize rounds projections of a checkpoint as a recipe says.
func quantize(t testing.TB, source string, r recipe) quantized {
	t.Helper()
	c := open(t, source)
	q := Quantization{QuantMethod: QuantMethod, Version: LayoutVersion, Method: "test", GroupSize: 32, ActivationBits: 8, Tensors: map[string]Format{}}
	var packed, dense []stored
	gone := map[string]bool{}
	for _, p := range c.config.ProjectionList() {
		f, ok := r.format(t, p)
		if !ok {
			continue
		}
		q.Tensors[p.Name] = f
		for _, suffix := range []string{"", ".weight", "_blocks", "_scales"} {
			gone[p.Name+suffix] = true
		}
		codes, scales, weights := round(t, matrices(c, p), f)
		packed = append(packed, codes.as(p.Name+".codes"), scales.as(p.Name+".scales"))
		dense = append(dense, oracleTensor(p, weights))
	}
	for _, x := range tensorsOf(t, source) {
		if !gone[x.Name] {
			packed, dense = append(packed, x), append(dense, x)
		}
	}
	config, err := c.config.WithQuantization(q)
	if err != nil {
		t.Fatal(err)
	}
	original, err := os.ReadFile(filepath.Join(source, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	return quantized{writeModel(t, config, packed), writeModel(t, original, dense)}
}

func (s stored) as(name string) stored {
	s.Name = name
	return s
}

func matrices(c *Checkpoint, p Projection) []ops.Matrix {
	if p.Experts > 0 {
		return c.ExpertMatrices(p.Name)
	}
	return []ops.Matrix{c.Matrix(p.Name)}
}

// oracleTensor stores weights [E][Out][In] as the reference reads them:
// experts as [E, In, Out].
func oracleTensor(p Projection, weights []float32) stored {
	name, shape := p.Name+".weight", []int{p.Out, p.In}
	if p.Experts > 0 {
		name, shape = p.Name, []int{p.Experts, p.In, p.Out}
	}
	data := make([]byte, 4*len(weights))
	for i, w := range weights {
		at := i
		if p.Experts > 0 {
			e, o, k := i/(p.Out*p.In), i/p.In%p.Out, i%p.In
			at = (e*p.In+k)*p.Out + o
		}
		binary.LittleEndian.PutUint32(data[4*at:], math.Float32bits(w))
	}
	return stored{safetensors.Spec{Name: name, Dtype: safetensors.F32, Shape: shape}, data}
}

// round quantizes matrices to the nearest codes, and says what they stand for.
func round(t testing.TB, ms []ops.Matrix, f Format) (codes, scales stored, weights []float32) {
	codes.Dtype, scales.Dtype = safetensors.U8, safetensors.F16
	for _, m := range ms {
		out, in := m.Dims()
		dense := make([]float32, out*in)
		m.DecodeRows(dense, 0, out)
		packed := nearest(t, dense, out, in, f)
		packed.DecodeRows(dense, 0, out)
		codes.data, scales.data = append(codes.data, packed.Codes...), append(scales.data, packed.Scales...)
		codes.Shape, scales.Shape = []int{len(codes.data)}, []int{len(scales.data) / 2}
		weights = append(weights, dense...)
	}
	return codes, scales, weights
}

// nearest rounds groups to multiples of their mean magnitude, or of the part
// of their largest that the largest code leaves. A second plane does the same
// with what the first leaves.
func nearest(t testing.TB, w []float32, out, in int, f Format) *ternaryop.Matrix {
	t.Helper()
	packed, group := f.Packing(in)
	var codes []int8
	var scales []float32
	for r := range out {
		rest := slices.Clone(w[r*in:][:in])
		for range packed.Planes() {
			for part := range slices.Chunk(rest, group) {
				c, scale := nearestGroup(part, f)
				codes, scales = append(codes, c...), append(scales, scale)
				for k := range part {
					part[k] -= scale * float32(c[k])
				}
			}
		}
	}
	m, err := ternaryop.Pack(packed, codes, scales, out, in, group)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func nearestGroup(w []float32, f Format) (codes []int8, scale float32) {
	largest := map[string]float64{FormatInt4: 7, FormatInt8: 127}[f.Kind]
	sum, top := 0.0, 0.0
	for _, v := range w {
		sum, top = sum+math.Abs(float64(v)), max(top, math.Abs(float64(v)))
	}
	a, limit := sum/float64(len(w)), 1.0
	if largest > 0 {
		a, limit = top/largest, largest
	}
	a = max(a, 1e-7)
	for _, v := range w {
		codes = append(codes, int8(min(max(math.RoundToEven(float64(v)/a), -limit), limit)))
	}
	return codes, float32(a)
}

// sameBits says where two slices of floats first differ.
func sameBits(got, want []float32) error {
	if len(got) != len(want) {
		return fmt.Errorf("%d values, want %d", len(got), len(want))
	}
	for i := range got {
		if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
			return fmt.Errorf("value %d is %v, want %v", i, got[i], want[i])
		}
	}
	return nil
}
