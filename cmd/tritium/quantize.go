package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/seed-796a8800/tritium/gptoss"
	"github.com/seed-796a8800/tritium/graph"
	"github.com/seed-796a8800/tritium/quantize"
	"github.com/seed-796a8800/tritium/testdata"
	"github.com/spf13/cobra"
)

// quantizeFlags are the flags of `quantize`.
type quantizeFlags struct {
	out, calibration string
	method, bits     string
	tokens           int
	memory           byteSize
	dryRun           bool
	tokensGiven      bool // --tokens is the user's, not the default
	options          quantize.Options
}

// maxTokens bounds --tokens to what arithmetic on it survives.
const maxTokens = 1 << 30

func newQuantize(a *app) *cobra.Command {
	var f quantizeFlags
	cmd := &cobra.Command{
		Use:   "quantize MODEL --out DIR",
		Short: "Make a ternary model",
		Long: `Quantize turns a model's attention and expert projections into ternary weights
and writes the result to a new directory, which appears only when it is
complete. Inputs of these projections are rounded to int8 when the model runs.

Every method but absmean and stage1 fits the weights to their inputs on a
calibration text, behind the layers that are quantized already. Reconstruct then
trains each layer to give what the original's gives, and distill all of them
together to give the original's next-token distribution. No labels are used; what
training made of the model is kept where it is better on calibration windows that
it did not see. The text is
tokenized whole, without special tokens, and its first --tokens tokens are used.
For nano a text is built in.`,
		Example: "  tritium quantize nano --out nano-ternary\n" +
			"  tritium quantize ./gpt-oss-20b --calibration text.txt --out ./gpt-oss-20b-ternary --attention int8\n" +
			"  tritium quantize ./gpt-oss-20b --dry-run --tokens 262144",
		Args: wantArgs("MODEL"),
		RunE: func(cmd *cobra.Command, args []string) error {
			f.tokensGiven = cmd.Flags().Changed("tokens")
			if err := cmp.Or(f.check(), checkDistill(&f.options, cmd.Flags().Changed)); err != nil {
				return err
			}
			return withModel(args[0], func(c *gptoss.Checkpoint) error {
				return a.quantize(cmd.Context(), args[0], c, f)
			})
		},
	}
	methods := []string{string(quantize.PTBitNet)} // the default first
	for _, m := range quantize.Methods() {
		if m != quantize.PTBitNet {
			methods = append(methods, string(m))
		}
	}
	fl, o := cmd.Flags(), &f.options
	fl.SortFlags = false
	fl.StringVarP(&f.out, "out", "o", "", "`directory` to write, which must not exist")
	fl.Var(newChoice(&f.method, methods...), "method", "how the weights are fitted")
	fl.StringVar(&f.calibration, "calibration", "", "`file` of text to gather statistics on")
	fl.IntVar(&f.tokens, "tokens", 131072, "how much of the calibration text to use")
	fl.IntVar(&o.Window, "window", 512, "tokens of a calibration sequence")
	fl.Var(newChoice(&f.bits, "2", "1.6"), "bits", "of a ternary weight, without its scale")
	fl.IntVar(&o.Group, "group", 0, "weights that share a scale, at most (default 128, at 1.6 bits 160)")
	fl.Var(newChoice(&o.Attention, quantize.StoreTernary, quantize.StoreInt8, quantize.StoreBF16), "attention", "how to store q, k, v and o")
	fl.Var(newChoice(&o.Embedding, quantize.StoreBF16, quantize.StoreInt8, quantize.StoreInt4), "embedding", "how to store the embedding")
	fl.Var(newChoice(&o.Head, quantize.StoreBF16, quantize.StoreInt8, quantize.StoreInt4), "head", "how to store the head")
	fl.Float64Var(&o.Fit.Damp, "damp", quantize.DefaultDamp, "regularizes the statistics: a fraction of their mean diagonal")
	fl.IntVar(&o.Fit.Passes, "passes", quantize.DefaultPasses, "most passes of coordinate descent")
	fl.Float64Var(&o.Fit.DeadZone, "dead-zone", 0.5, "make weights up to this many scales 0, up to 1, where that costs little: smaller with --compress (default .5, off)")
	fl.IntVar(&o.Train.Steps, "steps", quantize.DefaultSteps, "training steps a layer (reconstruct, distill)")
	fl.IntVar(&o.Train.Batch, "batch", quantize.DefaultBatch, "windows a training step (reconstruct, distill)")
	addDistillFlags(fl, o)
	fl.BoolVar(&o.Compress, "compress", false, "store the weights in as many bits as they carry, to be expanded at opening")
	fl.Var(&f.memory, "memory", "refuse to start if more memory than this would be needed: 8GiB (default no limit)")
	fl.BoolVar(&f.dryRun, "dry-run", false, "only forecast size, memory and time")
	return cmd
}

