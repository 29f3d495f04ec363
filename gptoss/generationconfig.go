package gptoss

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"github.com/seed-796a8800/tritium/gptoss/tokenizer"
)

// GenerationConfig is what generation_config.json says.
type GenerationConfig struct {
	Sampling Sampling
	Stop     []int32 // eos_token_id
}

// GenerationConfig reads the model's generation_config.json. Without one, it
// samples at temperature 1 and stops at config.json's eos_token_id.
func (c *Checkpoint) GenerationConfig() (GenerationConfig, error) {
	var f struct {
		DoSample          *bool           `json:"do_sample"`
		Temperature       *float64        `json:"temperature"`
		TopK              int             `json:"top_k"`
		TopP              float64         `json:"top_p"`
		MinP              float64         `json:"min_p"`
		RepetitionPenalty float64         `json:"repetition_penalty"`
		EOS               json.RawMessage `json:"eos_token_id"`
	}
	name := "generation_config.json"
	data, err := readSmall(c.files, name)
	if err == nil {
		err = json.Unmarshal(data, &f)
	} else if errors.Is(err, fs.ErrNotExist) {
		name, f.EOS, err = "config.json", c.config.fields["eos_token_id"], nil
	}
	if err != nil {
		return GenerationConfig{}, fmt.Errorf("gptoss: %s: %w", name, err)
	}
	g := GenerationConfig{Sampling: Sampling{Temperature: 1, TopK: f.TopK, TopP: f.TopP, MinP: f.MinP, RepetitionPenalty: f.RepetitionPenalty}}
	if f.Temperature != nil {
		g.Sampling.Temperature = *f.Temperature
	}
	if f.DoSample != nil && !*f.DoSample {
		g.Sampling.Temperature = 0
	}
	if err := g.Sampling.Check(); err != nil {
		return GenerationConfig{}, fmt.Errorf("gptoss: %s: %w", name, err)
	}
	if len(f.EOS) > 0 && string(f.EOS) != "null" {
		var one int32
		if json.Unmarshal(f.EOS, &one) == nil {
			g.Stop = []int32{one}
		} else if err := json.Unmarshal(f.EOS, &g.Stop); err != nil {
			return GenerationConfig{}, fmt.Errorf("gptoss: %s: eos_token_id: %w", name, err)
		}
	}
	return g, nil
}

// Tokenizer reads the model's tokenizer.json.
func (c *Checkpoint) Tokenizer() (*tokenizer.Tokenizer, error) {
	// Opening a pipe would wait for a writer.
	if info, err := fs.Stat(c.files, "tokenizer.json"); err == nil && !info.Mode().IsRegular() {
		return nil, errors.New("gptoss: tokenizer.json: not a regular file")
	}
	f, err := c.files.Open("tokenizer.json")
	if err != nil {
		return nil, fmt.Errorf("gptoss: %w", err)
	}
	defer f.Close()
	t, err := tokenizer.Read(f)
	if err != nil {
		return nil, fmt.Errorf("gptoss: tokenizer.json: %w", err)
	}
	if t.Size() > c.config.Vocab {
		return nil, fmt.Errorf("gptoss: tokenizer.json has %d tokens, the model %d", t.Size(), c.config.Vocab)
	}
	return t, nil
}
