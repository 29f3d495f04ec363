package gptoss

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/seed-796a8800/tritium/ops"
)

// Config is what config.json says about a GPT-OSS model, checked once.
type Config struct {
	Layers, Hidden, Intermediate int
	Heads, KVHeads, HeadDim      int
	Experts, ActiveExperts       int
	Vocab                        int
	// KeptExperts holds, for each layer, the numbers that its experts have in
	// the original; nil where none was dropped.
	KeptExperts [][]int
	// Windows holds each layer's attention window; 0 is full attention.
	Windows      []int
	NormEpsilon  float32
	SwiGLULimit  float32
	Rotary       ops.Rotary
	MaxPositions int
	// Quantization is nil for a model that tritium has not quantized.
	Quantization *Quantization
	// Cache is how attention keeps keys and values. No file says it: whoever
	// runs the model chooses.
	Cache ops.CacheFormat

	fields map[string]json.RawMessage // the file as it was read
}

// Quantization is config.json's quantization_config of a ternary model.
type Quantization struct {
	QuantMethod    string            `json:"quant_method"` // "tritium"
	Version        int               `json:"version"`      // layout version, LayoutVersion
	Method         string            `json:"method"`       // "pt-bitnet"
	GroupSize      int               `json:"group_size"`   // largest group asked for
	ActivationBits int               `json:"activation_bits"`
	Tensors        map[string]Format `json:"tensors"` // by canonical name; absent: as in the source
}

// QuantMethod and LayoutVersion identify the ternary models this package reads.
const (
	QuantMethod   = "tritium"
	LayoutVersion = 2
)

// Limits that no GPT-OSS comes near; a file beyond them is broken or hostile.
const (
	maxConfigBytes = 1 << 20
	maxDimension   = 1 << 20
	maxLayers      = 1 << 10
	maxPositions   = 1 << 30
	maxExperts     = 1 << 14
)

// configFile is config.json in either of its spellings (Transformers 4 and 5)
// and OpenAI's original/config.json.
type configFile struct {
	ModelType             string          `json:"model_type"`
	NumHiddenLayers       int             `json:"num_hidden_layers"`
	HiddenSize            int             `json:"hidden_size"`
	IntermediateSize      int             `json:"intermediate_size"`
	NumAttentionHeads     int             `json:"num_attention_heads"`
	NumKeyValueHeads      int             `json:"num_key_value_heads"`
	HeadDim               int             `json:"head_dim"`
	NumLocalExperts       int             `json:"num_local_experts"`
	NumExperts            int             `json:"num_experts"` // original
	NumExpertsPerTok      int             `json:"num_experts_per_tok"`
	ExpertsPerToken       int             `json:"experts_per_token"`
	VocabSize             int             `json:"vocab_size"`
	LayerTypes            []string        `json:"layer_types"`
	SlidingWindow         int             `json:"sliding_window"`
	RMSNormEps            *float64        `json:"rms_norm_eps"`
	SwigluLimit           *float64        `json:"swiglu_limit"`
	TieWordEmbeddings     bool            `json:"tie_word_embeddings"`
	AttentionBias         *bool           `json:"attention_bias"`
	RopeTheta             float64         `json:"rope_theta"`
	RopeScaling           *ropeFile       `json:"rope_scaling"`
	RopeParameters        *ropeFile       `json:"rope_parameters"`
	MaxPositionEmbeddings int             `json:"max_position_embeddings"`
	InitialContextLength  float64         `json:"initial_context_length"`
	RopeScalingFactor     float64         `json:"rope_scaling_factor"` // original
	RopeNTKAlpha          float64         `json:"rope_ntk_alpha"`      // original: beta_slow
	RopeNTKBeta           float64         `json:"rope_ntk_beta"`       // original: beta_fast
	KeptExperts           [][]int         `json:"kept_experts"`        // ours
	QuantizationConfig    json.RawMessage `json:"quantization_config"`
}

type ropeFile struct {
	Type                string   `json:"rope_type"`
	OldType             string   `json:"type"`
	Theta               float64  `json:"rope_theta"`
	Factor              float64  `json:"factor"`
	BetaFast            *float64 `json:"beta_fast"`
	BetaSlow            *float64 `json:"beta_slow"`
	OriginalMaxPosition float64  `json:"original_max_position_embeddings"`
	Truncate            *bool    `json:"truncate"`
}

// ReadConfig reads and checks a config.json.
func ReadConfig(path string) (Config, error) {
	var c Config
	data, err := readSmall(os.DirFS(filepath.Dir(path)), filepath.Base(path))
	if err == nil {
		err = c.parse(data)
	}
	if err != nil {
		return Config{}, fmt.Errorf("gptoss: %s: %w", path, err)
	}
	return c, nil
}

// readSmall reads a configuration file. It refuses what is larger than such a
// file ever is, and what has no size, such as a device.
func readSmall(files fs.FS, name string) ([]byte, error) {
	info, err := fs.Stat(files, name)
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("not a regular file")
	}
	if err != nil {
		return nil, cause(err)
	}
	f, err := files.Open(name)
	if err != nil {
		return nil, cause(err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxConfigBytes+1))
	if err == nil && len(data) > maxConfigBytes {
		err = fmt.Errorf("it is larger than %d bytes", maxConfigBytes)
	}
	return data, cause(err)
}

