package graph_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/seed-796a8800/tritium/graph"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

func random(seed uint64, shape ...int) *tensor.Dense {
	rng := rand.New(rand.NewPCG(seed, 7))
	x := make([]float32, tensor.Shape(shape).TotalSize())
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	return tensor.New(tensor.WithShape(shape...), tensor.WithBacking(x))
}

// classifier is a declaration of gorgonia's operators with a loss.
type classifier struct {
	b      *graph.Builder
	inputs gorgonia.Nodes
	params gorgonia.Nodes
	loss   *gorgonia.Node
	out    gorgonia.Nodes
}

func declareClassifier(b *graph.Builder) *classifier {
	x := b.Input("x", tensor.Float32, 8, 2)
	y := b.Input("y", tensor.Float32, 8, 1)
	w1, b1, w2 := b.Parameter("w1", random(1, 2, 5)), b.Parameter("b1", random(2, 1, 5)), b.Parameter("w2", random(3, 5, 1))
	var h *gorgonia.Node
	b.Scope("hidden", func() {
		h = b.Try(gorgonia.Mul(x, w1))
		h = b.Try(gorgonia.BroadcastAdd(h, b1, nil, []byte{0}))
		h = b.Try(gorgonia.Tanh(h))
	})
	p := b.Try(gorgonia.Sigmoid(b.Try(gorgonia.Mul(h, w2))))
	d := b.Try(gorgonia.Sub(p, y))
	loss := b.Try(gorgonia.Mean(b.Try(gorgonia.Square(d))))
	return &classifier{b: b, inputs: gorgonia.Nodes{x, y}, params: gorgonia.Nodes{w1, b1, w2}, loss: loss, out: gorgonia.Nodes{loss}}
}

func (c *classifier) differentiate(t testing.TB) {
	grads, err := gorgonia.Grad(c.loss, c.params...)
	if err != nil {
		t.Fatal(err)
	}
	c.out = append(c.out, grads...)
}

// float32sOf copies what a value holds.
func float32sOf(v gorgonia.Value) []float32 {
	if view, ok := v.(tensor.View); ok && view.RequiresIterator() {
		v = view.Materialize().(gorgonia.Value)
	}
	switch d := v.Data().(type) {
	case float32:
		return []float32{d}
	case []float32:
		return slices.Clone(d)
	}
	panic(fmt.Sprintf("%T", v.Data()))
}

func sameBits(a, b []float32) bool {
	return slices.EqualFunc(a, b, func(x, y float32) bool { return math.Float32bits(x) == math.Float32bits(y) })
}

// compareWithTape declares twice, runs one graph by a Plan and one by
// gorgonia's TapeMachine, and compares the outputs bit for bit.
func compareWithTape(t *testing.T, maxRows int, declare func(b *graph.Builder) (inputs, outputs gorgonia.Nodes)) {
	t.Helper()
	tape, planned := graph.NewBuilder(), graph.NewBuilder()
	inT, outT := declare(tape)
	inP, outP := declare(planned)
	if err := errors.Join(tape.Err(), planned.Err()); err != nil {
		t.Fatal(err)
	}
	plan, err := planned.Compile(graph.NewCPU(1), maxRows, graph.WithOutputs(outP...))
	if err != nil {
		t.Fatal(err)
	}
	results := make([]gorgonia.Value, len(outT))
	for i, n := range outT {
		gorgonia.Read(n, &results[i])
	}
	for i := range inT {
		v := random(uint64(100+i), inT[i].Shape()...)
		if err := errors.Join(gorgonia.Let(inT[i], v.Clone()), gorgonia.Let(inP[i], v.Clone())); err != nil {
			t.Fatal(err)
		}
	}
	vm := gorgonia.NewTapeMachine(tape.Graph())
	defer vm.Close()
	if err := vm.RunAll(); err != nil {
		t.Fatal(err)
	}
	for run := range 2 { // the second finds the memory used
		if err := plan.RunAll(); err != nil {
			t.Fatal(err)
		}
		for i, n := range outP {
			buf, err := plan.Value(n)
			if err != nil {
				t.Fatal(err)
			}
			if want := float32sOf(results[i]); !sameBits(buf.Float32s(), want) {
				t.Errorf("run %d, output %d %v:\nplan %v\ntape %v", run, i, n, buf.Float32s(), want)
			}
		}
	}
}

