package main

import (
	"time"

	"github.com/seed-796a8800/tritium/gptoss"
	"github.com/seed-796a8800/tritium/graph"
)

// speedometer measures a model's tokens a second. Token i of every sequence is
// ids[i], whatever the model predicts, so every run does the same work.
type speedometer struct {
	model *gptoss.Model
	ids   []int32
	batch *graph.Batch
}

// newSpeedometer compiles c for prompts that are read prompt tokens at a time,
// or as many as `tritium run` reads at a time, whichever is less.
func newSpeedometer(c *gptoss.Checkpoint, cpu *graph.CPU, ids []int32, prompt int, opts ...graph.Option) (*speedometer, error) {
	m, err := c.Compile(cpu, min(prompt, prefillRows), opts...)
	if err != nil {
		return nil, err
	}
	return &speedometer{m, ids, graph.NewBatch()}, nil
}

// sequence returns an empty sequence that has room for n tokens.
func (s *speedometer) sequence(n int) (*graph.Sequence, error) {
	seq, err := s.model.Plan.NewSequence()
	if err != nil {
		return nil, err
	}
	return seq, seq.Reserve(n)
}

// prefill reads the next n tokens of a sequence at once: tokens a second.
func (s *speedometer) prefill(seq *graph.Sequence, n int) (float64, error) {
	start := time.Now()
	at := seq.Len()
	if err := s.model.Append(s.batch, seq, s.ids[at:at+n]); err != nil {
		return 0, err
	}
	return float64(n) / time.Since(start).Seconds(), nil
}

// decode reads the next n tokens of a sequence one by one: tokens a second.
func (s *speedometer) decode(seq *graph.Sequence, n int) (float64, error) {
	start := time.Now()
	for range n {
		at := seq.Len()
		if err := s.model.Append(s.batch, seq, s.ids[at:at+1]); err != nil {
			return 0, err
		}
	}
	return float64(n) / time.Since(start).Seconds(), nil
}
