package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
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
	Tokens       []int32 `json:"tokens"`
	Text         string  `json:"text"`
	StopReason   string  `json:"stop_reason"` // "stop", "length", "context"
	Prefill      float64 `json:"prefill_tok_s"`
	Decode       float64 `json:"decode_tok_s"`
}

// runFlags are the flags of `run`.
type runFlags struct {
	prompt    string
	maxTokens int
	ids       bool
	cache     string
	sampling  gptoss.Sampling // where a flag was given
}

func newRun(a *app) *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "run MODEL",
		Short: "Continue a text",
		Long: `Run continues raw text, given by -p or through stdin, and prints what it writes
as it writes it. Sampling defaults are the model's generation_config.json. The
same seed gives the same text; --temperature 0 always takes the likeliest token.`,
		Example: "  tritium run nano -p \"The captain looked at\" -n 60\n" +
			"  echo \"Once upon a time\" | tritium run nano --temperature 0",
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
				s := f.choose(g.Sampling, cmd.Flags().Changed)
				s.Seed = a.seed
				if err := s.Check(); err != nil {
					return usageError{err}
				}
				return a.continueText(cmd.Context(), c, text, s, g.Stop, f)
			}, gptoss.WithCache(cacheOf(f.cache)))
		},
	}
	fl := cmd.Flags()
	fl.SortFlags = false
	fl.StringVarP(&f.prompt, "prompt", "p", "", "`text` to continue (default: stdin)")
	fl.IntVarP(&f.maxTokens, "max-tokens", "n", 128, "stop after so many tokens")
	fl.BoolVar(&f.ids, "ids", false, "the prompt is token ids, and so is what is printed")
	fl.Float64Var(&f.sampling.Temperature, "temperature", 0, "divides the logits; 0 takes the likeliest token (default: the model's)")
	fl.IntVar(&f.sampling.TopK, "top-k", 0, "choose among the `k` likeliest tokens (default: the model's)")
	fl.Float64Var(&f.sampling.TopP, "top-p", 0, "choose among the likeliest tokens of this total probability (default: the model's)")
	fl.Float64Var(&f.sampling.MinP, "min-p", 0, "choose among tokens this likely relative to the likeliest (default: the model's)")
	fl.Float64Var(&f.sampling.RepetitionPenalty, "repetition-penalty", 0, "make tokens that occurred less likely; 1 is none (default: the model's)")
	cacheFlag(fl, &f.cache)
	return cmd
}

// choose takes the sampling that flags ask for and the model's for the rest.
func (f *runFlags) choose(s gptoss.Sampling, given func(string) bool) gptoss.Sampling {
	for _, x := range []struct {
		flag     string
		to, from *float64
	}{
		{"temperature", &s.Temperature, &f.sampling.Temperature}, {"top-p", &s.TopP, &f.sampling.TopP},
		{"min-p", &s.MinP, &f.sampling.MinP}, {"repetition-penalty", &s.RepetitionPenalty, &f.sampling.RepetitionPenalty},
	} {
		if given(x.flag) {
			*x.to = *x.from
		}
	}
	if given("top-k") {
		s.TopK = f.sampling.TopK
	}
	return s
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
	cpu := a.cpu()
	defer cpu.Close()
	stream := a.out
	if a.json {
		stream = io.Discard
	}
	decoder := tok.NewDecoder()
	out, err := generate(ctx, c, cpu, prompt, s, stop, f.maxTokens, func(id int32) error {
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
	a.remark("%d tokens read at %.1f/s, %d written at %.1f/s; ended by %s",
		out.PromptTokens, out.Prefill, len(out.Tokens), out.Decode, endings[out.StopReason])
	return nil
}

var endings = map[string]string{
	"stop": "the model", "length": "--max-tokens", "context": "the model's context, which is full",
}

// generate continues a prompt and calls emit with every token. On an error it
// returns what there is so far.
func generate(ctx context.Context, c *gptoss.Checkpoint, dev *graph.CPU, prompt []int32, s gptoss.Sampling, stop []int32, limit int, emit func(int32) error) (*continuation, error) {
	m, err := c.Compile(dev, min(prefillRows, len(prompt)))
	if err != nil {
		return nil, err
	}
	g, err := gptoss.NewGenerator(m, s, stop)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	for chunk := range slices.Chunk(prompt, prefillRows) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := g.Prefill(chunk); err != nil {
			return nil, err
		}
	}
	out := &continuation{PromptTokens: len(prompt), Tokens: []int32{}, StopReason: "length"}
	out.Prefill = float64(len(prompt)) / time.Since(start).Seconds()
	start = time.Now()
	for len(out.Tokens) < limit {
		if err := ctx.Err(); err != nil {
			return out, err
		}
		id, end, err := g.Next()
		if err != nil {
			return out, err
		}
		if end {
			if out.StopReason = "context"; slices.Contains(stop, id) {
				out.StopReason = "stop"
			}
			break
		}
		out.Tokens = append(out.Tokens, id)
		if err := emit(id); err != nil {
			return out, err
		}
	}
	out.Decode = float64(len(out.Tokens)) / time.Since(start).Seconds()
	return out, nil
}
