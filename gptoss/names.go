package gptoss

import "fmt"

// Canonical names are Transformers' names without ".weight". Everything that
// is known of a tensor - its projection, its statistics, its fit, its packed
// form - goes by its canonical name.
const (
	EmbeddingName = "model.embed_tokens"
	HeadName      = "lm_head"
	FinalNormName = "model.norm.weight"
)

// Names are the canonical names of one layer.
type Names struct {
	InputNorm, PostNorm string // norm weights
	Attention, Sinks    string
	Q, K, V, O          string // attention projections
	Router              string
	GateUp, Down        string // expert projections
}

// LayerNames returns the canonical names of a layer.
func LayerNames(layer int) Names {
	p := fmt.Sprintf("model.layers.%d.", layer)
	a, m := p+"self_attn.", p+"mlp."
	return Names{
		InputNorm: p + "input_layernorm.weight", PostNorm: p + "post_attention_layernorm.weight",
		Attention: a + "attention", Sinks: a + "sinks",
		Q: a + "q_proj", K: a + "k_proj", V: a + "v_proj", O: a + "o_proj",
		Router: m + "router",
		GateUp: m + "experts.gate_up_proj", Down: m + "experts.down_proj",
	}
}
