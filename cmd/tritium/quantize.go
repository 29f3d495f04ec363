package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"time"

	"github.com/seed-796a8800/tritium/gptoss"
	"github.com/seed-796a8800/tritium/graph"
	"github.com/seed-796a8800/tritium/quantize"
	"github.com/seed-796a8800/tritium/testdata"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// quantizeFlags are the flags of `quantize`.
type quantizeFlags struct {
	out, calibration string
	method, bits     string
	tokens           int
	memory           byteSize
	shard            string
	stores           []string // of merge
	budget           budget
	dryRun           bool
	tokensGiven      bool // --tokens is the user's, not the default
	options          quantize.Options
}

const (
	maxTokens     = 1 << 30 // bounds --tokens to what arithmetic on it survives
	defaultMemory = 8 << 30
)

func newQuantize(a *app) *cobra.Command {
	f := quantizeFlags{memory: defaultMemory}
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
it did not see. The text is tokenized whole, without special tokens, and its
first --tokens tokens are used. For nano a text is built in.

With --budget, formats are chosen by what each costs in KL when one part alone has
it, on calibration windows that nothing is fitted to; the plan is printed first.
It supposes that costs add up: 'tritium eval' says what the result costs.

Intermediate results are kept in a store, by default the directory DIR.work, and
removed in the end. After an interruption, a crash or kill -9 the same command goes on where
it was. The same command started several times, on one machine or on several that
see the same --store, shares the work. Nothing of this changes a bit of the result.

Across machines that share no disk: --blocks independent --shard 0/4 to 3/4, then
'tritium quantize merge' with their stores. --shard auto takes the numbers from a
Slurm array (SLURM_ARRAY_TASK_ID, _MIN, _COUNT) or an indexed Kubernetes job
(JOB_COMPLETION_INDEX, and JOB_COMPLETIONS, which the job has to set).`,
		Example: "  tritium quantize nano --out nano-ternary\n" +
			"  tritium quantize ./gpt-oss-20b --calibration text.txt --out ./gpt-oss-20b-ternary --attention int8\n" +
			"  tritium quantize ./gpt-oss-20b --dry-run --tokens 262144",
		Args: wantArgs("MODEL"),
		RunE: func(cmd *cobra.Command, args []string) error {
			f.tokensGiven = cmd.Flags().Changed("tokens")
			if err := cmp.Or(f.check(), checkDistill(&f.options, cmd.Flags().Changed), f.budget.check(cmd.Flags())); err != nil {
				return err
			}
			return withModel(args[0], func(c *gptoss.Checkpoint) error {
				return a.quantize(cmd.Context(), args[0], c, f)
			})
		},
	}
	fl, o := cmd.Flags(), &f.options
	fl.SortFlags = false
	f.define(fl)
	fl.Var(&f.memory, "memory", "refuse to start if more memory than this would be needed (default 8GiB)")
	fl.StringVar(&o.Store, "store", "", "`directory` of the intermediate results (default DIR.work)")
	fl.BoolVar(&o.KeepStore, "keep-store", false, "leave the store when all is done")
	fl.IntVar(&o.Workers, "workers", 1, "pieces of work at a time, each with its share of the threads and memory of its own")
	fl.StringVar(&f.shard, "shard", "", "do only share `I/N` of the work, 0/N to N-1/N, or auto, and leave the store")
	fl.BoolVar(&f.dryRun, "dry-run", false, "only forecast size, memory, disk and time")
	cmd.AddCommand(newMerge(a))
	return cmd
}

// define defines the flags that decide the result.
func (f *quantizeFlags) define(fl *pflag.FlagSet) {
	methods := []string{string(quantize.PTBitNet)} // the default first
	for _, m := range quantize.Methods() {
		if m != quantize.PTBitNet {
			methods = append(methods, string(m))
		}
	}
	o := &f.options
	fl.StringVarP(&f.out, "out", "o", "", "`directory` to write, which must not exist")
	fl.Var(newChoice(&f.method, methods...), "method", "how the weights are fitted")
	fl.StringVar(&f.calibration, "calibration", "", "`file` of text to gather statistics on")
	fl.IntVar(&f.tokens, "tokens", 131072, "how much of the calibration text to use")
	fl.IntVar(&o.Window, "window", 512, "tokens of a calibration sequence")
	fl.Var(newChoice(&o.Blocks, quantize.Sequential, quantize.Independent), "blocks", "fit a layer behind those quantized before it, or behind the original's")
	f.declareFormats(fl)
	fl.Float64Var(&o.Fit.Damp, "damp", quantize.DefaultDamp, "regularizes the statistics: a fraction of their mean diagonal")
	fl.IntVar(&o.Fit.Passes, "passes", quantize.DefaultPasses, "most passes of coordinate descent")
	fl.Float64Var(&o.Fit.DeadZone, "dead-zone", 0.5, "make weights up to this many scales 0, up to 1, where that costs little: smaller with --compress (default .5, off)")
	fl.IntVar(&o.Train.Steps, "steps", quantize.DefaultSteps, "training steps a layer (reconstruct, distill)")
	fl.IntVar(&o.Train.Batch, "batch", quantize.DefaultBatch, "windows a training step (reconstruct, distill)")
	addDistillFlags(fl, o)
	fl.BoolVar(&o.Compress, "compress", false, "store the weights in as many bits as they carry, to be expanded at opening")
}

// check refuses flags that make no sense, before anything is opened or read.
func (f *quantizeFlags) check() (err error) {
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
	case o.Workers < 0 || o.Workers > 4096:
		return usagef("--workers is %d, want 1 to 4096", o.Workers)
	case f.out == "" && !f.dryRun:
		return usagef("--out DIR is required (or --dry-run)")
	}
	if o.Shard, err = parseShard(f.shard, os.LookupEnv); err != nil {
		return err
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

// calibrationTokens reads what the statistics are gathered on, and plans a budget
// on what is behind it.
func (a *app) calibrationTokens(ctx context.Context, name string, c *gptoss.Checkpoint, f *quantizeFlags) ([]int32, error) {
	if q := c.Config().Quantization; q != nil {
		return nil, fmt.Errorf("%s is quantized already (%s); start from the original", name, q.Method)
	}
	if !(f.options.Method.Calibrates() || f.budget.given()) || f.dryRun && f.calibration == "" && !f.budget.given() {
		return nil, nil
	}
	text, err := readText(f.calibration, "--calibration", testdata.Calibration(), name == nano)
	if err != nil {
		return nil, err
	}
	tokens, err := encode(c, text)
	if err != nil {
		return nil, err
	}
	if f.tokensGiven && len(tokens) < f.tokens {
		a.remark("the calibration text has %s tokens, less than --tokens %s; all of it is used", count(len(tokens)), count(f.tokens))
	}
	if f.budget.given() {
		var probes []int32
		tokens, probes = probeWindows(tokens, f.tokens, f.options.Window)
		if err := a.plan(ctx, c, probes, f); err != nil {
			return nil, err
		}
	}
	tokens = tokens[:min(f.tokens, len(tokens))]
	f.tokens = len(tokens)
	return tokens, nil
}

func (a *app) quantize(ctx context.Context, name string, c *gptoss.Checkpoint, f quantizeFlags) error {
	tokens, err := a.calibrationTokens(ctx, name, c, &f)
	if err != nil {
		return err
	}
	forecast, err := quantize.NewForecast(c.Config(), f.options, f.tokens)
	if err != nil {
		return err
	}
	if f.dryRun {
		return a.printForecast(c, f, forecast)
	}
	if forecast.Memory > int64(f.memory) {
		return fmt.Errorf("the run would need %s of memory, --memory allows %s; %s",
			bytesText(forecast.Memory), bytesText(int64(f.memory)), f.lessMemory(c.Config(), forecast.Memory))
	}
	cpu := a.cpu()
	defer cpu.Close()
	store := cmp.Or(f.options.Store, f.out+quantize.StoreSuffix)
	a.onInterrupt = fmt.Sprintf("; what is done is kept in %s, and the same command goes on from it", store)
	report, err := a.quantizeTo(ctx, cpu, c, tokens, f.out, f.options, "quantize")
	if err != nil {
		return err
	}
	if report == nil {
		return a.printShare(name, f, store)
	}
	if a.json {
		return a.printJSON(report)
	}
	return a.printReport(c, f.out, report)
}

// lessMemory says how to need less than the forecast.
func (f *quantizeFlags) lessMemory(c gptoss.Config, need int64) string {
	how := fmt.Sprintf("give it --memory %d", need)
	if f.options.Workers > 1 {
		how += ", or fewer --workers"
	}
	if f.options.Method.Trains() {
		o := f.options
		o.Method = quantize.PTBitNet
		how += smallerWindows(func(o quantize.Options) (quantize.Forecast, error) {
			return quantize.NewForecast(c, o, f.tokens)
		}, f.options, c.Layers, int64(f.memory))
		if other, err := quantize.NewForecast(c, o, f.tokens); err == nil {
			how += fmt.Sprintf(", or a smaller --batch or --window; --method %s, which trains nothing, needs %s", o.Method, bytesText(other.Memory))
		}
	}
	return how
}

// printShare says what to do when the other shares are done, too.
func (a *app) printShare(name string, f quantizeFlags, store string) error {
	s := f.options.Shard
	if a.json {
		return a.printJSON(struct {
			Store string `json:"store"`
			Index int    `json:"index"`
			Count int    `json:"count"`
		}{store, s.Index, s.Count})
	}
	_, err := fmt.Fprintf(a.out, "share %d of %d is done and in %s\nwhen all are: tritium quantize merge %s --out %s --store %s ... with the same options\n",
		s.Index, s.Count, store, name, f.out, store)
	return err
}

// quantizeTo runs the pipeline and shows its progress.
func (a *app) quantizeTo(ctx context.Context, cpu *graph.CPU, c *gptoss.Checkpoint, tokens []int32, out string, o quantize.Options, title string) (*quantize.Report, error) {
	show := a.progress(title, "MAC")
	defer show.Close()
	o.Train.Seed = a.seed
	o.Notice = func(err error) { a.remark("%v", err) }
	o.Progress = func(p quantize.Progress) {
		show.Left(p.Left)
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
	t.row("disk", fmt.Sprintf("%s at the peak, the result and its store", bytesText(forecast.Disk)))
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