// cause drops the path that an error of the file system repeats.
func cause(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err
	}
	return err
}

// ParseConfig reads and checks the contents of a config.json.
func ParseConfig(data []byte) (Config, error) {
	var c Config
	if err := c.parse(data); err != nil {
		return Config{}, fmt.Errorf("gptoss: config.json: %w", err)
	}
	return c, nil
}

func (c *Config) parse(data []byte) error {
	var f configFile
	if err := json.Unmarshal(data, &f); err != nil {
		return err
	}
	if err := json.Unmarshal(data, &c.fields); err != nil {
		return err
	}
	if f.ModelType != "" && f.ModelType != "gpt_oss" {
		return fmt.Errorf("model_type is %q, want \"gpt_oss\"", f.ModelType)
	}
	c.Layers, c.Hidden, c.Intermediate = f.NumHiddenLayers, f.HiddenSize, f.IntermediateSize
	c.Heads, c.KVHeads, c.HeadDim = f.NumAttentionHeads, f.NumKeyValueHeads, f.HeadDim
	c.Experts, c.ActiveExperts = max(f.NumLocalExperts, f.NumExperts), max(f.NumExpertsPerTok, f.ExpertsPerToken)
	c.Vocab, c.MaxPositions, c.KeptExperts = f.VocabSize, f.MaxPositionEmbeddings, f.KeptExperts
	for _, read := range []func(configFile) error{c.checkSizes, c.readConstants, c.readWindows, c.readRotary} {
		if err := read(f); err != nil {
			return err
		}
	}
	if err := c.readQuantization(f.QuantizationConfig); err != nil {
		return fmt.Errorf("quantization_config: %w", err)
	}
	return nil
}

func (c *Config) checkSizes(f configFile) error {
	for _, d := range []struct {
		name     string
		got, max int
	}{
		{"num_hidden_layers", c.Layers, maxLayers}, {"hidden_size", c.Hidden, maxDimension},
		{"intermediate_size", c.Intermediate, maxDimension}, {"num_attention_heads", c.Heads, 1 << 14},
		{"num_key_value_heads", c.KVHeads, 1 << 14}, {"head_dim", c.HeadDim, 1 << 12},
		{"num_local_experts", c.Experts, maxExperts}, {"num_experts_per_tok", c.ActiveExperts, 1 << 10},
		{"vocab_size", c.Vocab, 1 << 24},
	} {
		if d.got < 1 || d.got > d.max {
			return fmt.Errorf("%s is %d, want 1 to %d", d.name, d.got, d.max)
		}
	}
	switch {
	case c.MaxPositions < 0 || c.MaxPositions > maxPositions:
		return fmt.Errorf("max_position_embeddings is %d, want 0 to %d", c.MaxPositions, maxPositions)
	case f.NumLocalExperts != 0 && f.NumExperts != 0 && f.NumLocalExperts != f.NumExperts:
		return fmt.Errorf("num_local_experts %d and num_experts %d differ", f.NumLocalExperts, f.NumExperts)
	case c.Heads%c.KVHeads != 0:
		return fmt.Errorf("num_attention_heads %d is no multiple of num_key_value_heads %d", c.Heads, c.KVHeads)
	case c.HeadDim%2 != 0:
		return fmt.Errorf("head_dim %d is odd; rotary embedding needs pairs", c.HeadDim)
	case c.ActiveExperts > c.Experts:
		return fmt.Errorf("num_experts_per_tok %d exceeds num_local_experts %d", c.ActiveExperts, c.Experts)
	case f.NumExpertsPerTok != 0 && f.ExpertsPerToken != 0 && f.NumExpertsPerTok != f.ExpertsPerToken:
		return fmt.Errorf("num_experts_per_tok %d and experts_per_token %d differ", f.NumExpertsPerTok, f.ExpertsPerToken)
	case f.TieWordEmbeddings:
		return fmt.Errorf("tie_word_embeddings is true; GPT-OSS has a head of its own")
	case f.AttentionBias != nil && !*f.AttentionBias:
		return fmt.Errorf("attention_bias is false; GPT-OSS projections have biases")
	}
	return c.checkKeptExperts()
}

// readConstants reads epsilon and limit, with the values of GPT-OSS where the
// file (an original one) does not have the key.
func (c *Config) readConstants(f configFile) error {
	eps, limit := 1e-5, 7.0
	if f.RMSNormEps != nil {
		eps = *f.RMSNormEps
	}
	if f.SwigluLimit != nil {
		limit = *f.SwigluLimit
	}
	if !(eps > 1e-30 && eps < 1) {
		return fmt.Errorf("rms_norm_eps is %g, want a small positive number", eps)
	}
	if !(limit > 1e-6 && limit < 1e6) {
		return fmt.Errorf("swiglu_limit is %g, want a positive number", limit)
	}
	c.NormEpsilon, c.SwiGLULimit = float32(eps), float32(limit)
	return nil
}

