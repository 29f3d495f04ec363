package reference

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// Config is the architecture, whichever of the spellings config.json used.
type Config struct {
	Layers, Hidden, Heads, KVHeads, HeadDim int
	Experts, TopK, Intermediate             int
	Vocab, Window                           int
	Sliding                                 []bool // per layer
	SwigluLimit, NormEpsilon                float64
	Rope                                    Rope
}

// Rope is the rotary embedding; a Factor of at most 1 means that YaRN is off.
type Rope struct {
	Theta, Factor, BetaFast, BetaSlow, OriginalContext float64
	Truncate                                           bool // round the correction range to whole dimensions
}

// configFile is config.json: Transformers' fields, its two spellings of the rotary embedding, and OpenAI's own.
type configFile struct {
	NumHiddenLayers      int       `json:"num_hidden_layers"`
	HiddenSize           int       `json:"hidden_size"`
	NumAttentionHeads    int       `json:"num_attention_heads"`
	NumKeyValueHeads     int       `json:"num_key_value_heads"`
	HeadDim              int       `json:"head_dim"`
	NumLocalExperts      int       `json:"num_local_experts"`
	NumExpertsPerTok     int       `json:"num_experts_per_tok"`
	IntermediateSize     int       `json:"intermediate_size"`
	VocabSize            int       `json:"vocab_size"`
	SlidingWindow        int       `json:"sliding_window"`
	LayerTypes           []string  `json:"layer_types"`
	SwigluLimit          float64   `json:"swiglu_limit"`
	RMSNormEps           float64   `json:"rms_norm_eps"`
	RopeTheta            float64   `json:"rope_theta"`
	RopeScaling          *ropeFile `json:"rope_scaling"`
	RopeParameters       *ropeFile `json:"rope_parameters"`
	InitialContextLength float64   `json:"initial_context_length"`

	// Only in original/config.json.
	NumExperts        int     `json:"num_experts"`
	ExpertsPerToken   int     `json:"experts_per_token"`
	RopeScalingFactor float64 `json:"rope_scaling_factor"`
	RopeNTKAlpha      float64 `json:"rope_ntk_alpha"`
	RopeNTKBeta       float64 `json:"rope_ntk_beta"`
}

type ropeFile struct {
	RopeType                      string  `json:"rope_type"`
	RopeTheta                     float64 `json:"rope_theta"` // in rope_parameters only
	Factor                        float64 `json:"factor"`
	BetaFast                      float64 `json:"beta_fast"`
	BetaSlow                      float64 `json:"beta_slow"`
	OriginalMaxPositionEmbeddings float64 `json:"original_max_position_embeddings"`
	Truncate                      *bool   `json:"truncate"`
}

func loadConfig(dir string) (Config, error) {
	path := filepath.Join(dir, "config.json")
	text, err := os.ReadFile(path)
	if err != nil {
		return Config{}, fmt.Errorf("reference: %w", err)
	}
	var f configFile
	if err := json.Unmarshal(text, &f); err != nil {
		return Config{}, fmt.Errorf("reference: %s: %w", path, err)
	}
	c := Config{
		Layers: f.NumHiddenLayers, Hidden: f.HiddenSize,
		Heads: f.NumAttentionHeads, KVHeads: f.NumKeyValueHeads, HeadDim: f.HeadDim,
		Experts: f.NumLocalExperts, TopK: f.NumExpertsPerTok, Intermediate: f.IntermediateSize,
		Vocab: f.VocabSize, Window: f.SlidingWindow,
		SwigluLimit: f.SwigluLimit, NormEpsilon: f.RMSNormEps,
	}
	if f.NumExperts > 0 { // OpenAI's own file: the norms' epsilon is a constant of its code
		c.Experts, c.TopK, c.NormEpsilon = f.NumExperts, f.ExpertsPerToken, 1e-5
	}
	if c.Sliding, err = slidingLayers(f.LayerTypes, c.Layers); err != nil {
		return Config{}, fmt.Errorf("reference: %s: %w", path, err)
	}
	if c.Rope, err = f.rope(); err != nil {
		return Config{}, fmt.Errorf("reference: %s: %w", path, err)
	}
	if err := c.check(); err != nil {
		return Config{}, fmt.Errorf("reference: %s: %w", path, err)
	}
	return c, nil
}

