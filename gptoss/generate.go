package gptoss

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/seed-796a8800/tritium/gptoss/tokenizer"
	"github.com/seed-796a8800/tritium/graph"
)

// Generator continues one sequence of tokens.
type Generator struct {
	model   *Model
	seq     *graph.Sequence
	batch   *graph.Batch
	sampler *Sampler
	stop    []int32
	one     [1]int32
	logits  []float32 // of the next token; the model's own are of whatever it ran last
}

// NewGenerator returns a generator with an empty sequence that stops after any
// of the stop ids. Generators of one model may take turns.
func NewGenerator(m *Model, s Sampling, stop []int32) (*Generator, error) {
	if err := s.Check(); err != nil {
		return nil, fmt.Errorf("gptoss: %w", err)
	}
	seq, err := m.Plan.NewSequence()
	if err != nil {
		return nil, err
	}
	return &Generator{model: m, seq: seq, batch: graph.NewBatch(), sampler: NewSampler(s), stop: stop}, nil
}

// Prefill appends a prompt.
func (g *Generator) Prefill(ids []int32) error {
	if len(ids) == 0 {
		return errors.New("gptoss: the prompt has no tokens")
	}
	if limit := g.model.Config.MaxPositions; limit > 0 && g.seq.Len()+len(ids) > limit {
		return fmt.Errorf("gptoss: %d tokens exceed the model's context of %d", g.seq.Len()+len(ids), limit)
	}
	g.sampler.Observe(ids...)
	return g.append(ids)
}

func (g *Generator) append(ids []int32) error {
	g.logits = g.logits[:0]
	if err := g.model.Append(g.batch, g.seq, ids); err != nil {
		return err
	}
	g.logits = append(g.logits, g.model.Logits(0)...)
	return nil
}

// Next chooses the next token and runs it through the model. stop is true, and
// the model is not run, for a stop id or when the context is full.
func (g *Generator) Next() (id int32, stop bool, err error) {
	if len(g.logits) == 0 {
		return 0, false, errors.New("gptoss: nothing to continue; prefill a prompt first")
	}
	if id, err = g.sampler.Next(g.logits); err != nil {
		return 0, false, err
	}
	if slices.Contains(g.stop, id) {
		return id, true, nil
	}
	if limit := g.model.Config.MaxPositions; limit > 0 && g.seq.Len() >= limit {
		return id, true, nil
	}
	g.one[0] = id
	return id, false, g.append(g.one[:])
}

// Len returns the number of tokens in the sequence.
func (g *Generator) Len() int { return g.seq.Len() }

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
