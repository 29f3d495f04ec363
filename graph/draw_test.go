package graph_test

import (



	"fmt"




	"strings"


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
