package reference

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// Naming is the way in which a checkpoint names and stores its tensors.
type Naming int

const (
	HF            Naming = iota // Hugging Face's names, MXFP4 experts
	HFDequantized               // Hugging Face's names, bf16 experts stored [E, in, out]
	Original                    // OpenAI's names (the repository's original/ folder), q, k and v in one matrix
)

// Shape is the architecture of a random checkpoint and the way it is written.
//
// A zero field means: 2 layers, or as many as LayerTypes has, of hidden size 96, 4 heads of 64 over 2 kv heads, 2 of 8 experts of size 96, 256 tokens,
// a window of 128, and gpt-oss-20b's limit and rotary embedding; one file under Hugging Face's names.
type Shape struct {
	Layers, Hidden, Heads, KVHeads, HeadDim int // Hidden and Intermediate are multiples of 32
	Experts, TopK, Intermediate             int
	Vocab, Window                           int
	SwigluLimit                             float64

	FullFirst  bool     // layer types alternate starting with full attention, not sliding
	LayerTypes []string // instead of alternating layer types

	RopeTheta, RopeFactor, RopeOriginalContext float64
	RopeParameters                             bool // write rope_parameters instead of rope_theta and rope_scaling

	Naming Naming
	Shards int // number of safetensors files to aim at

	firstSpecial int // id of <|startoftext|>; 0: the special tokens are the last of the vocabulary
}

// Named is the set of shapes that everything which reads a checkpoint must handle, by what is special about each; no
// field of theirs is left to a default.
func Named() map[string]Shape {
	with := func(change func(*Shape)) Shape {
		var s Shape
		change(&s)
		return s.withDefaults()
	}
	return map[string]Shape{
		"default":            with(func(*Shape) {}),
		"one-kv-head":        with(func(s *Shape) { s.Heads, s.KVHeads = 6, 1 }),
		"kv-head-per-head":   with(func(s *Shape) { s.Heads, s.KVHeads = 6, 6 }),
		"head-32":            with(func(s *Shape) { s.HeadDim = 32 }),
		"top-3-of-5":         with(func(s *Shape) { s.Experts, s.TopK = 5, 3 }),
		"wide-intermediate":  with(func(s *Shape) { s.Hidden, s.Intermediate = 96, 160 }),
		"narrow-experts":     with(func(s *Shape) { s.Hidden, s.Intermediate = 160, 32 }),
		"window-16":          with(func(s *Shape) { s.Window = 16 }),
		"swiglu-limit-5":     with(func(s *Shape) { s.SwigluLimit = 5 }),
		"two-shards":         with(func(s *Shape) { s.Shards = 2 }),
		"full-first":         with(func(s *Shape) { s.Layers, s.FullFirst, s.Window = 3, true, 8 }),
		"uneven-layer-types": with(func(s *Shape) { s.LayerTypes = []string{fullAttention, fullAttention, slidingAttention} }),
		"rope-parameters":    with(func(s *Shape) { s.RopeParameters = true }),
		"short-rope":         with(func(s *Shape) { s.RopeTheta, s.RopeFactor, s.RopeOriginalContext = 10000, 8, 1024 }),
		"original":           with(func(s *Shape) { s.Naming = Original }),
		"dequantized":        with(func(s *Shape) { s.Naming = HFDequantized }),
		"router-128":         with(func(s *Shape) { s.Hidden, s.Intermediate, s.Experts, s.TopK = 64, 32, 128, 4 }),
	}
}

// withDefaults fills the zero fields.
func (s Shape) withDefaults() Shape {
	fill := func(field *int, value int) {
		if *field == 0 {
			*field = value
		}
	}
	fill(&s.Layers, len(s.LayerTypes))
	fill(&s.Layers, 2)
	fill(&s.Hidden, 96)
	fill(&s.Heads, 4)
	fill(&s.KVHeads, 2)
	fill(&s.HeadDim, 64)
	fill(&s.Experts, 8)
	fill(&s.TopK, 2)
	fill(&s.Intermediate, 96)
	fill(&s.Vocab, 256)
	fill(&s.Window, 128)
	fill(&s.Shards, 1)
	for _, f := range []struct {
		field *float64
		value float64
	}{{&s.SwigluLimit, 7}, {&s.RopeTheta, 150000}, {&s.RopeFactor, 32}, {&s.RopeOriginalContext, 4096}} {
		if *f.field == 0 {
			*f.field = f.value
		}
	}
	if s.LayerTypes == nil {
		for i := range s.Layers {
			kind := slidingAttention
			if (i%2 == 0) == s.FullFirst {
				kind = fullAttention
			}
			s.LayerTypes = append(s.LayerTypes, kind)
		}
	}
	return s
}

