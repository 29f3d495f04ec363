package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/seed-796a8800/tritium/gptoss"
	"github.com/seed-796a8800/tritium/graph"
	"github.com/seed-796a8800/tritium/quantize"
	"github.com/seed-796a8800/tritium/quantize/evaluate"
	"github.com/seed-796a8800/tritium/testdata"
	"github.com/spf13/cobra"
)

// What the demo does in under a minute on two cores.
const (
	demoCalibration = 32768 // tokens
	demoWindows     = 24    // of held-out text
	demoPrompt      = 512   // tokens, for the speed
	demoDecode      = 64
	demoText        = "The captain stood upon the deck, and looked at the"
	demoTokens      = 70 // of continuation
	demoTemperature = 0.7
)

var demoMethods = []quantize.Method{quantize.AbsMean, quantize.Stage1, quantize.PTBitNet}

// demoModel is a row of the demo's table.
type demoModel struct {
	Model    string  `json:"model"`
	Bytes    int64   `json:"bytes"`
	Bits     float64 `json:"bits_per_weight"`
	NLL      float64 `json:"nll"`
	PPLRatio float64 `json:"ppl_ratio"`
	KL       float64 `json:"kl_mean"`
	Top1     float64 `json:"top1"`
	Prefill  float64 `json:"prefill_tok_s"`
	Decode   float64 `json:"decode_tok_s"`

	checkpoint *gptoss.Checkpoint
}

// demonstration is what `demo --json` prints.
type demonstration struct {
	Models        []*demoModel      `json:"models"`
	Tokens        int               `json:"tokens"`
	Prompt        string            `json:"prompt"`
	Continuations map[string]string `json:"continuations"` // by model
	Seconds       float64           `json:"seconds"`
}

func newDemo(a *app) *cobra.Command {
	var keep string
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "See it work: quantize a small built-in model, offline, in under a minute",
		Long: `Demo takes the GPT-OSS that is built into this program, makes it ternary in three
ways, measures what each cost on text by other authors than it was calibrated on,
and lets the original and the best ternary model continue the same text.`,
		Args: wantArgs(),
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			dir := keep
			if keep == "" {
				if dir, err = os.MkdirTemp("", "tritium-demo-"); err != nil {
					return err
				}
				a.onInterrupt = "; nothing was kept"
				defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
			} else if err := os.Mkdir(dir, 0o777); err != nil {
				return fmt.Errorf("--keep: %w", err)
			} else {
				a.onInterrupt = fmt.Sprintf("; %s holds the models that were complete", dir)
			}
			return a.demo(cmd.Context(), dir, keep != "")
		},
	}
	cmd.Flags().StringVar(&keep, "keep", "", "new `directory` to keep the ternary models in")
	return cmd
}

func (a *app) demo(ctx context.Context, dir string, keep bool) (err error) {
	start := time.Now()
	cpu := a.cpu()
	defer cpu.Close()
	original, err := openModel(nano)
	if err != nil {
		return err
	}
	d := &demonstration{Models: []*demoModel{{Model: "original", checkpoint: original}}, Prompt: demoText, Continuations: map[string]string{}}
	defer func() {
		for _, m := range d.Models {
			err = errors.Join(err, m.checkpoint.Close())
		}
	}()
	if !a.json {
		fmt.Fprintf(a.out, "A small GPT-OSS (%s, MXFP4 experts, the rest bf16) made ternary in %d ways.\n\n", bytesText(original.Bytes()), len(demoMethods))
	}
	if err := a.demoQuantize(ctx, cpu, d, dir); err != nil {
		return err
	}
	if err := a.demoMeasure(ctx, cpu, d); err != nil {
		return err
	}
	if err := a.demoContinue(ctx, cpu, d); err != nil {
		return err
	}
	d.Seconds = time.Since(start).Seconds()
	if a.json {
		return a.printJSON(d)
	}
	return d.print(a, dir, keep)
}

// demoQuantize makes the ternary models and opens them.
func (a *app) demoQuantize(ctx context.Context, cpu *graph.CPU, d *demonstration, dir string) error {
	original := d.Models[0].checkpoint
	tokens, err := encode(original, testdata.Calibration())
	if err != nil {
		return err
	}
	for _, method := range demoMethods {
		out := filepath.Join(dir, string(method))
		o := quantize.Options{Method: method}
		if _, err := a.quantizeTo(ctx, cpu, original, tokens[:min(demoCalibration, len(tokens))], out, o, string(method)); err != nil {
			return err
		}
		c, err := gptoss.Open(out)
		if err != nil {
			return err
		}
		d.Models = append(d.Models, &demoModel{Model: string(method), checkpoint: c})
	}
	return nil
}

