package gptoss

import (
	"context"
	"errors"
	"fmt"

	"github.com/seed-796a8800/tritium/graph"
)

// Text is one of the texts that ContinueAll continues.
type Text struct {
	Prompt   []int32
	Sampling Sampling
	// Write takes the next token and says whether it wants another one. The first
	// token that the context has no room for is the last that it is given, and
	// full says so. Tokens of one text come in order; texts take turns in any.
	Write func(id int32, full bool) (more bool)
}

// ContinueAll continues many texts, up to width of them in one batch, so that
// they share the passes over the weights. It takes the texts one by one from
// next, which returns nil behind the last, and begins one whenever another has
// ended. What is written of a text is a matter of the text, its sampling and
// the model alone: neither of the texts beside it nor of the threads.
//
// It keeps the caches of width texts, and asks for no text before it has room.
//
// Errors: those of next and of the context, a text without a prompt, a prompt
// longer than the model's context, options that do not pass Check, logits that
// are not numbers.
func ContinueAll(ctx context.Context, m *Model, width int, next func() (*Text, error)) error {
	if width < 1 {
		return fmt.Errorf("gptoss: continuing %d texts at a time: want at least 1", width)
	}
	c := continuation{model: m, next: next, batch: graph.NewBatch()}
	c.cpu, _ = m.Plan.Device().(*graph.CPU)
	c.scratch = make([][]candidate, 1)
	if c.cpu != nil {
		c.scratch = make([][]candidate, c.cpu.Threads())
	}
	for range min(width, m.Plan.MaxRows()) {
		seq, err := m.Plan.NewSequence()
		if err != nil {
			return err
		}
		c.places = append(c.places, &place{seq: seq})
	}
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		if more, err := c.step(); err != nil || !more {
			return err
		}
	}
}

// continuation is a call of ContinueAll.
type continuation struct {
	model   *Model
	cpu     *graph.CPU // nil on another device
	next    func() (*Text, error)
	ended   bool // next has returned nil
	batch   *graph.Batch
	places  []*place
	asked   []*place      // whose next token a batch gives, in order of rows
	scratch [][]candidate // by worker: a choice needs as many as the vocabulary has
}

// place is where a text is worked on.
type place struct {
	seq     *graph.Sequence
	text    *Text // nil: the place is free
	sampler *Sampler
	pending []int32 // tokens that the model has not read: of the prompt, or the last one
	last    [1]int32
	err     error
}

// step runs one batch: the next token of every text, and parts of prompts where
// there is room.
func (c *continuation) step() (more bool, err error) {
	c.batch.Reset()
	c.asked = c.asked[:0]
	for _, p := range c.places {
		if err := c.fill(p); err != nil {
			return false, err
		}
		n := min(len(p.pending), c.model.Plan.MaxRows()-c.batch.Rows())
		if p.text == nil || n == 0 {
			continue
		}
		row := c.batch.Add(p.seq, n)
		copy(c.model.Tokens()[row:], p.pending[:n])
		if p.pending = p.pending[n:]; len(p.pending) == 0 {
			c.batch.Want(row + n - 1)
			c.asked = append(c.asked, p)
		}
	}
	if c.batch.Rows() == 0 {
		return false, nil
	}
	if err := c.model.Plan.Run(c.batch); err != nil {
		return false, err
	}
	c.choose()
	limit := c.model.Config.MaxPositions
	for _, p := range c.asked {
		if p.err != nil {
			return false, p.err
		}
		full := limit > 0 && p.seq.Len() >= limit
		if !p.text.Write(p.last[0], full) || full {
			p.text = nil
			continue
		}
		p.pending = p.last[:]
	}
	return true, nil
}

// choose lets every text that was asked for choose its next token.
func (c *continuation) choose() {
	one := func(worker, i int) {
		p := c.asked[i]
		p.sampler.cands = c.scratch[worker]
		p.last[0], p.err = p.sampler.Next(c.model.Logits(i))
		c.scratch[worker], p.sampler.cands = p.sampler.cands, nil
	}
	if c.cpu != nil {
		c.cpu.Parallel(len(c.asked), one)
		return
	}
	for i := range c.asked {
		one(0, i)
	}
}

// fill gives a free place the next text, if there is one.
func (c *continuation) fill(p *place) (err error) {
	if p.text != nil || c.ended {
		return nil
	}
	if p.text, err = c.next(); err != nil {
		return err
	}
	if c.ended = p.text == nil; c.ended {
		return nil
	}
	if len(p.text.Prompt) == 0 {
		return errors.New("gptoss: a text to continue has no tokens")
	}
	if limit := c.model.Config.MaxPositions; limit > 0 && len(p.text.Prompt) > limit {
		return fmt.Errorf("gptoss: %d tokens exceed the model's context of %d", len(p.text.Prompt), limit)
	}
	if err := p.text.Sampling.Check(); err != nil {
		return fmt.Errorf("gptoss: %w", err)
	}
	p.sampler = NewSampler(p.text.Sampling)
	p.sampler.Observe(p.text.Prompt...)
	p.pending = p.text.Prompt
	return p.seq.Truncate(0)
}
