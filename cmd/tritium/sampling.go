package main

import (
	"github.com/seed-796a8800/tritium/gptoss"
	"github.com/spf13/pflag"
)

// samplingFlags say how tokens are chosen, where a flag was given.
type samplingFlags struct{ gptoss.Sampling }

// declare adds the flags.
func (f *samplingFlags) declare(fl *pflag.FlagSet) {
	fl.Float64Var(&f.Temperature, "temperature", 0, "divides the logits; 0 takes the likeliest token (default: the model's)")
	fl.IntVar(&f.TopK, "top-k", 0, "choose among the `k` likeliest tokens (default: the model's)")
	fl.Float64Var(&f.TopP, "top-p", 0, "choose among the likeliest tokens of this total probability (default: the model's)")
	fl.Float64Var(&f.MinP, "min-p", 0, "choose among tokens this likely relative to the likeliest (default: the model's)")
	fl.Float64Var(&f.RepetitionPenalty, "repetition-penalty", 0, "make tokens that occurred less likely; 1 is none (default: the model's)")
}

// choose takes the sampling that flags ask for and the model's for the rest.
func (f *samplingFlags) choose(s gptoss.Sampling, given func(string) bool) gptoss.Sampling {
	for _, x := range []struct {
		flag     string
		to, from *float64
	}{
		{"temperature", &s.Temperature, &f.Temperature}, {"top-p", &s.TopP, &f.TopP},
		{"min-p", &s.MinP, &f.MinP}, {"repetition-penalty", &s.RepetitionPenalty, &f.RepetitionPenalty},
	} {
		if given(x.flag) {
			*x.to = *x.from
		}
	}
	if given("top-k") {
		s.TopK = f.TopK
	}
	return s
}