// slidingLayers reads layer_types; without it, the even layers slide.
func slidingLayers(types []string, layers int) ([]bool, error) {
	if types != nil && len(types) != layers {
		return nil, fmt.Errorf("layer_types has %d entries for %d layers", len(types), layers)
	}
	var sliding []bool
	for i := range layers {
		if types == nil {
			sliding = append(sliding, i%2 == 0)
			continue
		}
		switch types[i] {
		case slidingAttention, fullAttention:
			sliding = append(sliding, types[i] == slidingAttention)
		default:
			return nil, fmt.Errorf("layer_types[%d] is %q, want %q or %q", i, types[i], slidingAttention, fullAttention)
		}
	}
	return sliding, nil
}

const (
	slidingAttention = "sliding_attention"
	fullAttention    = "full_attention"
)

func (f configFile) rope() (Rope, error) {
	if f.NumExperts > 0 {
		return Rope{
			Theta: f.RopeTheta, Factor: f.RopeScalingFactor, BetaFast: f.RopeNTKBeta, BetaSlow: f.RopeNTKAlpha,
			OriginalContext: f.InitialContextLength,
		}, nil
	}
	theta, scaling := f.RopeTheta, f.RopeScaling
	if f.RopeParameters != nil {
		theta, scaling = f.RopeParameters.RopeTheta, f.RopeParameters
	}
	if scaling == nil || scaling.RopeType == "default" {
		return Rope{Theta: theta}, nil
	}
	if scaling.RopeType != "yarn" {
		return Rope{}, fmt.Errorf("rope_type is %q, want \"yarn\" or \"default\"", scaling.RopeType)
	}
	return Rope{
		Theta: theta, Factor: scaling.Factor, BetaFast: scaling.BetaFast, BetaSlow: scaling.BetaSlow,
		OriginalContext: scaling.OriginalMaxPositionEmbeddings,
		Truncate:        scaling.Truncate == nil || *scaling.Truncate, // Transformers' default is to truncate
	}, nil
}

// check refuses what Forward could not run.
func (c Config) check() error {
	for _, field := range []struct {
		name  string
		value int
	}{
		{"number of layers", c.Layers}, {"hidden size", c.Hidden}, {"number of heads", c.Heads},
		{"number of kv heads", c.KVHeads}, {"head size", c.HeadDim}, {"number of experts", c.Experts},
		{"experts per token", c.TopK}, {"intermediate size", c.Intermediate}, {"vocabulary", c.Vocab},
		{"sliding window", c.Window},
	} {
		if field.value <= 0 {
			return fmt.Errorf("the %s is %d, want at least 1", field.name, field.value)
		}
	}
	switch {
	case c.Heads%c.KVHeads != 0:
		return fmt.Errorf("%d heads do not divide over %d kv heads", c.Heads, c.KVHeads)
	case c.HeadDim%2 != 0:
		return fmt.Errorf("the head size %d is odd", c.HeadDim)
	case c.TopK > c.Experts:
		return fmt.Errorf("%d experts per token of %d experts", c.TopK, c.Experts)
	case c.SwigluLimit <= 0 || c.NormEpsilon <= 0 || c.Rope.Theta <= 1:
		return fmt.Errorf("swiglu_limit %g, rms_norm_eps %g, rope_theta %g: want positive, positive, above 1",
			c.SwigluLimit, c.NormEpsilon, c.Rope.Theta)
	case c.Rope.Factor > 1 && (c.Rope.BetaFast <= 0 || c.Rope.BetaSlow <= 0 || c.Rope.OriginalContext <= 0):
		return fmt.Errorf("YaRN with beta_fast %g, beta_slow %g, original context %g: want all positive",
			c.Rope.BetaFast, c.Rope.BetaSlow, c.Rope.OriginalContext)
	}
	return nil
}
