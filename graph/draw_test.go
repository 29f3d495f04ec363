package graph_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"

	"github.com/seed-796a8800/tritium/graph"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// weighty is a toy that is drawn as holding weights.
type weighty struct{ *toy }

func (w weighty) CanonicalName() string { return w.Attributes }

// declareTransformer declares a mixture-of-experts transformer of GPT-OSS'
// form, of toys.
func declareTransformer(b *graph.Builder, layers, rows int) {
	n := 0
	apply := func(name, kind string, width int, in ...*gorgonia.Node) *gorgonia.Node {
		n++
		t := newToy(kind, fmt.Sprint(name, n), len(in), width, nil)
		switch kind {
		case "embedding", "linear", "experts", "rmsnorm":
			return b.Apply(name, weighty{t}, in...)
		}
		return b.Apply(name, t, in...)
	}
	x := b.Input("tokens", tensor.Float32, rows, 1)
	x = apply("embed_tokens", "embedding", 2880, x)
	for l := range layers {
		b.Scope(fmt.Sprintf("model.layers.%d", l), func() {
			h := apply("input_layernorm", "rmsnorm", 2880, x)
			b.Scope("self_attn", func() {
				q := apply("q_rope", "rope", 4096, apply("q_proj", "linear", 4096, h))
				k := apply("k_rope", "rope", 512, apply("k_proj", "linear", 512, h))
				v := apply("v_proj", "linear", 512, h)
				h = apply("attention", "attention", 4096, q, k, v)
				h = apply("o_proj", "linear", 2880, h)
			})
			x = apply("attention_residual", "add", 2880, x, h)
			h = apply("post_attention_layernorm", "rmsnorm", 2880, x)
			b.Scope("mlp", func() {
				r := apply("router", "linear", 32, h)
				r = apply("routing", "router", 32, r)
				h = apply("gate_up", "experts", 5760, h, r)
				h = apply("swiglu", "swiglu", 2880, h)
				h = apply("down", "experts", 2880, h, r)
				h = apply("combine", "combine", 2880, h, r)
			})
			x = apply("output", "add", 2880, x, h)
		})
	}
	x = apply("norm", "rmsnorm", 2880, x)
	x = b.Apply("outputs", newSelect(), x)
	apply("lm_head", "linear", 201088, x)
}

// repeats collapses all layers but the first.
func repeats(layers int) func(string) (string, bool) {
	return func(scope string) (string, bool) {
		var l int
		if _, err := fmt.Sscanf(scope, "model.layers.%d", &l); err != nil || l == 0 || strings.Count(scope, ".") != 2 {
			return "", false
		}
		return fmt.Sprintf("layers 1 – %d, like layer 0", layers-1), true
	}
}

// drawings are the declarations that the drawing tests use.
func drawings(t *testing.T) map[string]func(b *graph.Builder) graph.DrawOptions {
	t.Helper()
	return map[string]func(b *graph.Builder) graph.DrawOptions{
		"transformer": func(b *graph.Builder) graph.DrawOptions {
			declareTransformer(b, 24, 64)
			return graph.DrawOptions{Title: "A mixture of <experts>", Rows: 64, Collapse: repeats(24)}
		},
		"three layers": func(b *graph.Builder) graph.DrawOptions {
			declareTransformer(b, 3, 64)
			return graph.DrawOptions{Rows: 64}
		},
		"gradients": func(b *graph.Builder) graph.DrawOptions {
			c := declareClassifier(b)
			c.differentiate(t)
			return graph.DrawOptions{Title: "A classifier"}
		},
		"one collapsed inside": func(b *graph.Builder) graph.DrawOptions {
			declareTransformer(b, 1, 64)
			return graph.DrawOptions{Collapse: func(s string) (string, bool) {
				return "attention", strings.HasSuffix(s, "self_attn")
			}}
		},
		"one input": func(b *graph.Builder) graph.DrawOptions {
			b.Input("x", tensor.Float32, 2)
			return graph.DrawOptions{}
		},
		"nothing": func(*graph.Builder) graph.DrawOptions { return graph.DrawOptions{} },
	}
}

