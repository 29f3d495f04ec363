package gptoss

import (
	"fmt"
	"strings"

	"github.com/seed-796a8800/tritium/graph"
	"github.com/seed-796a8800/tritium/ops"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// Weights gives a declaration its weights by canonical name (see names.go).
// What a projection is - bf16, MXFP4, ternary, observed, trainable - is the
// implementation's choice; the declaration cannot tell. A Checkpoint
// implements it; the quantizer wraps it.
type Weights interface {
	// Embedding is the token embedding [V, H].
	Embedding() ops.Matrix
	// Vector is a norm's weights or the sinks.
	Vector(name string) []float32
	// Linear is q, k, v, o, the router or the head, with its bias.
	Linear(name string) ops.Linear
	// ExpertLinear is gate_up or down of all experts of a layer, with biases.
	ExpertLinear(name string) ops.ExpertLinear
}

// Declare declares GPT-OSS: token ids in, logits out, for the rows of a batch
// that ask for them (graph.Batch.Outputs).
//
// Shapes: tokens [T] int32 -> [T, V].
// Source: openai/gpt-oss, gpt_oss/torch/model.py.
func Declare(b *graph.Builder, c Config, w Weights, tokens *gorgonia.Node) (logits *gorgonia.Node) {
	x := ops.Embedding(b, EmbeddingName, w.Embedding(), tokens)
	for layer := range c.Layers {
		x = DeclareLayer(b, c, w, layer, x)
	}
	return DeclareHead(b, c, w, x)
}

// DeclareHead declares what follows the last layer: logits of the residual
// stream, for the rows of a batch that ask for them.
//
// Shapes: x [T, H] -> [T, V].
func DeclareHead(b *graph.Builder, c Config, w Weights, x *gorgonia.Node) (logits *gorgonia.Node) {
	x = ops.RMSNorm(b, "model.norm", c.NormEpsilon, x, declareVector(b, w, FinalNormName, ""))
	x = ops.SelectOutputs(b, "outputs", x)
	return w.Linear(HeadName).Apply(b, x)
}

// DeclareLayer declares one layer of the residual stream: attention, then the
// mixture of experts, each added to what it read.
//
// Shapes: x [T, H] -> [T, H].
func DeclareLayer(b *graph.Builder, c Config, w Weights, layer int, x *gorgonia.Node) *gorgonia.Node {
	n, scope := LayerNames(layer), fmt.Sprintf("model.layers.%d", layer)
	b.Scope(scope, func() {
		h := ops.RMSNorm(b, "input_layernorm", c.NormEpsilon, x, declareVector(b, w, n.InputNorm, scope))
		b.Scope("self_attn", func() {
			q := w.Linear(n.Q).Apply(b, h)                            // [T, N·D]
			k := w.Linear(n.K).Apply(b, h)                            // [T, K·D]
			v := w.Linear(n.V).Apply(b, h)                            // [T, K·D]
			sinks := declareVector(b, w, n.Sinks, scope+".self_attn") // [N]
			q = ops.Rope(b, "q_rope", c.Rotary, q)                    //
			k = ops.Rope(b, "k_rope", c.Rotary, k)                    //
			h = attention(c, n, layer).Apply(b, q, k, v, sinks)       // [T, N·D]
			h = w.Linear(n.O).Apply(b, h)                             // [T, H]
		})
		x = ops.Residual(b, "attention_residual", x, h)

		h = ops.RMSNorm(b, "post_attention_layernorm", c.NormEpsilon, x, declareVector(b, w, n.PostNorm, scope))
		b.Scope("mlp", func() {
			r := w.Linear(n.Router).Apply(b, h)              // [T, E]
			r = ops.Router(b, "routing", c.ActiveExperts, r) // [T, E], zero but for A experts
			h = w.ExpertLinear(n.GateUp).Apply(b, h, r)      // [T, A, 2I]
			h = ops.SwiGLU(b, h, c.SwiGLULimit)              // [T, A, I]
			h = w.ExpertLinear(n.Down).Apply(b, h, r)        // [T, A, H]
			h = ops.Combine(b, h, r)                         // [T, H]
		})
		x = ops.Residual(b, "output", x, h)
	})
	return x
}

// declareVector declares a norm's weights under their canonical name, which
// starts with the open scope.
func declareVector(b *graph.Builder, w Weights, name, scope string) *gorgonia.Node {
	v := w.Vector(name)
	return b.Parameter(strings.TrimPrefix(name, scope+"."), tensor.New(tensor.WithShape(len(v)), tensor.WithBacking(v)))
}

func attention(c Config, n Names, layer int) ops.Attention {
	return ops.Attention{
		Name: n.Attention, Heads: c.Heads, KVHeads: c.KVHeads, HeadDim: c.HeadDim,
		Window: c.Windows[layer], Cache: c.Cache,
	}
}