func TestPlanEqualsTapeOnClassifier(t *testing.T) {
	for _, backward := range []bool{false, true} {
		compareWithTape(t, 8, func(b *graph.Builder) (in, out gorgonia.Nodes) {
			c := declareClassifier(b)
			if backward {
				c.differentiate(t)
			}
			return c.inputs, c.out
		})
	}
}

func TestPlanEqualsTapeOnGorgoniasOperators(t *testing.T) {
	one := func(f func(b *graph.Builder, x *gorgonia.Node) *gorgonia.Node) func(*graph.Builder) (in, out gorgonia.Nodes) {
		return func(b *graph.Builder) (in, out gorgonia.Nodes) {
			x := b.Input("x", tensor.Float32, 4, 6)
			return gorgonia.Nodes{x}, gorgonia.Nodes{f(b, x)}
		}
	}
	for name, declare := range map[string]func(*graph.Builder) (in, out gorgonia.Nodes){
		"transpose": one(func(b *graph.Builder, x *gorgonia.Node) *gorgonia.Node {
			y := b.Try(gorgonia.Transpose(x, 1, 0))
			return b.Try(gorgonia.Tanh(b.Try(gorgonia.Add(y, y))))
		}),
		"transposed product": one(func(b *graph.Builder, x *gorgonia.Node) *gorgonia.Node {
			return b.Try(gorgonia.Mul(b.Try(gorgonia.Transpose(x, 1, 0)), x))
		}),
		"softmax": one(func(b *graph.Builder, x *gorgonia.Node) *gorgonia.Node {
			return b.Try(gorgonia.SoftMax(x))
		}),
		"slice": one(func(b *graph.Builder, x *gorgonia.Node) *gorgonia.Node {
			y := b.Try(gorgonia.Slice(x, nil, gorgonia.S(1, 4)))
			return b.Try(gorgonia.Square(y))
		}),
		"slice as output": one(func(b *graph.Builder, x *gorgonia.Node) *gorgonia.Node {
			return b.Try(gorgonia.Slice(x, nil, gorgonia.S(2)))
		}),
		"reshape": one(func(b *graph.Builder, x *gorgonia.Node) *gorgonia.Node {
			return b.Try(gorgonia.Exp(b.Try(gorgonia.Reshape(x, tensor.Shape{3, 8}))))
		}),
		"sum": one(func(b *graph.Builder, x *gorgonia.Node) *gorgonia.Node {
			return b.Try(gorgonia.Sum(b.Try(gorgonia.Square(x)), 1))
		}),
		"constant": one(func(b *graph.Builder, x *gorgonia.Node) *gorgonia.Node {
			y := b.Try(gorgonia.Mul(x, gorgonia.NewConstant(float32(0.25))))
			return b.Try(gorgonia.Add(y, gorgonia.NewConstant(float32(3))))
		}),
		"constant tensor": one(func(b *graph.Builder, x *gorgonia.Node) *gorgonia.Node {
			return b.Try(gorgonia.Mul(x, gorgonia.NewConstant(random(9, 6, 3))))
		}),
		"a node twice": one(func(b *graph.Builder, x *gorgonia.Node) *gorgonia.Node {
			y := b.Try(gorgonia.Tanh(x))
			return b.Try(gorgonia.HadamardProd(y, y))
		}),
		"scalar": one(func(b *graph.Builder, x *gorgonia.Node) *gorgonia.Node {
			s := b.Try(gorgonia.Sum(x))
			return b.Try(gorgonia.HadamardProd(x, b.Try(gorgonia.Tanh(s))))
		}),
	} {
		t.Run(name, func(t *testing.T) { compareWithTape(t, 4, declare) })
	}
}

func square(dst []float32, in [][]float32) {
	for i, v := range in[0] {
		dst[i] = v * v
	}
}

func add(dst []float32, in [][]float32) {
	for i := range dst {
		dst[i] = in[0][i] + in[1][i]
	}
}

