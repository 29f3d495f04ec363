package graph_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/seed-796a8800/tritium/graph"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// Every declaration that cannot work is refused at the latest by Compile, with
// the name of what is wrong.
func TestDeclarationErrors(t *testing.T) {
	x := func(b *graph.Builder) *gorgonia.Node { return b.Input("x", tensor.Float32, 4, 3) }
	for name, c := range map[string]struct {
		declare func(b *graph.Builder)
		want    string
	}{
		"sticks with its scope": {func(b *graph.Builder) {
			b.Scope("model.layers.0", func() {
				b.Scope("mlp", func() { b.Fail(errors.New("no\n  weights")) })
				b.Fail(errors.New("second"))
			})
			b.Apply("y", newToy("a", "", 1, 0, nil), x(b))
		}, "graph: model.layers.0.mlp: no weights"},
		"wrong arity": {func(b *graph.Builder) {
			b.Scope("s", func() { b.Apply("y", newToy("a", "", 2, 0, nil), x(b)) })
		}, "graph: s: y: "},
		"shapes": {func(b *graph.Builder) {
			b.Apply("y", newToy("a", "", 2, 0, nil), x(b), b.Input("z", tensor.Float32, 5, 3))
		}, "graph: y: Failed to infer shape"},
		"nil input":        {func(b *graph.Builder) { b.Apply("y", newToy("a", "", 1, 0, nil), nil) }, "graph: y: input 0 is nil"},
		"nil node":         {func(b *graph.Builder) { b.Try(nil, nil) }, "a nil node"},
		"an error to Try":  {func(b *graph.Builder) { b.Try(gorgonia.Mul(x(b), x2(b))) }, "Inner dimensions do not match"},
		"input twice":      {func(b *graph.Builder) { x(b); x(b) }, "graph: x: declared twice"},
		"parameter, input": {func(b *graph.Builder) { x(b); b.Parameter("x", random(1, 4, 3)) }, "graph: x: declared twice"},
		"no axis size":     {func(b *graph.Builder) { b.Input("x", tensor.Float32, 4, 0) }, "graph: x: an input of shape [4 0]"},
		"no value":         {func(b *graph.Builder) { b.Parameter("w", nil) }, "graph: w: a parameter without"},
		"a view": {func(b *graph.Builder) {
			w := random(1, 2, 3)
			if err := w.T(); err != nil {
				t.Fatal(err)
			}
			b.Parameter("w", w)
		}, "graph: w: a parameter of shape (3, 2) that is"},
		"nothing": {func(*graph.Builder) {}, "graph: nothing is declared"},
		"a statement": {func(b *graph.Builder) {
			var v gorgonia.Value
			gorgonia.Read(b.Apply("y", newToy("a", "", 1, 0, nil), x(b)), &v)
		}, "is a statement; read results with Plan.Value"},
		"a type": {func(b *graph.Builder) { b.Scope("s", func() { b.Input("x", tensor.Int64, 3) }) }, "graph: s.x: graph: cpu: no buffers of type int64"},
		"a kernel": {func(b *graph.Builder) {
			b.Scope("s", func() { b.Apply("y", unready{newToy("a", "", 1, 0, nil)}, x(b)) })
		}, "graph: s.y: not for you"},
	} {
		b := graph.NewBuilder()
		c.declare(b)
		_, err := b.Compile(graph.NewCPU(1), 4)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
}

func x2(b *graph.Builder) *gorgonia.Node { return b.Input("x2", tensor.Float32, 7, 2) }

// unready refuses to be prepared.
type unready struct{ *toy }

func (unready) Prepare(*graph.Args) (graph.Step, error) { return nil, errors.New("not for you") }

func TestCompileErrors(t *testing.T) {
	b := graph.NewBuilder()
	b.Input("x", tensor.Float32, 4, 3)
	other := graph.NewBuilder().Input("z", tensor.Float32, 1)
	for name, compile := range map[string]func() (*graph.Plan, error){
		"no rows":       func() (*graph.Plan, error) { return b.Compile(graph.NewCPU(1), 0) },
		"another graph": func() (*graph.Plan, error) { return b.Compile(graph.NewCPU(1), 1, graph.WithOutputs(other)) },
		"nil output":    func() (*graph.Plan, error) { return b.Compile(graph.NewCPU(1), 1, graph.WithOutputs(nil)) },
	} {
		if _, err := compile(); err == nil || !strings.HasPrefix(err.Error(), "graph: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// collidingInputs declares two inputs that hash alike. The names were found by
// trying: gorgonia takes the 32-bit FNV-1a hash of type, shape and name.
func collidingInputs(t *testing.T, b *graph.Builder) (one, two *gorgonia.Node) {
	t.Helper()
	one, two = b.Input("x129599", tensor.Float32, 4, 3), b.Input("x732382", tensor.Float32, 4, 3)
	if one == two || one.Hashcode() != two.Hashcode() {
		t.Fatal("the inputs do not collide")
	}
	return one, two
}

func TestHashCollision(t *testing.T) {
	b := graph.NewBuilder()
	one, two := collidingInputs(t, b)
	b.Apply("first", newToy("a", "", 1, 0, nil), one)
	b.Apply("second", newToy("a", "", 1, 0, nil), two)
	if _, err := b.Compile(graph.NewCPU(1), 4); err == nil || !strings.Contains(err.Error(), "second") || !strings.Contains(err.Error(), "same hash") {
		t.Errorf("colliding operators: %v", err)
	}
	b = graph.NewBuilder()
	collidingInputs(t, b)
	if _, err := b.Compile(graph.NewCPU(1), 4); err == nil || !strings.Contains(err.Error(), "have the same hash") {
		t.Errorf("colliding inputs: %v", err)
	}
}

func TestIdenticalNodesAreOne(t *testing.T) {
	b := graph.NewBuilder()
	x := b.Input("x", tensor.Float32, 4, 3)
	one := b.Apply("one", newToy("a", "w", 1, 0, nil), x)
	if two := b.Apply("two", newToy("a", "w", 1, 0, nil), x); two != one || b.Name(two) != "one" {
		t.Error("two nodes of one operator on one input")
	}
	if three := b.Apply("three", newToy("a", "other", 1, 0, nil), x); three == one {
		t.Error("one node of two operators")
	}
	if b.Err() != nil {
		t.Error(b.Err())
	}
}

func TestNames(t *testing.T) {
	b := graph.NewBuilder()
	x := b.Input("x", tensor.Float32, 4, 3)
	var y, z, w *gorgonia.Node
	b.Scope("model.layers.0", func() {
		y = b.Apply("norm", newToy("a", "", 1, 0, nil), x)
		b.Scope("mlp", func() {
			z = b.Try(gorgonia.Tanh(y))
			w = b.Parameter("w", random(1, 2, 2))
		})
	})
	v := b.Try(gorgonia.Exp(z))
	for n, want := range map[*gorgonia.Node]string{x: "x", y: "model.layers.0.norm", w: "model.layers.0.mlp.w"} {
		if b.Name(n) != want {
			t.Errorf("%s, want %s", b.Name(n), want)
		}
	}
	if got := b.Name(z); !strings.HasPrefix(got, "model.layers.0.mlp.tanh(") {
		t.Error(got)
	}
	if got := b.Name(v); !strings.HasPrefix(got, "exp(") {
		t.Error(got)
	}
}

// The caller keeps the slice it passed inputs in.
func TestApplyCopiesItsInputs(t *testing.T) {
	b := graph.NewBuilder()
	x, y := b.Input("x", tensor.Float32, 4, 3), b.Input("y", tensor.Float32, 4, 3)
	in := []*gorgonia.Node{x, x}
	z := b.Apply("z", newToy("first", "", 2, 0, func(dst []float32, in [][]float32) { copy(dst, in[0]) }), in...)
	in[0] = y
	p := compile(t, b, graph.NewCPU(1), 4)
	copy(value(t, p, x), []float32{1})
	if err := p.RunAll(); err != nil || value(t, p, z)[0] != 1 {
		t.Error(err, value(t, p, z))
	}
}

// TestGradNamesTheObstacle: an operator without derivatives is an error with
// its name, where gorgonia would panic.
func TestGradNamesTheObstacle(t *testing.T) {
	b := graph.NewBuilder()
	x := b.Input("x", tensor.Float32, 2, 3)
	y := b.Apply("copied", newToy("copy", "", 1, 0, func(dst []float32, in [][]float32) { copy(dst, in[0]) }), x)
	loss := b.Try(gorgonia.Sum(y))
	b.Grad(loss, x)
	if err := b.Err(); err == nil || !strings.Contains(err.Error(), "copied: copy cannot be differentiated") {
		t.Errorf("error %v", err)
	}
}