// check refuses flags that make no sense, before anything is opened or read.
func (f *quantizeFlags) check() error {
	o, least := &f.options, 16
	if o.Bits = 2; f.bits == "1.6" {
		o.Bits, least = 1.6, 80
	}
	switch {
	case o.Window < 2:
		return usagef("--window is %d, want at least 2", o.Window)
	case f.tokens > maxTokens:
		return usagef("--tokens is %d, want at most %d", f.tokens, maxTokens)
	case f.tokens < o.Window:
		return usagef("--tokens is %d, less than one window of %d", f.tokens, o.Window)
	case o.Group != 0 && o.Group < least || o.Group < 0:
		return usagef("--group is %d, want at least %d", o.Group, least)
	case !(o.Fit.Damp > 0):
		return usagef("--damp is %g, want a small positive number", o.Fit.Damp)
	case o.Fit.Passes < 1:
		return usagef("--passes is %d, want at least 1", o.Fit.Passes)
	case o.Train.Steps < 1:
		return usagef("--steps is %d, want at least 1", o.Train.Steps)
	case o.Train.Batch < 1:
		return usagef("--batch is %d, want at least 1", o.Train.Batch)
	case f.out == "" && !f.dryRun:
		return usagef("--out DIR is required (or --dry-run)")
	}
	o.Method, o.Distill.Batch = quantize.Method(f.method), o.Train.Batch
	if err := o.Fit.CheckDeadZone(o.Method); err != nil {
		return usageError{err}
	}
	if f.dryRun {
		return nil
	}
	return wantFree(f.out)
}

func (a *app) quantize(ctx context.Context, name string, c *gptoss.Checkpoint, f quantizeFlags) error {
	if q := c.Config().Quantization; q != nil {
		return fmt.Errorf("%s is quantized already (%s); start from the original", name, q.Method)
	}
	var tokens []int32
	if f.options.Method.Calibrates() && !(f.dryRun && f.calibration == "") {
		text, err := readText(f.calibration, "--calibration", testdata.Calibration(), name == nano)
		if err != nil {
			return err
		}
		if tokens, err = encode(c, text); err != nil {
			return err
		}
		if f.tokensGiven && len(tokens) < f.tokens {
			a.remark("the calibration text has %s tokens, less than --tokens %s; all of it is used", count(len(tokens)), count(f.tokens))
		}
		tokens = tokens[:min(f.tokens, len(tokens))]
		f.tokens = len(tokens)
	}
	forecast, err := quantize.NewForecast(c.Config(), f.options, f.tokens)
	if err != nil {
		return err
	}
	if f.dryRun {
		return a.printForecast(c, f, forecast)
	}
	if f.memory > 0 && forecast.Memory > int64(f.memory) {
		smaller := smallerWindows(func(o quantize.Options) (quantize.Forecast, error) {
			return quantize.NewForecast(c.Config(), o, f.tokens)
		}, f.options, c.Config().Layers, int64(f.memory))
		return fmt.Errorf("the run would need %s of memory, --memory allows %s; give it --memory %d, or fewer --tokens%s",
			bytesText(forecast.Memory), bytesText(int64(f.memory)), forecast.Memory, smaller)
	}
	cpu := a.cpu()
	defer cpu.Close()
	a.onInterrupt = fmt.Sprintf("; nothing was written to %s. The same command starts again from the beginning", f.out)
	if f.options.Work != "" {
		a.onInterrupt = fmt.Sprintf("; nothing was written to %s. The same command goes on with what is in %s", f.out, f.options.Work)
	}
	report, err := a.quantizeTo(ctx, cpu, c, tokens, f.out, f.options, "quantize")
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(report)
	}
	return a.printReport(c, f.out, report)
}

