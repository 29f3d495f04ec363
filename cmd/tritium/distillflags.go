package main

import (
	"fmt"

	"github.com/seed-796a8800/tritium/quantize"
	"github.com/spf13/pflag"
)

// addDistillFlags declares the flags of `quantize` that are about training
// several layers together, and about what to train on.
func addDistillFlags(fl *pflag.FlagSet, o *quantize.Options) {
	d := &o.Distill
	fl.IntVar(&d.Steps, "distill-steps", quantize.DefaultDistillSteps, "training steps of the last pass (distill)")
	fl.Float64Var(&d.Rate, "distill-rate", quantize.DefaultDistillRate, "learning rate of its latent weights (distill)")
	fl.IntVar(&d.WindowBlocks, "window-blocks", 0, "`layers` trained together; 0 trains the whole model end to end, which holds all of it in float32 (distill)")
	fl.BoolVar(&d.FreezeCodes, "freeze-codes", false, "the last pass trains scales, biases, norms, sinks and router alone (distill)")
	fl.IntVar(&d.Micro, "micro", 2, "windows of a step that run at a time: more are faster on many threads and take more memory (distill)")
	fl.IntVar(&o.SelfText, "self-text", 0, "`windows` that the original writes first, to train on too (reconstruct, distill)")
}

// checkDistill refuses flags that make no sense; given says which were given.
func checkDistill(o *quantize.Options, given func(name string) bool) error {
	d := &o.Distill
	if o.Method != quantize.Distill {
		for _, name := range []string{"distill-steps", "distill-rate", "window-blocks", "freeze-codes", "micro"} {
			if given(name) {
				return usagef("--%s is for --method distill, not %s", name, o.Method)
			}
		}
	}
	switch {
	case d.Steps < 1:
		return usagef("--distill-steps is %d, want at least 1", d.Steps)
	case !(d.Rate > 0 && d.Rate < 1):
		return usagef("--distill-rate is %g, want a small positive number", d.Rate)
	case d.Micro < 1:
		return usagef("--micro is %d, want at least 1", d.Micro)
	case d.WindowBlocks < 0:
		return usagef("--window-blocks is %d, want at least 1, or 0 for all layers", d.WindowBlocks)
	case o.SelfText < 0 || o.SelfText > maxTokens/o.Window:
		return usagef("--self-text is %d, want 0 to %d windows", o.SelfText, maxTokens/o.Window)
	case o.SelfText > 0 && !o.Method.Trains():
		return usagef("--self-text is to train on, and %s does not train; choose --method reconstruct or distill", o.Method)
	}
	return nil
}

// smallerWindows names the largest --window-blocks whose memory is allowed, ""
// if there is none.
func smallerWindows(forecast func(quantize.Options) (quantize.Forecast, error), o quantize.Options, layers int, allowed int64) string {
	if o.Method != quantize.Distill {
		return ""
	}
	largest := layers
	if n := o.Distill.WindowBlocks; n > 0 {
		largest = n - 1
	}
	for n := largest; n > 0; n-- {
		o.Distill.WindowBlocks = n
		if f, err := forecast(o); err == nil && f.Memory <= allowed {
			return fmt.Sprintf(", or --window-blocks %d", n)
		}
	}
	return ""
}

// printDistilled says what training several layers together made of them.
func (a *app) printDistilled(passes []quantize.ReportPass) error {
	if len(passes) == 0 {
		return nil
	}
	fmt.Fprintln(a.out)
	what := "KL on held-out windows, nats a token"
	if passes[0].Loss == quantize.LossError {
		what = "error of layers together, on held-out windows"
	}
	var t table
	t.row(what, "before", "after", "on its own windows", "")
	for _, p := range passes {
		kept := "not kept"
		if p.Kept {
			kept = fmt.Sprintf("kept, step %d of %d", p.BestStep, p.Steps)
		}
		name := fmt.Sprintf("layers %d to %d", p.First, p.Last)
		t.row(name, fmt.Sprintf("%.4f", p.Fitted), fmt.Sprintf("%.4f", p.Best), fmt.Sprintf("%.4f", p.Train), kept)
	}
	return t.write(a.out, 1, 2, 3)
}
