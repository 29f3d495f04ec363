package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"

	"github.com/seed-796a8800/tritium/gptoss"
	"github.com/seed-796a8800/tritium/graph"
	"github.com/seed-796a8800/tritium/internal/atomicfile"
	"github.com/seed-796a8800/tritium/ops"
	"github.com/seed-796a8800/tritium/quantize/evaluate"
	"github.com/seed-796a8800/tritium/testdata"
	"github.com/spf13/cobra"
)

// evalFlags are the flags of `eval`.
type evalFlags struct {
	reference, text, tasks, activations, cache, plot string
	options                                          evaluate.Options
}

func newEval(a *app) *cobra.Command {
	var f evalFlags
	cmd := &cobra.Command{
		Use:   "eval MODEL... --reference MODEL --text FILE",
		Short: "What quantization cost",
		Long: `Eval runs a text through an original model and through others made from it, and
says how they differ: loss (nats a token), perplexity ratio, KL divergence of the
next-token distributions, agreement on the likeliest token and on the experts.
The text must be one that no model was calibrated on. For nano one is built in.

Judge by the KL divergence: perplexity on raw text misleads for a chat model.`,
		Example: "  tritium eval nano-ternary --reference nano\n" +
			"  tritium eval a b c --reference ./gpt-oss-20b --text heldout.txt --windows 64 --plot cost.svg\n" +
			"  tritium eval nano --reference nano --activations int8\n" +
			"  tritium eval nano --reference nano --kv int8",
		Args: wantArgs("MODEL..."),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.evaluate(cmd.Context(), args, f)
		},
	}
	fl := cmd.Flags()
	fl.SortFlags = false
	fl.StringVar(&f.reference, "reference", "", "the original `model`")
	fl.StringVar(&f.text, "text", "", "`file` of text to measure on")
	fl.IntVar(&f.options.Window, "window", 512, "tokens of a sequence")
	fl.IntVar(&f.options.Windows, "windows", 0, "how many windows of the text to use (default all)")
	fl.StringVar(&f.tasks, "tasks", "", "`file` of questions, a JSON object a line, to ask the models")
	fl.Var(newChoice(&f.activations, "model", "int8"), "activations", "int8 rounds the activations of models that are not quantized: what that alone costs")
	cacheFlag(fl, &f.cache)
	fl.StringVar(&f.plot, "plot", "", "`file` for a picture of quality against size, an SVG")
	return cmd
}

func (a *app) evaluate(ctx context.Context, names []string, f evalFlags) (err error) {
	switch {
	case f.reference == "":
		return usagef("--reference MODEL is required: the original that the models are measured against")
	case f.options.Window < 2:
		return usagef("--window is %d, want at least 2", f.options.Window)
	case f.options.Windows < 0:
		return usagef("--windows is %d, want at least 1, or 0 for all", f.options.Windows)
	}
	text, err := readText(f.text, "--text", testdata.Heldout(), f.reference == nano)
	if err != nil {
		return err
	}
	var tasks []evaluate.Task
	if f.tasks != "" {
		if tasks, err = readTasks(f.tasks); err != nil {
			return err
		}
	}
	reference, err := openModel(f.reference, a.expanding())
	if err != nil {
		return err
	}
	open := []*gptoss.Checkpoint{reference}
	defer func() {
		for _, c := range open {
			err = errors.Join(err, c.Close())
		}
	}()
	models := []evaluate.Model{evaluate.FromCheckpoint(f.reference, reference)}
	for _, name := range names {
		c, label, err := a.openCandidate(name, f.activations, cacheOf(f.cache))
		if err != nil {
			return err
		}
		open = append(open, c)
		models = append(models, evaluate.FromCheckpoint(label, c))
	}
	tokens, err := encode(reference, text)
	if err != nil {
		return err
	}
	cpu := a.cpu()
	defer cpu.Close()
	a.onInterrupt = "; nothing was written. Fewer --windows take less time"
	report, err := a.compare(ctx, cpu, models, tokens, f.options)
	if err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(text))
	report.TextSHA256 = hex.EncodeToString(sum[:])
	if err := a.runTasks(ctx, cpu, models, open, tasks, report); err != nil {
		return err
	}
	return a.printEvaluation(report, f.plot)
}

// openCandidate opens a model to judge, with what it rounds beside its weights:
// the activations if that is asked for and the model does not do it anyway, and
// the cache.
func (a *app) openCandidate(name, activations string, cache ops.CacheFormat) (c *gptoss.Checkpoint, label string, err error) {
	opts, label := []gptoss.OpenOption{gptoss.WithCache(cache), a.expanding()}, name
	if cache != ops.CacheFloat32 {
		label += fmt.Sprintf(" (%v keys and values)", cache)
	}
	c, err = openModel(name, opts...)
	if err != nil || activations != "int8" || c.Config().Quantization != nil {
		return c, label, err
	}
	if err := c.Close(); err != nil {
		return nil, "", err
	}
	c, err = openModel(name, append(opts, gptoss.WithInt8Activations())...)
	return c, label + " (int8 activations)", err
}

func readTasks(path string) ([]evaluate.Task, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("--tasks: %w", err)
	}
	defer file.Close()
	tasks, err := evaluate.ReadTasks(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return tasks, nil
}

// compare measures models[1:] against models[0] and shows the progress.
func (a *app) compare(ctx context.Context, cpu *graph.CPU, models []evaluate.Model, tokens []int32, o evaluate.Options) (*evaluate.Report, error) {
	show := a.progress("eval", "tokens")
	defer show.Close()
	o.Progress = func(done, total int) {
		show.Update(fmt.Sprintf("%d models read %s tokens", len(models), count(total)), float64(done), float64(total))
	}
	return evaluate.Compare(ctx, cpu, models[0], models[1:], tokens, o)
}

// runTasks asks every model the tasks and enters the counts into the report.
func (a *app) runTasks(ctx context.Context, cpu *graph.CPU, models []evaluate.Model, open []*gptoss.Checkpoint, tasks []evaluate.Task, report *evaluate.Report) error {
	if len(tasks) == 0 {
		return nil
	}
	for i, m := range models {
		tok, err := open[i].Tokenizer()
		if err != nil {
			return err
		}
		g, err := open[i].GenerationConfig()
		if err != nil {
			return err
		}
		show := a.progress("tasks", "tasks")
		result, err := evaluate.RunTasks(ctx, cpu, m, tok, g.Stop, tasks, func(done, total int) {
			show.Update(m.Name+" answers", float64(done), float64(total))
		})
		show.Close()
		if err != nil {
			return err
		}
		if i == 0 {
			report.Reference.Tasks = &result
		} else {
			report.Candidates[i-1].Tasks = &result
		}
	}
	return nil
}

func (a *app) printEvaluation(report *evaluate.Report, plot string) error {
	if plot != "" {
		if err := atomicfile.WriteFile(plot, report.Plot); err != nil {
			return fmt.Errorf("--plot: %w", err)
		}
		a.remark("wrote %s", plot)
	}
	if a.json {
		return a.printJSON(report)
	}
	return report.Table(a.out)
}
