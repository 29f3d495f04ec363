package gptoss

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/seed-796a8800/tritium/internal/reference"
)

// replaced parses a config.json with some text exchanged.
func replaced(t *testing.T, config []byte, old, new string) error {
	t.Helper()
	text := strings.Replace(string(config), old, new, 1)
	if text == string(config) {
		t.Fatalf("config.json has no %s", old)
	}
	_, err := ParseConfig([]byte(text))
	return err
}

func TestParseConfigErrors(t *testing.T) {
	config := configOf(t, writeShape(t, small))
	var fields map[string]any
	if err := json.Unmarshal(config, &fields); err != nil {
		t.Fatal(err)
	}
	// Every size must be there and in range.
	for _, key := range []string{"num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads",
		"num_key_value_heads", "head_dim", "num_local_experts", "vocab_size"} {
		old := `"` + key + `": ` + strconv.FormatFloat(fields[key].(float64), 'f', -1, 64)
		for _, value := range []string{"0", "-1", "1000000000000000000", "-9223372036854775808", "1e18", "2.5", "96.0", `"96"`, "[96]", "true", "99999999999999999999"} {
			oneLine(t, key+"="+value, replaced(t, config, old, `"`+key+`": `+value), "gptoss: config.json: ", key)
		}
		oneLine(t, "no "+key, replaced(t, config, old, `"no_such_key": 1`), key+" is 0, want")
		oneLine(t, "null "+key, replaced(t, config, old, `"`+key+`": null`), key+" is 0, want")
	}
	for name, tc := range map[string]struct{ old, new, want string }{
		"NaN":                {`"hidden_size": 32`, `"hidden_size": NaN`, "invalid character 'N'"},
		"Infinity":           {`"rope_theta": 150000`, `"rope_theta": Infinity`, "invalid character 'I'"},
		"trailing":           {`{`, `{} {`, "invalid character"},
		"other model":        {`"gpt_oss"`, `"llama"`, `model_type is "llama", want "gpt_oss"`},
		"model type no text": {`"gpt_oss"`, `7`, "model_type"},
		"kv heads":           {`"num_key_value_heads": 1`, `"num_key_value_heads": 3`, "no multiple of num_key_value_heads 3"},
		"odd head":           {`"head_dim": 16`, `"head_dim": 15`, "head_dim 15 is odd"},
		"active experts":     {`"num_experts_per_tok": 2`, `"num_experts_per_tok": 4`, "num_experts_per_tok"},
		"two spellings":      {`"experts_per_token": 2`, `"experts_per_token": 1`, "differ"},
		"two experts":        {`"num_local_experts": 3`, `"num_local_experts": 3, "num_experts": 4`, "differ"},
		"tied":               {`"tie_word_embeddings": false`, `"tie_word_embeddings": true`, "tie_word_embeddings"},
		"no bias":            {`"attention_bias": true`, `"attention_bias": false`, "attention_bias"},
		"positions":          {`"max_position_embeddings": 131072`, `"max_position_embeddings": -1`, "max_position_embeddings is -1"},
		"epsilon 0":          {`"rms_norm_eps": 0.00001`, `"rms_norm_eps": 0`, "rms_norm_eps is 0"},
		"epsilon underflows": {`"rms_norm_eps": 0.00001`, `"rms_norm_eps": 1e-50`, "rms_norm_eps is 1e-50"},
		"epsilon -1":         {`"rms_norm_eps": 0.00001`, `"rms_norm_eps": -1`, "rms_norm_eps is -1"},
		"epsilon overflows":  {`"rms_norm_eps": 0.00001`, `"rms_norm_eps": 1e999`, "rms_norm_eps"},
		"limit 0":            {`"swiglu_limit": 7`, `"swiglu_limit": 0`, "swiglu_limit is 0"},
		"limit underflows":   {`"swiglu_limit": 7`, `"swiglu_limit": 1e-60`, "swiglu_limit is 1e-60"},
		"limit huge":         {`"swiglu_limit": 7`, `"swiglu_limit": 1e300`, "swiglu_limit is 1e+300"},
		"layer types":        {`"full_attention"`, `"full_attention", "full_attention"`, "layer_types names 3 layers of 2"},
		"unknown type":       {`"full_attention"`, `"chunked_attention"`, `layer_types[1] is "chunked_attention"`},
		"type no text":       {`"full_attention"`, `1`, "layer_types"},
		"window 0":           {`"sliding_window": 8`, `"sliding_window": 0`, "sliding_window is 0"},
		"window null":        {`"sliding_window": 8`, `"sliding_window": null`, "sliding_window is 0"},
		"window huge":        {`"sliding_window": 8`, `"sliding_window": 1000000000000000000`, "sliding_window is 1000000000000000000"},
		"truncate":           {`"truncate": false`, `"truncate": true`, "truncate is not false"},
		"no truncate":        {`"truncate": false`, `"x": 0`, "truncate is not false"},
		"rope type":          {`"yarn"`, `"llama3"`, `rope_type is "llama3"`},
		"no rope":            {`"rope_scaling"`, `"no_rope"`, "neither rope_scaling nor rope_parameters"},
		"theta":              {`"rope_theta": 150000`, `"rope_theta": 1`, "rope_theta is 1"},
		"factor":             {`"factor": 32`, `"factor": 0.5`, "factor is 0.5"},
		"betas":              {`"beta_fast": 32`, `"beta_fast": 0.5`, "beta_fast 0.5"},
		"context":            {`"original_max_position_embeddings": 4096`, `"original_max_position_embeddings": -4096`, "original_max_position_embeddings is -4096"},
		"unknown method":     {`"mxfp4"`, `"gptq"`, `quant_method is "gptq"`},
		"no method":          {`"quant_method"`, `"other"`, `quant_method is ""`},
		"method no text":     {`"mxfp4"`, `{}`, "quantization_config: "},
	} {
		oneLine(t, name, replaced(t, config, tc.old, tc.new), "gptoss: config.json: ", tc.want)
	}
	for _, text := range []string{"", "{", "[]", "null", "7", `"config"`, "{}", "{\n\"hidden_size\":\n-1}", strings.Repeat("[", 100000)} {
		if _, err := ParseConfig([]byte(text)); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%.20q: error %v", text, err)
		}
	}
}

