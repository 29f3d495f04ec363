package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/seed-796a8800/tritium/gptoss"
	"github.com/seed-796a8800/tritium/graph"
	"github.com/spf13/cobra"
)

// prefillRows is how many tokens of a prompt go through the model at a time.
const prefillRows = 256

// continuation is what `run --json` prints.
type continuation struct {
	PromptTokens int     `json:"prompt_tokens"`
	Reused       int     `json:"reused_tokens"` // of the prompt: a session has them read
	Tokens       []int32 `json:"tokens"`
	Text         string  `json:"text"`
	StopReason   string  `json:"stop_reason"` // "stop", "length", "context"
	Prefill      float64 `json:"prefill_tok_s"`
	Decode       float64 `json:"decode_tok_s"`
	Drafted      int     `json:"drafted_tokens"` // guessed
	Accepted     int     `json:"accepted_tokens"`
}

// runFlags are the flags of `run`.
type runFlags struct {
	prompt    string
	maxTokens int
	ids       bool
	session   string
	speculate string
	inputs    activations
	cache     string
	sampling  samplingFlags
}

func newRun(a *app) *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "run MODEL",
		Short: "Continue a text",
		Long: `Run continues raw text, given by -p or through stdin, and prints what it writes
as it writes it. Sampling defaults are the model's generation_config.json. The
same seed gives the same text; --temperature 0 always takes the likeliest token.

With --session FILE the model's memory of the text, prompt and continuation, is
kept in FILE. The next prompt that begins alike is read from where it differs; a
session is of one model. --speculate guesses tokens from what is repeated in the
text and checks several at a time: the text is the same, and often sooner there.`,
		Example: "  tritium run nano -p \"The captain looked at\" -n 60\n" +
			"  echo \"Once upon a time\" | tritium run nano --temperature 0\n" +
			"  tritium run nano --session book.session < chapters-1-to-3.txt",
		Args: wantArgs("MODEL"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withModel(args[0], func(c *gptoss.Checkpoint) error {
				var given []string
				if cmd.Flags().Changed("prompt") {
					given = []string{f.prompt}
				}
				text, err := a.argumentOrInput(given)
				if err != nil {
					return err
				}
				g, err := c.GenerationConfig()
				if err != nil {
					return err
				}
				s := f.sampling.choose(g.Sampling, cmd.Flags().Changed)
				s.Seed = a.seed
				if err := s.Check(); err != nil {
					return usageError{err}
				}
				return a.continueText(cmd.Context(), c, text, s, g.Stop, f)
			}, append(f.inputs.options(), gptoss.WithCache(cacheOf(f.cache)), a.expanding())...)
		},
	}
	fl := cmd.Flags()
	fl.SortFlags = false
	fl.StringVarP(&f.prompt, "prompt", "p", "", "`text` to continue (default: stdin)")
	fl.IntVarP(&f.maxTokens, "max-tokens", "n", 128, "stop after so many tokens")
	fl.BoolVar(&f.ids, "ids", false, "the prompt is token ids, and so is what is printed")
	f.sampling.declare(fl)
	fl.StringVar(&f.session, "session", "", "`file` that keeps what the model has read, from one run to the next")
	fl.Var(newChoice(&f.speculate, "auto", "off", "on"), "speculate", "guess repeated tokens: where it pays, never, wherever possible")
	f.inputs.declare(fl)
	cacheFlag(fl, &f.cache)
	return cmd
}