func TestSVGIsWellFormedAndDeterministic(t *testing.T) {
	for name, declare := range drawings(t) {
		var first bytes.Buffer
		for i := range 3 {
			b := graph.NewBuilder()
			opt := declare(b)
			var out bytes.Buffer
			if err := graph.WriteSVG(&out, b, opt); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if i == 0 {
				first = out
			} else if !bytes.Equal(out.Bytes(), first.Bytes()) {
				t.Fatalf("%s: two drawings of one declaration differ", name)
			}
		}
		dec := xml.NewDecoder(&first)
		for {
			if _, err := dec.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
}

func overlap(a, b graph.Rect) bool {
	return a.X < b.X+b.W && b.X < a.X+a.W && a.Y < b.Y+b.H && b.Y < a.Y+a.H
}

func contains(a, b graph.Rect) bool {
	return a.X <= b.X && a.Y <= b.Y && b.X+b.W <= a.X+a.W && b.Y+b.H <= a.Y+a.H
}

func TestDrawingsDoNotOverlap(t *testing.T) {
	for name, declare := range drawings(t) {
		b := graph.NewBuilder()
		g, err := graph.Measure(b, declare(b))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		page := graph.Rect{W: g.W, H: g.H}
		for i, x := range g.Boxes {
			if graph.TextWidth(x.Text, 12) > x.W {
				t.Errorf("%s: %q does not fit its box", name, x.Text)
			}
			if !contains(page, x) {
				t.Errorf("%s: %q is off the page", name, x.Text)
			}
			for _, y := range g.Boxes[:i] {
				if overlap(x, y) {
					t.Errorf("%s: boxes %q and %q overlap", name, x.Text, y.Text)
				}
			}
			for _, l := range g.Labels {
				if overlap(x, l) {
					t.Errorf("%s: label %q is on box %q", name, l.Text, x.Text)
				}
			}
			for _, f := range g.Frames {
				if overlap(x, f) && !contains(f, x) {
					t.Errorf("%s: box %q is half in frame %q", name, x.Text, f.Text)
				}
			}
		}
		for i, x := range g.Labels {
			for _, y := range g.Labels[:i] {
				if overlap(x, y) {
					t.Errorf("%s: labels %q and %q overlap", name, x.Text, y.Text)
				}
			}
		}
		for i, x := range g.Frames {
			title := graph.Rect{X: x.X + 12, Y: x.Y + 5, W: graph.TextWidth(x.Text, 12), H: 14, Text: x.Text}
			for _, y := range g.Frames[:i] {
				if overlap(x, y) && !contains(x, y) && !contains(y, x) {
					t.Errorf("%s: frames %q and %q overlap in part", name, x.Text, y.Text)
				}
			}
			for _, e := range g.Edges {
				if e.FromPort && e.Y0 == x.Y && e.X0 > title.X && e.X0 < title.X+title.W {
					t.Errorf("%s: an edge enters %q through its title", name, x.Text)
				}
			}
		}
	}
}

func TestEveryEdgeEndsAtItsBoxes(t *testing.T) {
	for name, declare := range drawings(t) {
		b := graph.NewBuilder()
		g, err := graph.Measure(b, declare(b))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		on := func(title string, x, y float64, lower bool) bool {
			for _, r := range g.Boxes {
				edge := r.Y
				if lower {
					edge += r.H
				}
				if r.Text == title && r.X <= x && x <= r.X+r.W && math.Abs(y-edge) < 1e-9 {
					return true
				}
			}
			return false
		}
		onFrame := func(x, y float64) bool {
			for _, r := range g.Frames {
				if r.X <= x && x <= r.X+r.W && (y == r.Y || y == r.Y+r.H) {
					return true
				}
			}
			return false
		}
		for _, e := range g.Edges {
			if !e.FromPort && !on(e.FromTitle, e.X0, e.Y0, true) || e.FromPort && !onFrame(e.X0, e.Y0) {
				t.Errorf("%s: the edge from %q starts nowhere", name, e.FromTitle)
			}
			if !e.ToPort && !on(e.ToTitle, e.X1, e.Y1, false) || e.ToPort && !onFrame(e.X1, e.Y1) {
				t.Errorf("%s: the edge to %q ends nowhere", name, e.ToTitle)
			}
			if e.Y1 < e.Y0 {
				t.Errorf("%s: an edge from %q to %q goes up", name, e.FromTitle, e.ToTitle)
			}
		}
	}
}

func TestDrawingShowsWhatWasDeclared(t *testing.T) {
	b := graph.NewBuilder()
	declareTransformer(b, 24, 64)
	opt := graph.DrawOptions{Rows: 64, Collapse: repeats(24), Title: "T1"}
	for _, write := range []func(io.Writer, *graph.Builder, graph.DrawOptions) error{graph.WriteSVG, graph.WriteDOT} {
		var out bytes.Buffer
		if err := write(&out, b, opt); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"layers 1 – 23, like layer 0", "model.layers.0", "self_attn", "q_proj", "[T, 2880]", "T1", "#fef3c7", "#dbeafe"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%q is missing", want)
			}
		}
		for text, want := range map[string]int{"model.layers.1": 0, "layers 1 – 23": 1, "q_proj": 1, "[64": 0} {
			if got := strings.Count(out.String(), text); got != want {
				t.Errorf("%q is there %d times, want %d", text, got, want)
			}
		}
	}
}

func TestDrawingErrors(t *testing.T) {
	b := graph.NewBuilder()
	declareTransformer(b, 3, 64)
	around := func(s string) (string, bool) { return "ends", s == "model.layers.0" || s == "model.layers.2" }
	if err := graph.WriteSVG(io.Discard, b, graph.DrawOptions{Collapse: around}); err == nil || !strings.Contains(err.Error(), "circle") {
		t.Errorf("collapsing layers 0 and 2 around layer 1: %v", err)
	}
	other := graph.NewBuilder().Input("x", tensor.Float32, 1)
	if err := graph.WriteDOT(io.Discard, b, graph.DrawOptions{Outputs: []*gorgonia.Node{other}}); err == nil {
		t.Error("an output of another graph is drawn")
	}
	b.Fail(errors.New("no weights"))
	if err := graph.WriteSVG(io.Discard, b, graph.DrawOptions{}); err == nil || !strings.Contains(err.Error(), "no weights") {
		t.Errorf("a failed declaration: %v", err)
	}
}

func TestDrawingOutputsPrunes(t *testing.T) {
	b := graph.NewBuilder()
	x := b.Input("x", tensor.Float32, 4, 3)
	y := b.Apply("wanted", newToy("a", "", 1, 0, nil), x)
	b.Apply("unwanted", newToy("b", "", 1, 0, nil), x)
	var out bytes.Buffer
	if err := graph.WriteSVG(&out, b, graph.DrawOptions{Outputs: []*gorgonia.Node{y}}); err != nil {
		t.Fatal(err)
	}
	if s := out.String(); !strings.Contains(s, ">wanted<") || strings.Contains(s, "unwanted") {
		t.Error(s)
	}
}
