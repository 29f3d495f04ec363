package gptoss

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/seed-796a8800/tritium/graph"
)

// Generator continues one text. What it chooses is a matter of the text, the
// sampling and the model alone: a text that is rewound, forked, or saved and
// loaded, goes on as it would have anyway.
type Generator struct {
	model   *Model
	seq     *graph.Sequence
	batch   *graph.Batch
	sampler *Sampler
	stop    []int32
	allowed []uint64 // tokens that may be chosen; nil: all

	// The model has read the first seq.Len() tokens of the text, and where there
	// are logits, all of them and a guess.
	text []int32
	// Logits row i says what follows the text when guess[:i] does. They are
	// copied, since the model's own are of whatever it ran last. Rows before
	// row are used up.
	logits    []float32 // [rows, V]
	row, rows int
	next      [1 + MaxDraft]int32 // the token that a batch begins with, and the guess behind it

	drafts            drafter // nil without speculation
	drafted, accepted int
}

// NewGenerator returns a generator with an empty text that stops at any of the
// stop ids. Generators of one model may take turns.
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

// Speculate says whether to guess tokens ahead: not at all at first. It changes
// no token, only the time they take.
func (g *Generator) Speculate(s Speculation) {
	g.drafts = nil
	if s != SpeculateOff {
		g.drafts = newPromptLookup(s)
		g.drafts.extend(g.text)
	}
}

// Drafted returns how many tokens were guessed, and how many of them rightly.
func (g *Generator) Drafted() (drafted, accepted int) { return g.drafted, g.accepted }

// Prefill appends a prompt. After an error the text is what it was.
func (g *Generator) Prefill(ids []int32) error {
	if len(ids) == 0 {
		return errors.New("gptoss: the prompt has no tokens")
	}
	before := len(g.text)
	if limit := g.model.Config.MaxPositions; limit > 0 && before+len(ids) > limit {
		return fmt.Errorf("gptoss: %d tokens exceed the model's context of %d", before+len(ids), limit)
	}
	if err := g.unread(before); err != nil {
		return err
	}
	g.text = append(g.text, ids...)
	g.sampler.Observe(ids...)
	if g.drafts != nil {
		g.drafts.extend(g.text)
	}
	if err := g.read(); err != nil {
		return errors.Join(err, g.Rewind(before))
	}
	return nil
}

// Next chooses the next token and appends it; the model reads it when another
// one is asked for. stop is true, and the text stays as it is, at a stop id and
// when the context is full.
func (g *Generator) Next() (id int32, stop bool, err error) {
	if g.row == g.rows {
		if err := g.read(); err != nil {
			return 0, false, err
		}
	}
	v := g.model.Config.Vocab
	if id, err = g.sampler.NextOf(g.logits[g.row*v:(g.row+1)*v], g.allowed); err != nil {
		return 0, false, err
	}
	limit := g.model.Config.MaxPositions
	if slices.Contains(g.stop, id) || limit > 0 && len(g.text) >= limit {
		g.sampler.Forget(id)
		return id, true, nil
	}
	g.text = append(g.text, id)
	if g.drafts != nil {
		g.drafts.extend(g.text)
	}
	if g.row++; g.row < g.rows && g.next[g.row] == id {
		g.accepted++
		return id, false, nil
	}
	return id, false, g.unread(len(g.text) - 1)
}

// read runs the tokens that the model has not read, and behind a single one of
// them a guess.
func (g *Generator) read() error {
	if len(g.text) == 0 {
		return errors.New("gptoss: nothing to continue; prefill a prompt first")
	}
	if g.seq.Len() == len(g.text) { // the last is read again, for what follows it
		if err := g.unread(len(g.text) - 1); err != nil {
			return err
		}
	}
	had, n := g.seq.Len(), 1
	ids := g.text[had:]
	single := g.drafts != nil && len(ids) == 1
	if single {
		g.next[0] = ids[0]
		n += g.drafts.guess(g.next[1:1+g.room()], g.text)
		ids = g.next[:n]
	}
	start := time.Now()
	if err := g.model.append(g.batch, g.seq, ids, n); err != nil {
		return errors.Join(err, g.unread(had))
	}
	g.logits, g.row, g.rows = g.logits[:0], 0, n
	for i := range n {
		g.logits = append(g.logits, g.model.Logits(i)...)
	}
	if single {
		g.drafts.took(n, time.Since(start))
		g.drafted += n - 1
	}
	return nil
}

// room is how many tokens can be guessed.
func (g *Generator) room() int {
	n := min(MaxDraft, g.model.Plan.MaxRows()-1)
	if limit := g.model.Config.MaxPositions; limit > 0 {
		n = min(n, limit-len(g.text))
	}
	return n
}

// unread drops the logits, and what the model has read but for the first n
// tokens. Where a window has forgotten what that takes, what was read behind
// the last Keep is dropped, or everything, and will be read again.
func (g *Generator) unread(n int) error {
	g.row, g.rows = 0, 0
	n = min(n, g.seq.Len())
	if g.seq.Truncate(n) == nil {
		return nil
	}
	if kept := g.seq.Kept(); kept < n && g.seq.Truncate(kept) == nil {
		return nil
	}
	return g.seq.Truncate(0)
}

// Keep makes Rewind to the text as it is now cheap, however much follows: what
// the model has read by now need not be read again.
func (g *Generator) Keep() { g.seq.Keep() }

// Restrict lets the next tokens be only those whose bit is set, token i being
// bit i%64 of allowed[i/64]; nil lets them be any. The generator keeps the
// slice, so that who changes it changes what is allowed.
func (g *Generator) Restrict(allowed []uint64) { g.allowed = allowed }

// Len returns the number of tokens in the text.
func (g *Generator) Len() int { return len(g.text) }

// Text returns the tokens. They may be read until the generator goes on.
func (g *Generator) Text() []int32 { return g.text }

// Cached returns how many tokens of the text the model need not read again.
func (g *Generator) Cached() int { return min(len(g.text), g.seq.Len()) }

// Rewind forgets the text behind its first n tokens, as if it had never been.
//
// Errors: n below 0 or beyond the text.
func (g *Generator) Rewind(n int) error {
	if n < 0 || n > len(g.text) {
		return fmt.Errorf("gptoss: rewinding a text of %d tokens to %d", len(g.text), n)
	}
	if n == len(g.text) {
		return nil
	}
	g.sampler.Forget(g.text[n:]...)
	if g.drafts != nil {
		g.drafts.shorten(g.text, n)
	}
	g.text = g.text[:n]
	return g.unread(n)
}

// Fork returns a generator of the same text that is independent of g.
func (g *Generator) Fork() (*Generator, error) {
	seq, err := g.seq.Fork()
	if err != nil {
		return nil, err
	}
	f := *g
	f.seq, f.batch, f.sampler = seq, graph.NewBatch(), g.sampler.clone()
	f.text, f.logits = slices.Clone(g.text), slices.Clone(g.logits)
	if g.drafts != nil {
		f.drafts = g.drafts.clone()
	}
	return &f, nil
}