func TestPlanEqualsTapeOnKernels(t *testing.T) {
	compareWithTape(t, 4, func(b *graph.Builder) (in, out gorgonia.Nodes) {
		x := b.Input("x", tensor.Float32, 4, 3)
		y := b.Apply("square", newToy("square", "", 1, 0, square), x)
		// Gorgonia's transposes are views, which a kernel's Do must read right.
		v := b.Try(gorgonia.Transpose(b.Try(gorgonia.Transpose(y, 1, 0)), 1, 0))
		z := b.Apply("sum", newRunningSum("a"), v)
		z = b.Apply("add", newToy("add", "", 2, 0, add), z, x)
		return gorgonia.Nodes{x}, gorgonia.Nodes{b.Apply("select", newSelect(), z)}
	})
}

func compile(t testing.TB, b *graph.Builder, dev graph.Device, maxRows int, opts ...graph.Option) *graph.Plan {
	t.Helper()
	p, err := b.Compile(dev, maxRows, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func value(t testing.TB, p *graph.Plan, n *gorgonia.Node) []float32 {
	t.Helper()
	buf, err := p.Value(n)
	if err != nil {
		t.Fatal(err)
	}
	return buf.Float32s()
}

func sequence(t testing.TB, p *graph.Plan) *graph.Sequence {
	t.Helper()
	s, err := p.NewSequence()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Sequences grow independently of each other and of how they share batches.
func TestSequencesInChunks(t *testing.T) {
	b := graph.NewBuilder()
	x := b.Input("x", tensor.Float32, 6, 3)
	y := b.Apply("sum", newRunningSum("a"), x)
	p := compile(t, b, graph.NewCPU(1), 6)
	in, out := value(t, p, x), value(t, p, y)
	one, two := sequence(t, p), sequence(t, p)
	batch := graph.NewBatch()
	total := map[*graph.Sequence]float32{}
	for step, lens := range [][2]int{{4, 1}, {1, 1}, {0, 5}, {2, 3}} {
		batch.Reset()
		for i, s := range []*graph.Sequence{one, two} {
			if lens[i] > 0 {
				batch.Add(s, lens[i])
			}
		}
		for i := range in {
			in[i] = float32(step + i/3)
		}
		if err := p.Run(batch); err != nil {
			t.Fatal(err)
		}
		for _, s := range batch.Segments {
			for r := s.Row; r < s.Row+s.Len; r++ {
				total[s.Sequence] += float32(step + r)
				if out[3*r] != total[s.Sequence] {
					t.Fatalf("step %d row %d: %v, want %v", step, r, out[3*r], total[s.Sequence])
				}
			}
		}
	}
	if one.Len() != 7 || two.Len() != 10 {
		t.Errorf("lengths %d and %d", one.Len(), two.Len())
	}
	// Forgetting the last two of one: the next token continues at position 5.
	if err := one.Truncate(5); err != nil {
		t.Fatal(err)
	}
	batch.Reset()
	batch.Add(one, 1)
	clear(in)
	if err := p.Run(batch); err != nil {
		t.Fatal(err)
	}
	if want := float32(0 + 1 + 2 + 3 + 1); out[0] != want {
		t.Errorf("after truncating: %v, want %v", out[0], want)
	}
}

func TestReserveIsExactAndGrowthIsNot(t *testing.T) {
	b := graph.NewBuilder()
	b.Apply("sum", newRunningSum("a"), b.Input("x", tensor.Float32, 16, 3))
	p := compile(t, b, graph.NewCPU(1), 16)
	s := sequence(t, p)
	reserved := func() int { return s.State(0).(*sums).reserved }
	batch := graph.NewBatch()
	for _, step := range []struct{ reserve, run, want int }{{10, 0, 10}, {0, 8, 10}, {0, 3, 15}, {17, 0, 17}, {5, 0, 17}, {0, 16, 27}, {-1, 0, 27}} {
		if step.run > 0 {
			batch.Reset()
			batch.Add(s, step.run)
			if err := p.Run(batch); err != nil {
				t.Fatal(err)
			}
		} else if err := s.Reserve(step.reserve); err != nil {
			t.Fatal(err)
		}
		if reserved() != step.want {
			t.Errorf("%+v: reserved %d", step, reserved())
		}
	}
}

func TestTornSequences(t *testing.T) {
	b := graph.NewBuilder()
	x := b.Input("x", tensor.Float32, 4, 3)
	sum := newRunningSum("a")
	sum.noTruncate = true
	y := b.Apply("sum", sum, x)
	broken := true
	p := compile(t, b, graph.NewCPU(1), 4, graph.WithProbe(func(name string, _ gorgonia.Op) bool { return name == "sum" },
		func(string, *graph.Batch, []graph.Buffer, graph.Buffer) error {
			if broken {
				return errors.New("disk full")
			}
			return nil
		}))
	s := sequence(t, p)
	batch := graph.NewBatch()
	batch.Add(s, 2)
	run := func(want string) {
		t.Helper()
		err := p.Run(batch)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Fatalf("%v, want %q", err, want)
		}
	}
	run("graph: probe of sum: disk full")
	broken = false
	run("truncate it first")
	if err := s.Truncate(0); err != nil {
		t.Fatal(err)
	}
	run("")
	if err := s.Truncate(1); err == nil {
		t.Fatal("a kernel that cannot forget did")
	}
	batch.Reset()
	batch.Add(s, 1)
	run("truncate it first")
	if err := s.Truncate(0); err != nil || s.Len() != 0 {
		t.Fatal(err, s.Len())
	}
	for _, n := range []int{-1, 1} {
		if s.Truncate(n) == nil {
			t.Errorf("truncated an empty sequence to %d", n)
		}
	}
	_ = y
}

func TestRowSelector(t *testing.T) {
	b := graph.NewBuilder()
	x := b.Input("x", tensor.Float32, 5, 2)
	s := b.Apply("outputs", newSelect(), x)
	calls := 0
	y := b.Apply("square", newToy("square", "", 1, 0, func(dst []float32, in [][]float32) { calls++; square(dst, in) }), s)
	p := compile(t, b, graph.NewCPU(1), 5)
	in := value(t, p, x)
	for i := range in {
		in[i] = float32(i / 2)
	}
	batch := graph.NewBatch()
	batch.Add(sequence(t, p), 5)
	batch.Want(1, 4)
	if err := p.Run(batch); err != nil {
		t.Fatal(err)
	}
	if got := value(t, p, y)[:4]; !slices.Equal(got, []float32{1, 1, 16, 16}) || calls != 2 {
		t.Errorf("%v in %d calls", got, calls)
	}
	for name, declare := range map[string]func(b *graph.Builder, x, sel *gorgonia.Node){
		"selected already": func(b *graph.Builder, _, sel *gorgonia.Node) { b.Apply("again", newSelect(), sel) },
		"mixes": func(b *graph.Builder, x, sel *gorgonia.Node) {
			all := b.Apply("all", newToy("square", "", 1, 0, square), x)
			b.Apply("again", newToy("add", "", 2, 0, add), sel, all)
		},
	} {
		b := graph.NewBuilder()
		x := b.Input("x", tensor.Float32, 5, 2)
		declare(b, x, b.Apply("outputs", newSelect(), x))
		if _, err := b.Compile(graph.NewCPU(1), 5); err == nil || !strings.Contains(err.Error(), "graph: again: ") || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestProbes(t *testing.T) {
	b := graph.NewBuilder()
	x := b.Input("x", tensor.Float32, 2, 2)
	var y *gorgonia.Node
	b.Scope("layer", func() { y = b.Apply("square", newToy("square", "", 1, 0, square), x) })
	b.Apply("add", newToy("add", "", 2, 0, add), y, y)
	seen := ""
	p := compile(t, b, graph.NewCPU(1), 2, graph.WithProbe(
		func(name string, op gorgonia.Op) bool { return op.(*toy).Kind == "square" },
		func(name string, batch *graph.Batch, in []graph.Buffer, out graph.Buffer) error {
			seen += fmt.Sprintln(name, batch.Rows(), in[0].Float32s()[:2], out.Float32s()[:2])
			return nil
		}))
	copy(value(t, p, x), []float32{3, 4})
	batch := graph.NewBatch()
	batch.Add(sequence(t, p), 1)
	if err := p.Run(batch); err != nil {
		t.Fatal(err)
	}
	if want := "layer.square 1 [3 4] [9 16]\n"; seen != want {
		t.Errorf("%s, want %s", seen, want)
	}
}

func TestWithOutputsPrunes(t *testing.T) {
	b := graph.NewBuilder()
	x := b.Input("x", tensor.Float32, 2, 2)
	y := b.Apply("y", newToy("square", "", 1, 0, square), x)
	ran := false
	z := b.Apply("z", newToy("loud", "", 1, 0, func([]float32, [][]float32) { ran = true }), y)
	p := compile(t, b, graph.NewCPU(1), 2, graph.WithOutputs(y))
	if err := p.RunAll(); err != nil || ran {
		t.Error(err, ran)
	}
	if _, err := p.Value(z); err == nil || !strings.Contains(err.Error(), "graph: z is neither") {
		t.Error(err)
	}
	if p.MaxRows() != 2 || p.Device().Name() != "cpu" || p.ArenaBytes() != 2*16 {
		t.Error(p.MaxRows(), p.Device().Name(), p.ArenaBytes())
	}
	if p.Reset(); p.Close() != nil {
		t.Error("Close fails")
	}
}

func TestRunAllReadsLetsAndKeepsTheirMemory(t *testing.T) {
	b := graph.NewBuilder()
	x := b.Input("x", tensor.Float32, 2, 2)
	w := random(4, 2, 2)
	y := b.Try(gorgonia.Mul(x, b.Parameter("w", w)))
	first, second := random(1, 2, 2), random(2, 2, 2)
	kept := slices.Clone(first.Data().([]float32))
	let := func(v any) {
		t.Helper()
		if err := gorgonia.Let(x, v); err != nil {
			t.Fatal(err)
		}
	}
	let(first)
	p := compile(t, b, graph.NewCPU(1), 2)
	product := func(a *tensor.Dense) []float32 {
		c, err := a.MatMul(w)
		if err != nil {
			t.Fatal(err)
		}
		return c.Data().([]float32)
	}
	for _, v := range []*tensor.Dense{first, second} {
		let(v)
		if err := p.RunAll(); err != nil {
			t.Fatal(err)
		}
		if got := value(t, p, y); !sameBits(got, product(v)) {
			t.Errorf("%v, want %v", got, product(v))
		}
	}
	if !sameBits(first.Data().([]float32), kept) {
		t.Error("RunAll wrote to a value that was bound before")
	}
	w.Data().([]float32)[0]++ // an optimizer's step
	if err := p.RunAll(); err != nil || !sameBits(value(t, p, y), product(second)) {
		t.Error("the parameter's memory is not the plan's", err)
	}
	view := random(5, 2, 2)
	if err := view.T(); err != nil {
		t.Fatal(err)
	}
	let(view)
	if err := p.RunAll(); err != nil || !sameBits(value(t, p, y), product(view)) {
		t.Error("a transposed value is read wrong", err)
	}
	let(tensor.New(tensor.WithShape(2, 2), tensor.AsFortran([]float32{1, 2, 3, 4})))
	if err := p.RunAll(); err == nil || !strings.Contains(err.Error(), "graph: input x: a value of shape (2, 2) in column-major order") {
		t.Error(err)
	}
}

func TestRunAllocatesNothing(t *testing.T) {
	b := graph.NewBuilder()
	x := b.Input("x", tensor.Float32, 8, 3)
	y := b.Apply("square", newToy("square", "", 1, 0, square), x)
	y = b.Apply("sum", newRunningSum("a"), y)
	b.Apply("out", newSelect(), y)
	dev := graph.NewCPU(2)
	defer dev.Close()
	p := compile(t, b, dev, 8)
	s := sequence(t, p)
	if err := s.Reserve(2000); err != nil {
		t.Fatal(err)
	}
	batch := graph.NewBatch()
	run := func() {
		batch.Reset()
		batch.Add(s, 3)
		batch.Want(2)
		if err := p.Run(batch); err != nil {
			t.Fatal(err)
		}
	}
	run()
	if n := testing.AllocsPerRun(100, run); n != 0 {
		t.Errorf("%v allocations a run", n)
	}
	if err := p.RunAll(); err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() { _ = p.RunAll() }); n != 0 {
		t.Errorf("%v allocations a RunAll", n)
	}
}

func TestAPlanRunsOneBatchAtATime(t *testing.T) {
	b := graph.NewBuilder()
	x := b.Input("x", tensor.Float32, 1, 1)
	var p *graph.Plan
	var inner error
	b.Apply("y", newToy("nested", "", 1, 0, func([]float32, [][]float32) { inner = p.RunAll() }), x)
	p = compile(t, b, graph.NewCPU(1), 1)
	if err := p.Run(func() *graph.Batch { b := graph.NewBatch(); b.Add(sequence(t, p), 1); return b }()); err != nil {
		t.Fatal(err)
	}
	if inner == nil || !strings.Contains(inner.Error(), "running another batch") {
		t.Error(inner)
	}
}

// Gorgonia's operators read and write memory that kernels' values had before.
func TestForeignOperatorsOnSharedMemory(t *testing.T) {
	compareWithTape(t, 4, func(b *graph.Builder) (in, out gorgonia.Nodes) {
		x := b.Input("x", tensor.Float32, 4, 4)
		y := x
		for i := range 4 {
			y = b.Apply("square", newToy("square", fmt.Sprint(i), 1, 0, square), y)
			y = b.Try(gorgonia.Transpose(y, 1, 0))
			y = b.Try(gorgonia.Tanh(y))
			y = b.Apply("add", newToy("add", fmt.Sprint(i), 2, 0, add), y, b.Try(gorgonia.Slice(y, gorgonia.S(0, 4))))
			y = b.Try(gorgonia.Sub(y, b.Try(gorgonia.Reshape(b.Try(gorgonia.Reshape(y, tensor.Shape{2, 8})), tensor.Shape{4, 4}))))
			y = b.Try(gorgonia.Add(y, gorgonia.NewConstant(float32(i)+0.5)))
		}
		return gorgonia.Nodes{x}, gorgonia.Nodes{y}
	})
}

// An operator without inputs is no constant: it is computed at every run.
func TestRandomNodesAreComputed(t *testing.T) {
	b := graph.NewBuilder()
	y := b.Try(gorgonia.Tanh(gorgonia.UniformRandomNode(b.Graph(), tensor.Float32, 1, 2, 3, 3)))
	p := compile(t, b, graph.NewCPU(1), 3)
	var runs [2][]float32
	for i := range runs {
		if err := p.RunAll(); err != nil {
			t.Fatal(err)
		}
		runs[i] = slices.Clone(value(t, p, y))
	}
	if runs[0][0] == 0 || slices.Equal(runs[0], runs[1]) {
		t.Error(runs)
	}
}

func TestScalarInput(t *testing.T) {
	b := graph.NewBuilder()
	x, s := b.Input("x", tensor.Float32, 2, 2), b.Input("s", tensor.Float32)
	y := b.Try(gorgonia.HadamardProd(x, s))
	p := compile(t, b, graph.NewCPU(1), 2)
	copy(value(t, p, x), []float32{1, 2, 3, 4})
	value(t, p, s)[0] = 3
	if err := p.RunAll(); err != nil || !slices.Equal(value(t, p, y), []float32{3, 6, 9, 12}) {
		t.Error(err, value(t, p, y))
	}
}

func TestDoErrors(t *testing.T) {
	k := newToy("a", "", 1, 0, square)
	for name, in := range map[string][]gorgonia.Value{
		"nothing":     nil,
		"a scalar":    {gorgonia.NewF32(1)},
		"a bool":      {tensor.New(tensor.WithShape(2, 2), tensor.Of(tensor.Bool))},
		"a nil value": {nil},
		"three axes":  {random(1, 2, 2, 2)},
	} {
		if _, err := graph.Do(k, in...); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
