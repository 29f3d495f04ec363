package main

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/seed-796a8800/tritium/gptoss"
	"github.com/seed-796a8800/tritium/quantize"
	"github.com/spf13/pflag"
)

// budget is the value of a flag: bytes, or bits a parameter.
type budget struct {
	text  string
	bytes byteSize
	bits  float64
}

func (b *budget) String() string { return b.text }
func (b *budget) Type() string   { return "SIZE" }

func (b *budget) Set(s string) error {
	b.text = s
	if number, ok := strings.CutSuffix(strings.TrimSpace(s), "bpw"); ok {
		x, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		if err != nil || !(x > 0 && x <= 32) {
			return fmt.Errorf("%q is no number of bits; write 1.9bpw", s)
		}
		b.bytes, b.bits = 0, x
		return nil
	}
	b.bits = 0
	if err := b.bytes.Set(s); err != nil {
		return fmt.Errorf("%q is no budget; write 1.9bpw or 4.4GB", s)
	}
	return nil
}

func (b *budget) given() bool { return b.text != "" }

// declareFormats declares the flags that say how weights are stored.
func (f *quantizeFlags) declareFormats(fl *pflag.FlagSet) {
	o := &f.options
	fl.Var(newChoice(&f.bits, "2", "1.6"), "bits", "of a ternary weight, without its scale")
	fl.IntVar(&o.Group, "group", 0, "weights that share a scale, at most (default 128, at 1.6 bits 160)")
	experts, attention, tables := quantize.Stores()
	fl.Var(newChoice(&o.Experts, experts...), "experts", "how to store the experts; two-planes is a sum of two ternary weights")
	fl.Var(newChoice(&o.Attention, attention...), "attention", "how to store q, k, v and o")
	fl.Var(newChoice(&o.Embedding, tables...), "embedding", "how to store the embedding")
	fl.Var(newChoice(&o.Head, tables...), "head", "how to store the head")
	fl.Var(&f.budget, "budget", "choose formats by part for the best model of at most 1.9bpw or 4.4GB, before it is compressed")
}

// check refuses flags that say what a budget is to decide.
func (b *budget) check(flags *pflag.FlagSet) error {
	for _, name := range []string{"bits", "experts", "attention", "embedding", "head", "dead-zone", "keep-experts"} {
		if b.given() && flags.Changed(name) {
			return usagef("--budget chooses the formats; leave --%s out", name)
		}
	}
	return nil
}

// of returns the bytes that a model of this configuration may take.
func (b *budget) of(c gptoss.Config) int64 {
	if b.bits > 0 {
		return int64(math.Floor(b.bits * float64(c.Parameters()) / 8))
	}
	return int64(b.bytes)
}

// probedWindows is how many windows of text a plan is measured on.
const probedWindows = 4

// probeWindows splits a text into what weights may be fitted to, at most so many
// tokens, and the windows behind it that a plan is measured on; of a short text
// they are the last quarter at most.
func probeWindows(text []int32, tokens, window int) (fit, probes []int32) {
	n := len(text) / window
	probed := min(probedWindows, max(1, n/4))
	end := min(tokens/window, n-probed)
	if end < 1 {
		return text, nil // too short, and refused for that
	}
	return text[:end*window], text[end*window : (end+probed)*window]
}

// plan measures what formats cost, prints what is chosen, and sets it.
func (a *app) plan(ctx context.Context, c *gptoss.Checkpoint, probes []int32, f *quantizeFlags) error {
	if len(probes) == 0 {
		return fmt.Errorf("the calibration text is too short to plan a budget: it needs two windows of %d tokens, one to fit to and one to measure on", f.options.Window)
	}
	cpu := a.cpu()
	defer cpu.Close()
	show := a.progress("probe", "MAC")
	defer show.Close()
	o := f.options
	o.Progress = func(p quantize.Progress) {
		show.Update(fmt.Sprintf("layer %d of %d: %s", p.Layer+1, p.Layers, p.Step), p.Done, p.Total)
	}
	a.onInterrupt = "; nothing was written"
	plan, err := quantize.NewPlan(ctx, cpu, c, probes, f.budget.of(c.Config()), o)
	if err != nil {
		return err
	}
	show.Close()
	f.options.Plan = plan
	if a.json {
		return nil // the report has it
	}
	return a.printPlan(plan)
}

func (a *app) printPlan(p *quantize.Plan) error {
	var t table
	t.row("part", "stored as", "bytes", "KL alone")
	for _, g := range p.Groups {
		t.row(g.Name, g.Format, bytesText(g.Bytes), fmt.Sprintf("%.4f", g.KL))
	}
	t.row("all tensors", "", bytesText(p.Bytes), fmt.Sprintf("%.4f", p.KL))
	if err := t.write(a.out, 2); err != nil {
		return err
	}
	_, err := fmt.Fprintf(a.out, "%.2f bits/weight; the budget is %s. KL by stage 1 on %s tokens, one part at a time, and their sum: an estimate that supposes they add up\n\n",
		p.BitsPerWeight, bytesText(p.Budget), count(p.Scored))
	return err
}
