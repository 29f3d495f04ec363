package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// publishedConfig is config.json of openai/gpt-oss-20b (24 layers, 32 experts) and -120b (36, 128).
func publishedConfig(layers, experts int) string {
	kinds := make([]string, layers)
	for i := range kinds {
		kinds[i] = []string{`"sliding_attention"`, `"full_attention"`}[i%2]
	}
	return fmt.Sprintf(`{
  "architectures": ["GptOssForCausalLM"], "model_type": "gpt_oss", "num_hidden_layers": %d, "num_local_experts": %d,
  "num_experts_per_tok": 4, "experts_per_token": 4, "hidden_size": 2880, "intermediate_size": 2880,
  "num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 64, "attention_bias": true, "attention_dropout": 0.0,
  "hidden_act": "silu", "swiglu_limit": 7.0, "vocab_size": 201088, "tie_word_embeddings": false, "rms_norm_eps": 1e-05,
  "initializer_range": 0.02, "max_position_embeddings": 131072, "initial_context_length": 4096, "rope_theta": 150000,
  "rope_scaling": {"rope_type": "yarn", "factor": 32.0, "beta_fast": 32.0, "beta_slow": 1.0,
    "original_max_position_embeddings": 4096, "truncate": false},
  "sliding_window": 128, "layer_types": [%s], "router_aux_loss_coef": 0.9, "output_router_logits": false,
  "use_cache": true, "eos_token_id": 200002, "pad_token_id": 199999,
  "quantization_config": {"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn",
    "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"]},
  "transformers_version": "4.55.0.dev0"
}`, layers, experts, strings.Join(kinds, ", "))
}

// publishedIndex is the index of such a model.
func publishedIndex(layers int) map[string]any {
	names := []string{"model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"}
	for i := range layers {
		for _, name := range strings.Fields(`input_layernorm.weight post_attention_layernorm.weight self_attn.sinks
			self_attn.q_proj.weight self_attn.q_proj.bias self_attn.k_proj.weight self_attn.k_proj.bias
			self_attn.v_proj.weight self_attn.v_proj.bias self_attn.o_proj.weight self_attn.o_proj.bias
			mlp.router.weight mlp.router.bias
			mlp.experts.gate_up_proj_blocks mlp.experts.gate_up_proj_scales mlp.experts.gate_up_proj_bias
			mlp.experts.down_proj_blocks mlp.experts.down_proj_scales mlp.experts.down_proj_bias`) {
			names = append(names, fmt.Sprintf("model.layers.%d.%s", i, name))
		}
	}
	weights := map[string]string{}
	for i, name := range names {
		weights[name] = fmt.Sprintf("model-%05d-of-00002.safetensors", i*3/len(names))
	}
	return map[string]any{"metadata": map[string]any{"total_size": 1}, "weight_map": weights}
}

// writeIndex DIR 20b|120b: configuration and index of a published model, without weights.
func writeIndex(dir, size string) error {
	layers, experts := 24, 32
	if size == "120b" {
		layers, experts = 36, 128
	}
	index, err := json.Marshal(publishedIndex(layers))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, indexName), index, 0o666); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, configName), []byte(publishedConfig(layers, experts)), 0o666)
}

func writeIndexCommand(ts *testscript.TestScript, neg bool, args []string) {
	ts.Check(writeIndex(ts.MkAbs(args[0]), args[1]))
}

// TestInspectPublished: the parameters and bytes of the published models, to the last one, from configuration and index
// alone. The numbers were counted independently, from the published shapes; the totals are those of the model cards and
// of the published indexes.
func TestInspectPublished(t *testing.T) {
	for size, want := range map[string]struct {
		parameters, active, bytes int64
		tensors                   int
		kinds                     map[string]int64
	}{
		"20b": {20_914_757_184, 3_608_307_264, 13_761_264_768, 459, map[string]int64{
			"experts": 12_740_198_400 + 6_370_099_200, "attention": 637_009_920, "embedding": 579_133_440, "head": 579_133_440,
			"router": 24 * 32 * 2880, "biases": 6_635_520 + 24*8_000 + 24*32, "norms": 141_120, "sinks": 24 * 64}},
		"120b": {116_829_156_672, 5_132_849_472, 65_248_815_744, 687, map[string]int64{
			"experts": 76_441_190_400 + 38_220_595_200, "attention": 955_514_880, "embedding": 579_133_440, "head": 579_133_440,
			"router": 36 * 128 * 2880, "biases": 39_813_120 + 36*8_000 + 36*128, "norms": 210_240, "sinks": 36 * 64}},
	} {
		dir := t.TempDir()
		if err := writeIndex(dir, size); err != nil {
			t.Fatal(err)
		}
		var out, stderr bytes.Buffer
		if code := execute(t.Context(), []string{"inspect", dir, "--json"}, nil, &out, &stderr); code != exitOK {
			t.Fatalf("%s: exit code %d: %s", size, code, stderr.String())
		}
		var got inspection
		if err := json.Unmarshal(out.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		const row = 2880 // of the embedding, which the published count of active parameters leaves out
		if got.Parameters != want.parameters || got.Active != want.active+row || got.Bytes != want.bytes || len(got.Tensors) != want.tensors {
			t.Errorf("%s: %d parameters (%d active), %d bytes in %d tensors; want %d (%d), %d, %d", size,
				got.Parameters, got.Active, got.Bytes, len(got.Tensors), want.parameters, want.active+row, want.bytes, want.tensors)
		}
		for _, k := range got.Kinds {
			if k.Parameters != want.kinds[k.Kind] {
				t.Errorf("%s: %d parameters of %s, want %d", size, k.Parameters, k.Kind, want.kinds[k.Kind])
			}
		}
		if len(got.Kinds) != len(want.kinds) || len(got.Forecast) != len(recipes) {
			t.Errorf("%s: %d kinds and %d recipes", size, len(got.Kinds), len(got.Forecast))
		}
	}
}