// check refuses shapes that cannot be written.
func (s Shape) check() error {
	c := Config{
		Layers: s.Layers, Hidden: s.Hidden, Heads: s.Heads, KVHeads: s.KVHeads, HeadDim: s.HeadDim,
		Experts: s.Experts, TopK: s.TopK, Intermediate: s.Intermediate, Vocab: s.Vocab, Window: s.Window,
		SwigluLimit: s.SwigluLimit, NormEpsilon: normEpsilon, Rope: Rope{Theta: s.RopeTheta},
	}
	if err := c.check(); err != nil {
		return err
	}
	sliding, err := slidingLayers(s.LayerTypes, s.Layers)
	switch {
	case err != nil:
		return err
	case s.Hidden%32 != 0 || s.Intermediate%32 != 0:
		return fmt.Errorf("hidden %d and intermediate %d must be multiples of MXFP4's 32", s.Hidden, s.Intermediate)
	case s.Vocab < specialTokens:
		return fmt.Errorf("a vocabulary of %d has no room for harmony's %d special tokens", s.Vocab, specialTokens)
	case s.Shards < 1:
		return fmt.Errorf("%d shards", s.Shards)
	}
	for i, slides := range sliding {
		if s.Naming == Original && slides != (i%2 == 0) {
			return fmt.Errorf("layer %d: OpenAI's config.json cannot say that layer types do not alternate from sliding", i)
		}
	}
	return nil
}

const (
	normEpsilon   = 1e-5
	specialTokens = 21 // harmony's, in the order of gpt-oss' 199998..200018
)

// writeConfig writes config.json and, with Hugging Face's names, generation_config.json.
func (s Shape) writeConfig(dir string) error {
	if s.firstSpecial == 0 {
		s.firstSpecial = s.Vocab - specialTokens
	}
	if s.Naming == Original {
		return writeJSON(filepath.Join(dir, "config.json"), s.originalConfig())
	}
	if err := writeJSON(filepath.Join(dir, "config.json"), s.huggingFaceConfig()); err != nil {
		return err
	}
	return writeJSON(filepath.Join(dir, "generation_config.json"), map[string]any{
		"bos_token_id": s.firstSpecial, "do_sample": true,
		"eos_token_id": []int{s.firstSpecial + 4, s.firstSpecial + 1, s.firstSpecial + 14},
		"pad_token_id": s.firstSpecial + 1,
	})
}

func (s Shape) originalConfig() map[string]any {
	return map[string]any{
		"num_hidden_layers": s.Layers, "num_experts": s.Experts, "experts_per_token": s.TopK,
		"vocab_size": s.Vocab, "hidden_size": s.Hidden, "intermediate_size": s.Intermediate,
		"swiglu_limit": s.SwigluLimit, "head_dim": s.HeadDim,
		"num_attention_heads": s.Heads, "num_key_value_heads": s.KVHeads, "sliding_window": s.Window,
		"initial_context_length": s.RopeOriginalContext, "rope_theta": s.RopeTheta,
		"rope_scaling_factor": s.RopeFactor, "rope_ntk_alpha": 1, "rope_ntk_beta": 32,
	}
}

func (s Shape) huggingFaceConfig() map[string]any {
	config := map[string]any{
		"architectures": []string{"GptOssForCausalLM"}, "model_type": "gpt_oss",
		"num_hidden_layers": s.Layers, "num_local_experts": s.Experts,
		"num_experts_per_tok": s.TopK, "experts_per_token": s.TopK,
		"hidden_size": s.Hidden, "intermediate_size": s.Intermediate,
		"num_attention_heads": s.Heads, "num_key_value_heads": s.KVHeads, "head_dim": s.HeadDim,
		"attention_bias": true, "attention_dropout": 0.0, "hidden_act": "silu", "swiglu_limit": s.SwigluLimit,
		"vocab_size": s.Vocab, "tie_word_embeddings": false, "rms_norm_eps": normEpsilon, "initializer_range": 0.02,
		"max_position_embeddings": s.RopeOriginalContext * s.RopeFactor,
		"initial_context_length":  s.RopeOriginalContext,
		"sliding_window":          s.Window, "layer_types": s.LayerTypes,
		"router_aux_loss_coef": 0.9, "output_router_logits": false, "use_cache": true,
		"eos_token_id": s.firstSpecial + 4, "pad_token_id": s.firstSpecial + 1,
	}
	rope := map[string]any{
		"rope_type": "yarn", "factor": s.RopeFactor, "beta_fast": 32.0, "beta_slow": 1.0,
		"original_max_position_embeddings": s.RopeOriginalContext, "truncate": false,
	}
	if s.RopeParameters {
		rope["rope_theta"] = s.RopeTheta
		config["rope_parameters"] = rope
	} else {
		config["rope_theta"] = s.RopeTheta
		config["rope_scaling"] = rope
	}
	if s.Naming == HF {
		config["quantization_config"] = map[string]any{
			"quant_method": "mxfp4",
			"modules_to_not_convert": []string{
				"model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head",
			},
		}
	}
	return config
}

func writeJSON(path string, value any) error {
	text, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}
