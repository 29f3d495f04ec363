package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/seed-796a8800/tritium/gptoss"
	"github.com/seed-796a8800/tritium/graph"
	"github.com/seed-796a8800/tritium/quantize"
	"github.com/seed-796a8800/tritium/quantize/evaluate"
)

const (
	// verdictWindows is what the verdict reads at most, and leastWindows what its
	// intervals take. A text that --tokens uses up gives at most a sixteenth.
	verdictWindows = 8
	leastWindows   = 4
	verdictShare   = 16
	// verdictRows is how many tokens run at a time: of the published models'
	// vocabulary 0.4 GB of logits for each of the two.
	verdictRows = 512
	// verdictCost is the part of the run's forecast arithmetic that the verdict
	// may cost, unless leastWindows cost more.
	verdictCost = 20
)

// holdOut divides a text into what may be calibrated on and the last windows,
// with the token that follows them, for the verdict. Of a text that --tokens
// uses up it takes no more than its share; it may take none.
func holdOut(text []int32, tokens, window int) (calibration, held []int32) {
	free := max(0, len(text)-tokens-1) / window
	windows := min(verdictWindows, max(free, len(text)/verdictShare/window))
	if windows < leastWindows {
		return text, nil
	}
	at := len(text) - windows*window - 1
	return text[:at], text[at:]
}

// verdict judges the result against the original and enters that into the
// report; nil if there is nothing to judge it on.
func (a *app) verdict(ctx context.Context, cpu *graph.CPU, original *gptoss.Checkpoint, f quantizeFlags, held []int32, report *quantize.Report) (v *evaluate.Verdict, err error) {
	if len(held) == 0 {
		if !f.noVerdict {
			a.remark("no verdict: there is no calibration text, or it is too short to hold out %d of its windows; use 'tritium eval'", leastWindows)
		}
		return nil, nil
	}
	a.onInterrupt = fmt.Sprintf("; %s is complete, only the verdict is missing", f.out)
	defer func() {
		if err != nil {
			err = fmt.Errorf("%s is complete, but there is no verdict on it: %w", f.out, err)
		}
	}()
	result, err := gptoss.Open(f.out)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, result.Close()) }()
	forecast, err := quantize.NewForecast(original.Config(), f.options, f.tokens)
	if err != nil {
		return nil, err
	}
	// The ternary half counts as much as the original's here, which is too much.
	perWindow := 2 * float64(f.options.Window) * float64(total(inventory(original)).Active)
	windows := (len(held) - 1) / f.options.Window
	windows = min(windows, max(leastWindows, int(forecast.Work/verdictCost/perWindow)))
	models := []evaluate.Model{evaluate.FromCheckpoint("original", original), evaluate.FromCheckpoint("result", result)}
	r, err := a.compare(ctx, cpu, models, held[len(held)-1-windows*f.options.Window:],
		evaluate.Options{Window: f.options.Window, Windows: windows, Rows: verdictRows})
	if err != nil {
		return nil, err
	}
	judged := r.Verdict(r.Candidates[0])
	name := "the built-in text"
	if f.calibration != "" {
		name = filepath.Base(f.calibration)
	}
	judged.Text = fmt.Sprintf("the last %d windows of %s, held out of calibration", windows, name)
	if judged.Grade == evaluate.Poor {
		judged.Advice = advice(f, original.Config().Experts)
	}
	return &judged, report.SetVerdict(f.out, judged)
}

// advice names what would give a better model, the cheapest first, of what was
// not asked for.
func advice(f quantizeFlags, experts int) string {
	var try []string
	o := f.options
	add := func(better bool, what string) {
		if better {
			try = append(try, what)
		}
	}
	add(!o.Method.Calibrates(), "a --method that calibrates")
	add(o.Prune.Keep > 0 && o.Prune.Keep < experts, "more --keep-experts")
	add(o.Attention == quantize.StoreTernary, "--attention int8")
	add(o.Method.Calibrates() && !o.Method.Trains(), "--method reconstruct")
	add(o.Method.Calibrates(), "more --tokens")
	return "try " + strings.Join(try, ", ")
}

func (a *app) printVerdict(v *evaluate.Verdict) error {
	line := fmt.Sprintf("\nagainst the original, %s; on %s", v, v.Text)
	if v.Advice != "" {
		line += "; " + v.Advice
	}
	_, err := fmt.Fprintln(a.out, line)
	return err
}