// demoMeasure fills in what the models cost and how fast they are.
func (a *app) demoMeasure(ctx context.Context, cpu *graph.CPU, d *demonstration) error {
	tokens, err := encode(d.Models[0].checkpoint, testdata.Heldout())
	if err != nil {
		return err
	}
	var models []evaluate.Model
	for _, m := range d.Models {
		models = append(models, evaluate.FromCheckpoint(m.Model, m.checkpoint))
	}
	r, err := a.compare(ctx, cpu, models, tokens, evaluate.Options{Windows: demoWindows})
	if err != nil {
		return err
	}
	d.Tokens = r.Tokens
	for i, m := range d.Models {
		m.Bytes, m.Bits = models[i].Bytes, models[i].BitsPerWeight
		m.NLL, m.PPLRatio, m.Top1 = r.Reference.NLL, 1, 1
		if i > 0 {
			c := r.Candidates[i-1]
			m.NLL, m.PPLRatio, m.KL, m.Top1 = c.NLL, c.PPLRatio, c.KLMean, c.Top1
		}
		if m.Prefill, m.Decode, err = medianSpeed(ctx, m.checkpoint, cpu, tokens); err != nil {
			return err
		}
	}
	return nil
}

// medianSpeed measures a model a few times, after once to warm up.
func medianSpeed(ctx context.Context, c *gptoss.Checkpoint, cpu *graph.CPU, tokens []int32) (float64, float64, error) {
	s, err := newSpeedometer(c, cpu, tokens[:demoPrompt+demoDecode], demoPrompt)
	if err != nil {
		return 0, 0, err
	}
	var prefill, decode series
	for i := range 4 {
		if err := ctx.Err(); err != nil {
			return 0, 0, err
		}
		seq, err := s.sequence(len(s.ids))
		if err != nil {
			return 0, 0, err
		}
		p, err := s.prefill(seq, demoPrompt)
		if err != nil {
			return 0, 0, err
		}
		d, err := s.decode(seq, demoDecode)
		if err != nil {
			return 0, 0, err
		}
		if i > 0 {
			prefill, decode = append(prefill, p), append(decode, d)
		}
	}
	return prefill.median(), decode.median(), nil
}

// demoContinue lets the original and the last model continue one text, with
// one seed.
func (a *app) demoContinue(ctx context.Context, cpu *graph.CPU, d *demonstration) error {
	for _, m := range []*demoModel{d.Models[0], d.Models[len(d.Models)-1]} {
		tok, err := m.checkpoint.Tokenizer()
		if err != nil {
			return err
		}
		r := request{prompt: tok.Encode(demoText), maxTokens: demoTokens,
			sampling: gptoss.Sampling{Temperature: demoTemperature, Seed: a.seed}}
		out, err := generate(ctx, m.checkpoint, cpu, r, func(int32) error { return nil })
		if err != nil {
			return err
		}
		d.Continuations[m.Model] = tok.Decode(out.Tokens)
	}
	return nil
}

func (d *demonstration) print(a *app, dir string, keep bool) error {
	var t table
	t.row("model", "size", "bits/weight", "loss", "ppl ratio", "KL", "top-1", "prefill", "decode")
	for _, m := range d.Models {
		t.row(m.Model, bytesText(m.Bytes), fmt.Sprintf("%.2f", m.Bits), fmt.Sprintf("%.3f", m.NLL), fmt.Sprintf("%.2f", m.PPLRatio),
			fmt.Sprintf("%.3f", m.KL), fmt.Sprintf("%.0f %%", 100*m.Top1), fmt.Sprintf("%.0f tok/s", m.Prefill), fmt.Sprintf("%.0f tok/s", m.Decode))
	}
	if err := t.write(a.out); err != nil {
		return err
	}
	best := d.Models[len(d.Models)-1]
	fmt.Fprintf(a.out, `
Loss is in nats a token, on %s tokens by authors that the calibration text does
not have. KL is how far the next-token distribution moved from the original's,
top-1 how often the likeliest token stayed the same.

Both continue "%s" (temperature %g, one seed):

`, count(d.Tokens), demoText, demoTemperature)
	if err := printColumns(a, "original", d.Continuations["original"], best.Model, d.Continuations[best.Model]); err != nil {
		return err
	}
	fmt.Fprintf(a.out, `
What this shows: the whole way from a published checkpoint to a ternary model that
runs. What it does not show: the quality of a large model. This one is 192 wide,
where three values a weight lose much; and its embedding and head, which stay bf16,
are half of the ternary file. What holds for wider models too, which lose less, is
the order of the methods: rounding to nearest (absmean) destroys a model, the best
scale for each group of weights (stage1) saves most of it, fitting to the inputs
(pt-bitnet) saves more, and more with more calibration text than the demo takes.

Took %.0f s. Next:
`, d.Seconds)
	next := []string{"tritium inspect nano", "tritium quantize nano --out nano-ternary --attention int8", "tritium eval nano-ternary --reference nano", "tritium --help"}
	if keep {
		next[2] = fmt.Sprintf("tritium run %s -p \"It was a dark night\"", filepath.Join(dir, best.Model))
	}
	_, err := fmt.Fprintf(a.out, "  %s\n", strings.Join(next, "\n  "))
	return err
}

// printColumns prints two texts side by side.
func printColumns(a *app, leftTitle, left, rightTitle, right string) error {
	const width = 39
	l, r := wrap(left, width), wrap(right, width)
	var t table
	t.row(leftTitle, rightTitle)
	for i := range max(len(l), len(r)) {
		row := []string{"", ""}
		if i < len(l) {
			row[0] = l[i]
		}
		if i < len(r) {
			row[1] = r[i]
		}
		t.row(row...)
	}
	return t.write(a.out, 1)
}
