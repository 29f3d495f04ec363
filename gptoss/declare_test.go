package gptoss

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/seed-796a8800/tritium/graph"
	"github.com/seed-796a8800/tritium/internal/reference"
)

// The plan computes what gorgonia's own machine computes on the declared graph,
// bit for bit.
func TestPlanIsTapeMachine(t *testing.T) {
	shapes := reference.Named()
	q := quantize(t, writeShape(t, shapes["full-first"]), withInt8)
	for _, s := range []subject{
		{"nano", openNano(t)}, {"full-first", open(t, writeShape(t, shapes["full-first"]))},
		{"top-3-of-5", open(t, writeShape(t, shapes["top-3-of-5"]))}, {"ternary", open(t, q.dir)},
	} {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			ids := tokens(24, s.Config().Vocab)
			want := alone(t, compile(t, s.Config(), s, newCPU(t, 2), len(ids)), ids, len(ids))

			b := graph.NewBuilder()
			in := b.Input("tokens", tensor.Int32, len(ids))
			logits := Declare(b, s.Config(), s, in)
			if b.Err() != nil {
				t.Fatal(b.Err())
			}
			if err := gorgonia.Let(in, tensor.New(tensor.WithShape(len(ids)), tensor.WithBacking(ids))); err != nil {
				t.Fatal(err)
			}
			tape := gorgonia.NewTapeMachine(b.Graph())
			defer tape.Close()
			if err := tape.RunAll(); err != nil {
				t.Fatal(err)
			}
			if err := sameBits(logits.Value().Data().([]float32), want); err != nil {
				t.Errorf("tape machine: %v", err)
			}
			plan, err := b.Compile(newCPU(t, 1), len(ids))
			if err != nil {
				t.Fatal(err)
			}
			var vm gorgonia.VM = plan
			if err := vm.RunAll(); err != nil {
				t.Fatal(err)
			}
			out, err := plan.Value(logits)
			if err != nil {
				t.Fatal(err)
			}
			if err := sameBits(out.Float32s(), want); err != nil {
				t.Errorf("Plan.RunAll: %v", err)
			}
		})
	}
}

// outline describes every node of a declaration by name: its shape, the names
// of its inputs, and its operator.
func outline(b *graph.Builder) (edges, operators map[string]string) {
	edges, operators = map[string]string{}, map[string]string{}
	for _, n := range b.Graph().AllNodes() {
		name := b.Name(n)
		var inputs []string
		for it := b.Graph().From(n.ID()); it.Next(); {
			inputs = append(inputs, b.Name(it.Node().(*gorgonia.Node)))
		}
		edges[name] = fmt.Sprintf("%v of %v <- %s", n.Shape(), n.Dtype(), strings.Join(inputs, ", "))
		if n.Op() != nil {
			var hash strings.Builder
			n.Op().WriteHash(&hashWriter{&hash})
			operators[name] = hash.String()
		}
	}
	return edges, operators
}

// hashWriter is a hash that keeps what it was told.
type hashWriter struct{ *strings.Builder }

func (hashWriter) Sum(b []byte) []byte { return b }
func (hashWriter) Reset()              {}
func (hashWriter) Size() int           { return 0 }
func (hashWriter) BlockSize() int      { return 1 }

// The graph that is calibrated is the graph that serves: with other weights,
// only the operators of the projections change.
func TestDeclarationsAgree(t *testing.T) {
	t.Parallel()
	dir := writeShape(t, reference.Named()["full-first"])
	dense := open(t, dir)
	declare := func(w *Checkpoint) (edges, operators map[string]string) {
		b := graph.NewBuilder()
		Declare(b, w.Config(), w, b.Input("tokens", tensor.Int32, 16))
		if b.Err() != nil {
			t.Fatal(b.Err())
		}
		return outline(b)
	}
	edges, operators := declare(dense)
	if want := 1 + 1 + 17*3 + 3; len(edges) != want {
		t.Errorf("%d nodes, want %d", len(edges), want)
	}
	changing := map[string]bool{}
	for _, p := range dense.config.ProjectionList() {
		if p.Quantizable {
			changing[strings.Replace(p.Name, ".experts.", ".", 1)] = true
		}
	}
	for name, w := range map[string]*Checkpoint{
		"ternary":          open(t, quantize(t, dir, twoBits).dir),
		"ternary and int8": open(t, quantize(t, dir, withInt8).dir),
		"ternary1.6":       open(t, quantize(t, dir, fives).dir),
		"int8 activations": open(t, dir, WithInt8Activations()),
	} {
		otherEdges, otherOperators := declare(w)
		if !maps.Equal(edges, otherEdges) {
			for _, n := range slices.Sorted(maps.Keys(edges)) {
				if edges[n] != otherEdges[n] {
					t.Errorf("%s: node %s is %q, dense %q", name, n, otherEdges[n], edges[n])
				}
			}
		}
		for n, op := range operators {
			stored := n == EmbeddingName || n == HeadName // other storage, the same operator
			if same := op == otherOperators[n]; same == changing[n] && !stored {
				t.Errorf("%s: operator of %s: %q, dense %q", name, n, otherOperators[n], op)
			}
		}
	}
}

// What is declared wrongly comes out of Compile as one line that names the node.
func TestDeclareErrors(t *testing.T) {
	t.Parallel()
	dir := writeShape(t, reference.Named()["default"])
	for name, tc := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"window":        {func(c *Config) { c.Windows[1] = -1 }, "model.layers.1.self_attn"},
		"heads":         {func(c *Config) { c.Heads = 3 }, "model.layers.0.self_attn"},
		"experts":       {func(c *Config) { c.ActiveExperts = 9 }, "model.layers.0.mlp"},
		"rotary":        {func(c *Config) { c.Rotary.InvFreq = nil }, "model.layers.0.self_attn: q_rope"},
		"swiglu":        {func(c *Config) { c.SwiGLULimit = 0 }, "model.layers.0.mlp"},
		"hidden of one": {func(c *Config) { c.HeadDim = 32 }, "model.layers.0.self_attn"},
	} {
		c := open(t, dir)
		config := c.Config()
		tc.change(&config)
		_, err := Compile(config, c, newCPU(t, 1), 4)
		oneLine(t, name, err, tc.want)
	}
	c := open(t, dir)
	if _, err := Compile(c.Config(), c, newCPU(t, 1), 0); err == nil {
		t.Error("compiled for 0 rows")
	}
}

// oneLine checks an error: there, on one line, with these words.
func oneLine(t *testing.T, name string, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("%s: no error, want one with %q", name, words)
		return
	}
	for _, w := range append(words, ": ") {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%s: error %q lacks %q", name, err, w)
		}
	}
	if strings.ContainsAny(err.Error(), "\n\t") {
		t.Errorf("%s: error %q is not one line", name, err)
	}
}
