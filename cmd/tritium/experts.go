package main

import (
	"fmt"
	"strings"

	"github.com/seed-796a8800/tritium/gptoss"
	"github.com/seed-796a8800/tritium/quantize"
	"github.com/spf13/pflag"
)

// addExpertFlags declares the flags of `quantize` that are about experts.
func (f *quantizeFlags) addExpertFlags(fl *pflag.FlagSet) {
	o := &f.options
	fl.IntVar(&o.Prune.Keep, "keep-experts", 0, "experts of each layer to keep, the most useful on the calibration text (default all)")
	fl.Var(newChoice(&f.rank, names(quantize.Rankings())...), "rank-experts", "which experts are kept: those of the largest outputs, with the most tokens, or any (--seed)")
	fl.IntVar(&o.ForceTokens, "force-tokens", 0, "fit an expert that is routed fewer tokens than this also to those that came nearest to it")
	fl.IntVar(&o.MinTokens, "min-tokens", 0, "fail if an expert is routed fewer calibration tokens than this")
}

// checkExperts refuses what makes no sense for any model.
func (f *quantizeFlags) checkExperts() error {
	o := &f.options
	switch {
	case o.Prune.Keep < 0 || o.MinTokens < 0 || o.ForceTokens < 0:
		return usagef("--keep-experts, --min-tokens and --force-tokens cannot be negative")
	case max(o.MinTokens, o.ForceTokens) > f.tokens:
		return usagef("--min-tokens and --force-tokens are at most --tokens, %d", f.tokens)
	case o.Prune.Keep > 0 && (f.budget.given() || o.Experts == quantize.StoreSource):
		return usagef("--keep-experts quantizes the experts it keeps; leave out --budget and --experts source")
	case o.Prune.Keep == 0 && f.rank != string(quantize.RankREAP):
		return usagef("--rank-experts %s without --keep-experts N", f.rank)
	case !quantize.Method(f.method).Calibrates() && (o.Prune.Keep > 0 || o.MinTokens > 0 || o.ForceTokens > 0):
		return usagef("--method %s reads no calibration text, which --keep-experts, --min-tokens and --force-tokens need", f.method)
	}
	return nil
}

// checkKept refuses what makes no sense for this one.
func (f *quantizeFlags) checkKept(model string, c gptoss.Config) error {
	if n := f.options.Prune.Keep; n > 0 && (n < c.ActiveExperts || n > c.Experts) {
		return usagef("--keep-experts is %d; %s has %d experts and sends each token to %d of them", n, model, c.Experts, c.ActiveExperts)
	}
	return nil
}

// printExperts says which experts were kept and which were lent tokens.
func (a *app) printExperts(r *quantize.Report) {
	if n := len(r.Forced); n > 0 {
		fmt.Fprintf(a.out, "%d experts with less than %s tokens were lent some that came near to them\n", n, count(r.Options.ForceTokens))
	}
	if r.Pruned == nil {
		return
	}
	fmt.Fprintf(a.out, "kept %d of %d experts by %s:\n", r.Pruned.Kept, r.Pruned.Of, r.Pruned.Ranking)
	for layer, l := range r.Pruned.Layers {
		fmt.Fprintf(a.out, "  layer %d: %s\n", layer, spaced(l.Kept))
	}
}

func spaced(numbers []int) string { return strings.Trim(fmt.Sprint(numbers), "[]") }

// names are the values of a flag.
func names[T ~string](values []T) []string {
	s := make([]string, len(values))
	for i, v := range values {
		s[i] = string(v)
	}
	return s
}