// quantizeTo runs the pipeline and shows its progress.
func (a *app) quantizeTo(ctx context.Context, cpu *graph.CPU, c *gptoss.Checkpoint, tokens []int32, out string, o quantize.Options, title string) (*quantize.Report, error) {
	show := a.progress(title, "MAC")
	defer show.Close()
	o.Train.Seed = a.seed
	o.Progress = func(p quantize.Progress) {
		show.Update(fmt.Sprintf("layer %d of %d: %s", p.Layer+1, p.Layers, p.Step), p.Done, p.Total)
	}
	return quantize.Run(ctx, cpu, c, tokens, out, o)
}

func (a *app) printForecast(c *gptoss.Checkpoint, f quantizeFlags, forecast quantize.Forecast) error {
	cpu := a.cpu()
	defer cpu.Close()
	rate := matMulRate(cpu, 300*time.Millisecond)
	seconds := forecast.Work / rate
	if a.json {
		return a.printJSON(struct {
			quantize.Forecast
			Method  quantize.Method `json:"method"`
			Tokens  int             `json:"tokens"`
			Rate    float64         `json:"mac_s"`
			Seconds float64         `json:"seconds"`
		}{forecast, f.options.Method, f.tokens, rate, seconds})
	}
	var t table
	before := ""
	if f.options.Compress {
		before = ", before it is compressed"
	}
	t.row("size", fmt.Sprintf("%s, %.2f bits/weight (now %s)%s", bytesText(forecast.Bytes), forecast.BitsPerWeight, bytesText(c.Bytes()), before))
	t.row("memory", fmt.Sprintf("%s at the peak, beside the mapped files", bytesText(forecast.Memory)))
	text := ""
	if f.options.Method.Calibrates() {
		text = fmt.Sprintf(", %s calibration tokens", count(f.tokens))
	}
	if n := f.options.SelfText; n > 0 {
		text += fmt.Sprintf(" and %s that the original writes", count(n*f.options.Window))
	}
	t.row("time", fmt.Sprintf("about %v on %d threads that now do %.0f GMAC/s (%s%s)",
		time.Duration(seconds*float64(time.Second)).Round(time.Second), cpu.Threads(), rate/1e9, f.options.Method, text))
	return t.write(a.out, 1)
}

func (a *app) printReport(c *gptoss.Checkpoint, out string, r *quantize.Report) error {
	fmt.Fprintf(a.out, "%s: %s, %s instead of %s, %.2f bits/weight, in %.1f s\n", out, r.Method, bytesText(r.Bytes), bytesText(c.Bytes()), r.BitsPerWeight, r.Seconds)
	if r.LeastFed != nil {
		fmt.Fprintf(a.out, "calibrated on %s tokens; the least fed expert, %d of layer %d, saw %s\n",
			count(r.Options.Tokens), r.LeastFed.Expert, r.LeastFed.Layer, count(r.LeastFed.Tokens))
	}
	if err := errors.Join(a.printTraining(r.Layers), a.printDistilled(r.Distilled)); err != nil {
		return err
	}
	fmt.Fprintln(a.out)
	worst := slices.Clone(r.Tensors)
	slices.SortStableFunc(worst, func(a, b quantize.ReportTensor) int { return cmp.Compare(b.RelativeError, a.RelativeError) })
	var t table
	t.row("worst of "+count(len(worst)), "stored as", "bits/weight", "relative error")
	for _, x := range worst[:min(5, len(worst))] {
		t.row(x.Name, x.Format, fmt.Sprintf("%.2f", x.Bits), fmt.Sprintf("%.3f", x.RelativeError))
	}
	return t.write(a.out, 1)
}

// printTraining says what training made of the layers, if there was any.
func (a *app) printTraining(layers []quantize.ReportLayer) error {
	if len(layers) == 0 {
		return nil
	}
	fmt.Fprintln(a.out)
	var t table
	t.row("error on held-out windows", "fitted", "trained", "")
	for _, l := range layers {
		kept := "kept"
		if !l.Kept {
			kept = "not kept"
		}
		t.row(fmt.Sprintf("layer %d", l.Layer), fmt.Sprintf("%.4f", l.Fitted), fmt.Sprintf("%.4f", l.Trained), kept)
	}
	return t.write(a.out, 1, 2)
}
