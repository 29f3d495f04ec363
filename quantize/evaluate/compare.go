package evaluate

import (
	"context"
	"fmt"

	"github.com/seed-796a8800/tritium/graph"
)

const (
	defaultWindow = 512
	// Beyond this many rows a weight pass is not shared any better.
	maxDefaultRows = 1024
	// logitBytes bounds a batch of logits of one model, by default.
	logitBytes = 64 << 20
)

// Options says what Compare reads.
type Options struct {
	Window  int // tokens of a window; 0: 512
	Windows int // how many from the start of the text; 0: all whole ones
	// Rows is how many tokens go through the models at a time; 0: as many as
	// keep the logits of a model below 64 MB. It changes no figure.
	Rows     int
	Progress func(done, total int) // tokens; may be nil
}

// Compare runs a text through the reference and the candidates, side by side,
// and reports how the candidates differ.
//
// The text is cut into windows of Window tokens, each a sequence of its own
// that starts at position 0; what is left over at the end is not used. Every
// row counts for every figure: a window of 512 tokens has 512 targets, the last
// of which is the token that follows it in the text.
//
// At most one batch of logits per model is held, and 4 bytes a token and
// candidate for the percentiles. The figures depend neither on the number of
// threads nor on Options.Rows.
//
// Units: nats. Errors: a text shorter than a window or with tokens outside the
// vocabulary; models whose vocabularies differ; logits that are not finite, by
// model and position.
func Compare(ctx context.Context, cpu *graph.CPU, reference Model, candidates []Model, tokens []int32, o Options) (*Report, error) {
	o, err := o.resolve(reference, candidates, tokens)
	if err != nil {
		return nil, err
	}
	c := &comparison{cpu: cpu, options: o, tokens: tokens}
	for _, m := range append([]Model{reference}, candidates...) {
		s, err := newSubject(cpu, m, reference.Config, o)
		if err != nil {
			return nil, err
		}
		c.subjects = append(c.subjects, s)
	}
	c.scorer = newScorer(cpu, c.subjects, o.Rows)
	total := o.Window * o.Windows
	for done := 0; done < total; {
		n := min(o.Rows, total-done)
		if err := c.batch(ctx, done, n); err != nil {
			return nil, err
		}
		done += n
		if o.Progress != nil {
			o.Progress(done, total)
		}
	}
	return newReport(c.subjects, o), nil
}

// resolve fills in the defaults and refuses what cannot be compared.
func (o Options) resolve(reference Model, candidates []Model, tokens []int32) (Options, error) {
	if o.Window < 0 || o.Windows < 0 || o.Rows < 0 {
		return o, fmt.Errorf("evaluate: %d windows of %d tokens in batches of %d: nothing may be negative", o.Windows, o.Window, o.Rows)
	}
	vocab := reference.Config.Vocab
	if o.Window == 0 {
		o.Window = defaultWindow
	}
	for _, m := range append([]Model{reference}, candidates...) {
		if m.Config.Vocab != vocab {
			return o, fmt.Errorf("evaluate: %s has %d tokens, the reference %s %d: only models of one tokenizer can be compared", m.Name, m.Config.Vocab, reference.Name, vocab)
		}
		if limit := m.Config.MaxPositions; limit > 0 && o.Window > limit {
			return o, fmt.Errorf("evaluate: a window of %d tokens exceeds the context of %s, %d", o.Window, m.Name, limit)
		}
	}
	whole := (len(tokens) - 1) / o.Window
	if whole < 1 {
		return o, fmt.Errorf("evaluate: the text has %d tokens, less than a window of %d and the token after it; give more text or a smaller window", len(tokens), o.Window)
	}
	if whole < o.Windows {
		return o, fmt.Errorf("evaluate: the text has %d windows of %d tokens, %d are wanted", whole, o.Window, o.Windows)
	}
	if o.Windows == 0 {
		o.Windows = whole
	}
	if o.Rows == 0 {
		o.Rows = max(1, min(maxDefaultRows, logitBytes/(4*vocab)))
	}
	o.Rows = min(o.Rows, o.Window*o.Windows)
	for i, id := range tokens[:o.Window*o.Windows+1] {
		if id < 0 || int(id) >= vocab {
			return o, fmt.Errorf("evaluate: token %d of the text is %d, outside the vocabulary of %d", i, id, vocab)
		}
	}
	return o, nil
}

// comparison is a run of Compare.
type comparison struct {
	cpu      *graph.CPU
	options  Options
	tokens   []int32    // the windows and what follows them
	subjects []*subject // the reference, then the candidates
	scorer   *scorer
}

// batch runs tokens [at, at+n) through every model and adds up the figures.
func (c *comparison) batch(ctx context.Context, at, n int) error {
	for _, s := range c.subjects {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.run(c.tokens[at:at+n], at, c.options.Window); err != nil {
			return fmt.Errorf("evaluate: %s: %w", s.name, err)
		}
	}
	c.scorer.score(c.tokens[at+1 : at+1+n])
	for _, s := range c.subjects {
		for row := range n {
			i := at + row
			if !s.rows[row].finite {
				return fmt.Errorf("evaluate: %s gives logits that are not finite after token %d of window %d", s.name, i%c.options.Window, i/c.options.Window)
			}
			s.tally(i/c.options.Window, s.rows[row])
		}
	}
	return nil
}