// continueText generates, and prints text as it comes or one JSON object.
func (a *app) continueText(ctx context.Context, c *gptoss.Checkpoint, text string, s gptoss.Sampling, stop []int32, f runFlags) error {
	if f.maxTokens < 1 {
		return usagef("--max-tokens is %d, want at least 1", f.maxTokens)
	}
	tok, err := c.Tokenizer()
	if err != nil {
		return err
	}
	prompt := tok.Encode(text)
	if f.ids {
		if prompt, err = parseIDs(text, c.Config().Vocab); err != nil {
			return err
		}
	}
	if len(prompt) == 0 {
		return usagef("the prompt is empty; GPT-OSS needs a token to start from")
	}
	speculate, err := gptoss.ParseSpeculation(f.speculate)
	if err != nil {
		return usageError{err}
	}
	cpu := a.cpu()
	defer cpu.Close()
	stream := a.out
	if a.json {
		stream = io.Discard
	}
	if f.session != "" {
		a.onInterrupt = fmt.Sprintf("; nothing was saved to %s", f.session)
	}
	decoder := tok.NewDecoder()
	r := request{prompt, s, stop, f.maxTokens, speculate, f.session}
	out, err := generate(ctx, c, cpu, r, func(id int32) error {
		piece := fmt.Sprint(id, " ")
		if !f.ids {
			piece = decoder.Write(id)
		}
		_, err := io.WriteString(stream, piece)
		return err
	})
	if out != nil && !a.json && (err == nil || len(out.Tokens) > 0) { // also after an interrupt: the text so far ends its line
		_, e := fmt.Fprintln(stream, decoder.Flush())
		err = errors.Join(err, e)
	}
	if err != nil {
		return err
	}
	if a.json {
		out.Text = tok.Decode(out.Tokens)
		return a.printJSON(out)
	}
	a.remark("%s", out.closing())
	return nil
}

// closing says in one line how it went.
func (c *continuation) closing() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d tokens read at %.1f/s", c.PromptTokens-c.Reused, c.Prefill)
	if c.Reused > 0 {
		fmt.Fprintf(&b, " and %d from the session", c.Reused)
	}
	fmt.Fprintf(&b, ", %d written at %.1f/s", len(c.Tokens), c.Decode)
	if c.Drafted > 0 {
		fmt.Fprintf(&b, " with %d of %d guesses right", c.Accepted, c.Drafted)
	}
	fmt.Fprintf(&b, "; ended by %s", endings[c.StopReason])
	return b.String()
}

var endings = map[string]string{
	"stop": "the model", "length": "--max-tokens", "context": "the model's context, which is full",
}

// request is a text to continue.
type request struct {
	prompt    []int32
	sampling  gptoss.Sampling
	stop      []int32
	maxTokens int
	speculate gptoss.Speculation
	session   string // file; "": none
}

// generate continues a prompt and calls emit with every token. On an error it
// returns what there is so far.
func generate(ctx context.Context, c *gptoss.Checkpoint, dev *graph.CPU, r request, emit func(int32) error) (*continuation, error) {
	rows := min(prefillRows, len(r.prompt))
	if r.speculate != gptoss.SpeculateOff {
		rows = max(rows, 1+gptoss.MaxDraft)
	}
	m, err := c.Compile(dev, rows)
	if err != nil {
		return nil, err
	}
	g, err := gptoss.NewGenerator(m, r.sampling, r.stop)
	if err != nil {
		return nil, err
	}
	keep, err := openSession(g, r)
	if err != nil {
		return nil, err
	}
	defer keep.abort()
	g.Speculate(r.speculate)
	out := &continuation{PromptTokens: len(r.prompt), Reused: g.Cached(), Tokens: []int32{}, StopReason: "length"}
	start := time.Now()
	for chunk := range slices.Chunk(r.prompt[g.Len():], prefillRows) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := g.Prefill(chunk); err != nil {
			return nil, err
		}
	}
	out.Prefill = float64(len(r.prompt)-out.Reused) / time.Since(start).Seconds()
	if err := out.write(ctx, g, r, emit); err != nil {
		return out, err
	}
	return out, keep.save(g)
}

// write continues the text.
func (c *continuation) write(ctx context.Context, g *gptoss.Generator, r request, emit func(int32) error) error {
	start := time.Now()
	for len(c.Tokens) < r.maxTokens {
		if err := ctx.Err(); err != nil {
			return err
		}
		id, end, err := g.Next()
		if err != nil {
			return err
		}
		if end {
			if c.StopReason = "context"; slices.Contains(r.stop, id) {
				c.StopReason = "stop"
			}
			break
		}
		c.Tokens = append(c.Tokens, id)
		if err := emit(id); err != nil {
			return err
		}
	}
	c.Decode = float64(len(c.Tokens)) / time.Since(start).Seconds()
	c.Drafted, c.Accepted = g.Drafted()
	return nil
}