// readWindows turns layer_types into a window per layer. Without the key, even
// layers slide.
func (c *Config) readWindows(f configFile) error {
	c.Windows = make([]int, c.Layers)
	if f.LayerTypes != nil && len(f.LayerTypes) != c.Layers {
		return fmt.Errorf("layer_types names %d layers of %d", len(f.LayerTypes), c.Layers)
	}
	for i := range c.Windows {
		kind := "full_attention"
		if i%2 == 0 {
			kind = "sliding_attention"
		}
		if f.LayerTypes != nil {
			kind = f.LayerTypes[i]
		}
		switch kind {
		case "full_attention":
		case "sliding_attention":
			if f.SlidingWindow < 1 || f.SlidingWindow > maxDimension {
				return fmt.Errorf("sliding_window is %d, want at least 1", f.SlidingWindow)
			}
			c.Windows[i] = f.SlidingWindow
		default:
			return fmt.Errorf("layer_types[%d] is %q, want \"sliding_attention\" or \"full_attention\"", i, kind)
		}
	}
	return nil
}

// readRotary accepts rope_scaling beside rope_theta, rope_parameters, and the
// original's flat keys.
func (c *Config) readRotary(f configFile) error {
	theta, r := f.RopeTheta, f.RopeScaling
	if f.RopeParameters != nil {
		r = f.RopeParameters
	}
	if r == nil && f.RopeScalingFactor > 0 {
		r = &ropeFile{Type: "yarn", Factor: f.RopeScalingFactor, BetaFast: &f.RopeNTKBeta, BetaSlow: &f.RopeNTKAlpha,
			OriginalMaxPosition: f.InitialContextLength, Truncate: new(bool)}
	}
	if r == nil {
		return fmt.Errorf("neither rope_scaling nor rope_parameters is there")
	}
	if r.Theta != 0 {
		theta = r.Theta
	}
	kind := r.Type
	if kind == "" {
		kind = r.OldType
	}
	if !(theta > 1 && theta < 1e12) {
		return fmt.Errorf("rope_theta is %g, want more than 1", theta)
	}
	if kind == "default" {
		c.Rotary = ops.YaRN(c.HeadDim, theta, 1, 32, 1, 4096)
		return nil
	}
	fast, slow := 32.0, 1.0
	if r.BetaFast != nil {
		fast = *r.BetaFast
	}
	if r.BetaSlow != nil {
		slow = *r.BetaSlow
	}
	original := r.OriginalMaxPosition
	if original == 0 {
		original = f.InitialContextLength
	}
	switch {
	case kind != "yarn":
		return fmt.Errorf("rope_type is %q, want \"yarn\"", kind)
	case r.Truncate == nil || *r.Truncate:
		return fmt.Errorf("the rope's truncate is not false; GPT-OSS does not round YaRN's bounds")
	case !(r.Factor >= 1 && r.Factor < 1e6):
		return fmt.Errorf("the rope's factor is %g, want at least 1", r.Factor)
	case !(slow > 0 && fast > slow && fast < 1e6):
		return fmt.Errorf("the rope's beta_fast %g and beta_slow %g are no range", fast, slow)
	case !(original >= 1 && original < 1e9):
		return fmt.Errorf("the rope's original_max_position_embeddings is %g", original)
	}
	c.Rotary = ops.YaRN(c.HeadDim, theta, r.Factor, fast, slow, original)
	return nil
}

func (c *Config) readQuantization(raw json.RawMessage) error {
	if raw == nil || string(raw) == "null" {
		return nil
	}
	var q Quantization
	if err := json.Unmarshal(raw, &struct {
		Method *string `json:"quant_method"`
	}{&q.QuantMethod}); err != nil {
		return err
	}
	switch q.QuantMethod {
	case "mxfp4":
		return nil
	case QuantMethod:
	default:
		return fmt.Errorf("quant_method is %q, want \"mxfp4\" or %q", q.QuantMethod, QuantMethod)
	}
	if err := json.Unmarshal(raw, &q); err != nil {
		return err
	}
	if q.Version != LayoutVersion {
		return fmt.Errorf("version is %d; this tritium reads version %d: quantize the original again", q.Version, LayoutVersion)
	}
	if q.ActivationBits != 8 {
		return fmt.Errorf("activation_bits is %d, want 8", q.ActivationBits)
	}
	for _, name := range slices.Sorted(maps.Keys(q.Tensors)) {
		if kind := q.Tensors[name].Kind; !known(kind) {
			return fmt.Errorf("%s has format %q; this tritium does not know it", name, kind)
		}
	}
	c.Quantization = &q
	return nil
}

// WithQuantization returns the contents of a config.json that is c's with
// another quantization_config.
func (c Config) WithQuantization(q Quantization) ([]byte, error) {
	fields := make(map[string]json.RawMessage, len(c.fields)+1)
	for k, v := range c.fields {
		fields[k] = v
	}
	raw, err := json.Marshal(q)
	if err != nil {
		return nil, err
	}
	fields["quantization_config"] = raw
	return json.MarshalIndent(fields, "", "  ")
}
