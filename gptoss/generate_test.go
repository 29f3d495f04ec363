package gptoss

import (
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/seed-796a8800/tritium/internal/reference"
)

// generator returns a generator over a small model with a context of limit.
func generator(t *testing.T, m *Model, s Sampling, stop ...int32) *Generator {
	t.Helper()
	g, err := NewGenerator(m, s, stop)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// next takes n tokens that must not stop.
func next(t *testing.T, g *Generator, n int) (ids []int32) {
	t.Helper()
	for range n {
		id, stop, err := g.Next()
		if err != nil || stop {
			t.Fatalf("token %d after %v: stop %t, %v", id, ids, stop, err)
		}
		ids = append(ids, id)
	}
	return ids
}

func TestGenerator(t *testing.T) {
	t.Parallel()
	dir := writeShape(t, reference.Named()["window-16"])
	c := open(t, dir)
	config := c.Config()
	config.MaxPositions = 30
	m := compile(t, config, c, newCPU(t, 2), 8)
	prompt := tokens(20, config.Vocab)

	greedy := generator(t, m, Sampling{})
	if _, _, err := greedy.Next(); err == nil {
		t.Error("a generator without a prompt continues")
	}
	if err := greedy.Prefill(nil); err == nil {
		t.Error("an empty prompt is accepted")
	}
	if err := greedy.Prefill(prompt); err != nil {
		t.Fatal(err)
	}
	ids := next(t, greedy, 10) // the reference continues alike
	oracle, all := loadReference(t, dir), slices.Clone(prompt)
	for i, id := range ids {
		trace := oracle.Forward(all)
		last := trace.Logits[len(all)-1]
		if want := int32(slices.Index(last, slices.Max(last))); id != want {
			t.Fatalf("token %d is %d, want %d", i, id, want)
		}
		all = append(all, id)
	}
	if greedy.Len() != 30 {
		t.Errorf("%d tokens, want 30", greedy.Len())
	}
	if _, stop, err := greedy.Next(); err != nil || !stop || greedy.Len() != 30 {
		t.Errorf("with a full context: stop %t, %v", stop, err)
	}
	if err := greedy.Prefill([]int32{1}); err == nil || !strings.Contains(err.Error(), "context of 30") {
		t.Errorf("a prompt beyond the context: %v", err)
	}

	// A stop id stops before the model runs it.
	stopped := generator(t, m, Sampling{}, 999, ids[3])
	if err := stopped.Prefill(prompt); err != nil {
		t.Fatal(err)
	}
	first := slices.Index(ids, ids[3])
	if got := next(t, stopped, first); !slices.Equal(got, ids[:first]) {
		t.Errorf("%v, want %v", got, ids[:first])
	}
	if id, stop, err := stopped.Next(); err != nil || !stop || id != ids[3] || stopped.Len() != 20+first {
		t.Errorf("token %d, stop %t, %v, %d tokens", id, stop, err, stopped.Len())
	}
	if _, err := NewGenerator(m, Sampling{TopP: 2}, nil); err == nil {
		t.Error("top-p 2 is accepted")
	}
	unknown := generator(t, m, Sampling{})
	oneLine(t, "unknown id", unknown.Prefill([]int32{1, 256}), "model.embed_tokens", "token id 256 is outside the vocabulary of 256")
	if _, _, err := unknown.Next(); err == nil {
		t.Error("a generator whose prompt failed continues")
	}
}

// Generators of one model that take turns give what each gives alone.
func TestGeneratorsTakeTurns(t *testing.T) {
	t.Parallel()
	c := open(t, writeShape(t, reference.Named()["window-16"]))
	m := compile(t, c.Config(), c, newCPU(t, 2), 8)
	s := Sampling{Temperature: 1, TopK: 50, RepetitionPenalty: 1.2, Seed: 9}
	prompts := [][]int32{tokens(20, 256), tokens(40, 256)[23:]}
	var want [2][]int32
	for i, p := range prompts {
		g := generator(t, m, s)
		if err := g.Prefill(p); err != nil {
			t.Fatal(err)
		}
		want[i] = next(t, g, 12)
	}
	a, b := generator(t, m, s), generator(t, m, s)
	for i, g := range []*Generator{a, b} {
		if err := g.Prefill(prompts[i]); err != nil {
			t.Fatal(err)
		}
	}
	var got [2][]int32
	for range 12 {
		got[0] = append(got[0], next(t, a, 1)...)
		got[1] = append(got[1], next(t, b, 1)...)
	}
	for i := range got {
		if !slices.Equal(got[i], want[i]) {
			t.Errorf("generator %d: %v, alone %v", i, got[i], want[i])
		}
	}
}

func TestGenerationConfig(t *testing.T) {
	t.Parallel()
	config := configOf(t, writeShape(t, small))
	c := Checkpoint{}
	if err := c.config.parse(config); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		file string
		want GenerationConfig
	}{
		"published":  {`{"do_sample":true,"eos_token_id":[5,6]}`, GenerationConfig{Sampling{Temperature: 1}, []int32{5, 6}}},
		"one":        {`{"eos_token_id":5}`, GenerationConfig{Sampling{Temperature: 1}, []int32{5}}},
		"greedy":     {`{"do_sample":false,"temperature":0.7}`, GenerationConfig{Sampling{}, nil}},
		"everything": {`{"temperature":0.7,"top_k":3,"top_p":0.5,"min_p":0.1,"repetition_penalty":2}`, GenerationConfig{Sampling{2, 0.7, 3, 0.5, 0.1, 0}, nil}},
		"null":       {`{"eos_token_id":null,"temperature":null}`, GenerationConfig{Sampling{Temperature: 1}, nil}},
	} {
		c.files = fstest.MapFS{"generation_config.json": {Data: []byte(tc.file)}}
		got, err := c.GenerationConfig()
		if err != nil || got.Sampling != tc.want.Sampling || !slices.Equal(got.Stop, tc.want.Stop) {
			t.Errorf("%s: %+v, %v, want %+v", name, got, err, tc.want)
		}
	}
	c.files = fstest.MapFS{}
	if got, err := c.GenerationConfig(); err != nil || !slices.Equal(got.Stop, []int32{32 - 21 + 4}) {
		t.Errorf("without the file: %+v, %v, want config.json's eos_token_id", got, err)
	}
	for name, file := range map[string]string{
		"temperature": `{"temperature":-1}`, "top_p": `{"top_p":1.5}`, "eos": `{"eos_token_id":"x"}`, "eos_token_id": `{"eos_token_id":[1e18]}`,
		"JSON": `{`, "top_k": `{"top_k":1.5}`,
	} {
		c.files = fstest.MapFS{"generation_config.json": {Data: []byte(file)}}
		_, err := c.GenerationConfig()
		oneLine(t, name, err, "gptoss: generation_config.json: ")
	}
	c.files = fstest.MapFS{}
	c.config.fields["eos_token_id"] = []byte(`"x"`)
	_, err := c.GenerationConfig()
	oneLine(t, "config.json's", err, "gptoss: config.json: eos_token_id")
}
