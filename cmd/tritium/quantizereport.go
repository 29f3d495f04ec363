package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/seed-796a8800/tritium/gptoss"
	"github.com/seed-796a8800/tritium/quantize"
)

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