func TestParseQuantizationErrors(t *testing.T) {
	c := open(t, quantize(t, writeShape(t, small), twoBits).dir)
	config, err := c.config.WithQuantization(*c.config.Quantization)
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct{ old, new, want string }{
		"future version": {`"version": 2`, `"version": 3`, "version is 3; this tritium reads version 2: quantize the original again"},
		"old version":    {`"version": 2`, `"version": 1`, "version is 1; this tritium reads version 2"},
		"no version":     {`"version": 2`, `"x": 1`, "version is 0"},
		"activations":    {`"activation_bits": 8`, `"activation_bits": 4`, "activation_bits is 4, want 8"},
		"kernels' own":   {`"format": "int4"`, `"format": "ternary1.6 expanded"`, "this tritium does not know it"},
		"format":         {`"format": "int4"`, `"format": "int3"`, `has format "int3"; this tritium does not know it`},
		"no format":      {`"format": "int4"`, `"f": "int4"`, `has format ""`},
		"tensors":        {`"tensors": {`, `"tensors": 7, "x": {`, "tensors"},
		"group":          {`"group": 32`, `"group": "32"`, "group"},
		"group of 1e18":  {`"group": 32`, `"group": 1e18`, "group"},
	} {
		oneLine(t, name, replaced(t, config, tc.old, tc.new), "gptoss: config.json: quantization_config: ", tc.want)
	}
}

// The three spellings of the rotary embedding are one.
func TestConfigSpellings(t *testing.T) {
	parse := func(s reference.Shape) Config {
		c, err := ParseConfig(configOf(t, writeShape(t, s)))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	want := parse(reference.Shape{})
	for _, s := range []reference.Shape{{RopeParameters: true}, {Naming: reference.Original}, {Naming: reference.HFDequantized}} {
		got := parse(s)
		if err := sameBits(got.Rotary.InvFreq, want.Rotary.InvFreq); err != nil || got.Rotary.Scale != want.Rotary.Scale {
			t.Errorf("%+v: scale %g, want %g; %v", s, got.Rotary.Scale, want.Rotary.Scale, err)
		}
		if got.NormEpsilon != 1e-5 || got.SwiGLULimit != 7 || got.Windows[0] != 128 || got.Windows[1] != 0 {
			t.Errorf("%+v: epsilon %g, limit %g, windows %v", s, got.NormEpsilon, got.SwiGLULimit, got.Windows)
		}
	}
	if want.Rotary.Scale != float32(0.1*math.Log(32)+1) {
		t.Errorf("scale %g", want.Rotary.Scale)
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add(configOf(f, writeShape(f, small)))
	f.Add(configOf(f, writeShape(f, reference.Shape{Naming: reference.Original})))
	f.Add(configOf(f, writeShape(f, reference.Shape{RopeParameters: true})))
	f.Add(configOf(f, quantize(f, writeShape(f, small), withInt8).dir))
	f.Add([]byte(`{"num_hidden_layers":1e18,"layer_types":[]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := ParseConfig(data)
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("error %q is not one line", err)
			}
			return
		}
		// What passes describes a model that can be declared.
		if len(c.Windows) != c.Layers || len(c.Rotary.InvFreq) != c.HeadDim/2 || c.Heads%c.KVHeads != 0 || c.ActiveExperts > c.Experts {
			t.Errorf("accepted %+v", c)
		}
		for _, v := range append(c.Rotary.InvFreq, c.Rotary.Scale, c.NormEpsilon, c.SwiGLULimit) {
			if !(v > 0 && v < float32(math.Inf(1))) && v != 0 {
				t.Errorf("accepted a constant of %g", v)
			}
		}
		if !(c.SwiGLULimit > 0 && c.NormEpsilon > 0) {
			t.Errorf("accepted limit %g, epsilon %g", c.SwiGLULimit, c.NormEpsilon)
		}
		if c.Quantization != nil {
			again, err := c.WithQuantization(*c.Quantization)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := ParseConfig(again); err != nil {
				t.Errorf("written again: %v", err)
			}
		}
	})
}

func FuzzGenerationConfig(f *testing.F) {
	for _, s := range []string{
		`{"bos_token_id":199998,"do_sample":true,"eos_token_id":[200002,199999,200012],"pad_token_id":199999}`,
		`{"eos_token_id":7,"temperature":0.5,"top_k":4,"top_p":0.9,"min_p":0.1,"repetition_penalty":1.1}`,
		`{"eos_token_id":1e18}`, `{"temperature":-1}`, `{"top_p":2}`, `{"do_sample":null,"eos_token_id":null}`, `[`, ``,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c := &Checkpoint{files: fstest.MapFS{"generation_config.json": {Data: data}}}
		g, err := c.GenerationConfig()
		if err != nil {
			if strings.Contains(err.Error(), "\n") || !strings.HasPrefix(err.Error(), "gptoss: generation_config.json: ") {
				t.Errorf("error %q", err)
			}
			return
		}
		if err := g.Sampling.Check(); err != nil {
			t.Errorf("accepted %+v: %v", g, err)
		}
	})
}
