package gptoss

import (
	"fmt"
	"regexp"
	"strconv"

	"github.com/seed-796a8800/tritium/internal/safetensors"
)

var originalBlock = regexp.MustCompile(`^block\.(0|[1-9]\d{0,3})\.(.+)$`)

// originalNames maps what follows "block.N." in OpenAI's own checkpoints to
// what follows "model.layers.N." in Transformers'.
var originalNames = map[string]string{
	"attn.norm.scale":        "input_layernorm.weight",
	"attn.sinks":             "self_attn.sinks",
	"attn.out.weight":        "self_attn.o_proj.weight",
	"attn.out.bias":          "self_attn.o_proj.bias",
	"mlp.norm.scale":         "post_attention_layernorm.weight",
	"mlp.gate.weight":        "mlp.router.weight",
	"mlp.gate.bias":          "mlp.router.bias",
	"mlp.mlp1_weight.blocks": "mlp.experts.gate_up_proj_blocks",
	"mlp.mlp1_weight.scales": "mlp.experts.gate_up_proj_scales",
	"mlp.mlp1_bias":          "mlp.experts.gate_up_proj_bias",
	"mlp.mlp2_weight.blocks": "mlp.experts.down_proj_blocks",
	"mlp.mlp2_weight.scales": "mlp.experts.down_proj_scales",
	"mlp.mlp2_bias":          "mlp.experts.down_proj_bias",
}

// renameOriginal gives the tensors of an original/ checkpoint Transformers'
// names and splits its joint qkv projections. The data stays where it is.
func renameOriginal(c Config, tensors map[string]safetensors.Tensor) error {
	renamed := map[string]safetensors.Tensor{}
	put := func(name string, t safetensors.Tensor) {
		t.Name = name
		renamed[name] = t
	}
	q, kv := c.Heads*c.HeadDim, c.KVHeads*c.HeadDim
	for name, t := range tensors {
		switch name {
		case "embedding.weight":
			put(EmbeddingName+".weight", t)
			continue
		case "unembedding.weight":
			put(HeadName+".weight", t)
			continue
		case "norm.scale":
			put(FinalNormName, t)
			continue
		}
		m := originalBlock.FindStringSubmatch(name)
		if m == nil {
			continue // not a name of GPT-OSS; check reports what is missing
		}
		layer, _ := strconv.Atoi(m[1])
		prefix := fmt.Sprintf("model.layers.%d.", layer)
		if to, ok := originalNames[m[2]]; ok {
			put(prefix+to, t)
			continue
		}
		if m[2] != "attn.qkv.weight" && m[2] != "attn.qkv.bias" {
			continue
		}
		if len(t.Shape) == 0 || t.Shape[0] != q+2*kv {
			return fmt.Errorf("%s: tensor %q has shape %v, want %d rows of q, k and v", t.File, name, t.Shape, q+2*kv)
		}
		kind := m[2][len("attn.qkv"):]
		rowBytes := len(t.Data) / t.Shape[0]
		row := 0
		for _, part := range []struct {
			name string
			rows int
		}{{"q_proj", q}, {"k_proj", kv}, {"v_proj", kv}} {
			p := t
			p.Shape = append([]int{part.rows}, t.Shape[1:]...)
			p.Data = t.Data[row*rowBytes : (row+part.rows)*rowBytes]
			put(prefix+"self_attn."+part.name+kind, p)
			row += part.rows
		}
	}
	clear(tensors)
	for name, t := range renamed {
		tensors[name] = t
	}
	return nil
}
