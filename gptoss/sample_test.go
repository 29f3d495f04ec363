package gptoss

import (
	"math"
	"slices"
	"strings"
	"testing"
)

// draws counts what a sampler chooses from the same logits again and again.
func draws(t *testing.T, s Sampling, logits []float32, n int) []int {
	t.Helper()
	if err := s.Check(); err != nil {
		t.Fatal(err)
	}
	sampler, counts := NewSampler(s), make([]int, len(logits))
	kept := slices.Clone(logits)
	for range n {
		id, err := sampler.Next(logits)
		if err != nil {
			t.Fatal(err)
		}
		counts[id]++
	}
	if !slices.Equal(logits, kept) {
		t.Error("the sampler changed the logits")
	}
	return counts
}

func logs(p ...float64) []float32 {
	x := make([]float32, len(p))
	for i, v := range p {
		x[i] = float32(math.Log(v)) + 3 // a constant changes nothing
	}
	return x
}

// fits compares counts with probabilities by Pearson's chi-square, at the
// 99.9 % quantile; what has probability 0 may never occur.
func fits(t *testing.T, name string, counts []int, p []float64) {
	t.Helper()
	quantiles := []float64{0, 10.83, 13.82, 16.27, 18.47, 20.52} // by degrees of freedom
	n, sum := 0, 0.0
	for _, c := range counts {
		n += c
	}
	for _, v := range p {
		sum += v
	}
	chi, degrees := 0.0, -1
	for i, v := range p {
		want := v / sum * float64(n)
		if v == 0 {
			if counts[i] != 0 {
				t.Errorf("%s: token %d was chosen %d times, want never: %v", name, i, counts[i], counts)
			}
			continue
		}
		chi += (float64(counts[i]) - want) * (float64(counts[i]) - want) / want
		degrees++
	}
	if degrees > 0 && chi > quantiles[degrees] {
		t.Errorf("%s: chi-square %.1f, want at most %.2f: %v", name, chi, quantiles[degrees], counts)
	}
}

func TestSamplingDistributions(t *testing.T) {
	t.Parallel()
	p := []float64{0.05, 0.4, 0.1, 0.25, 0.2}
	pow := func(e float64) []float64 {
		q := slices.Clone(p)
		for i := range q {
			q[i] = math.Pow(q[i], e)
		}
		return q
	}
	for name, tc := range map[string]struct {
		s    Sampling
		want []float64
	}{
		"temperature 1":   {Sampling{Temperature: 1}, p},
		"temperature 2":   {Sampling{Temperature: 2}, pow(0.5)},
		"temperature 0.5": {Sampling{Temperature: 0.5}, pow(2)},
		"cold":            {Sampling{Temperature: 1e-3}, []float64{0, 1, 0, 0, 0}},
		"coldest":         {Sampling{Temperature: math.SmallestNonzeroFloat64}, []float64{0, 1, 0, 0, 0}},
		"greedy":          {Sampling{}, []float64{0, 1, 0, 0, 0}},
		"top-k 1":         {Sampling{Temperature: 1, TopK: 1}, []float64{0, 1, 0, 0, 0}},
		"top-k 3":         {Sampling{Temperature: 1, TopK: 3}, []float64{0, 0.4, 0, 0.25, 0.2}},
		"top-k 9":         {Sampling{Temperature: 1, TopK: 9}, p},
		"top-p 0.5":       {Sampling{Temperature: 1, TopP: 0.5}, []float64{0, 0.4, 0, 0.25, 0}},
		"top-p 0.66":      {Sampling{Temperature: 1, TopP: 0.66}, []float64{0, 0.4, 0, 0.25, 0.2}},
		"top-p 1e-9":      {Sampling{Temperature: 1, TopP: 1e-9}, []float64{0, 1, 0, 0, 0}},
		"top-p 1":         {Sampling{Temperature: 1, TopP: 1}, p},
		"min-p 0.3":       {Sampling{Temperature: 1, MinP: 0.3}, []float64{0, 0.4, 0, 0.25, 0.2}},
		"min-p 1":         {Sampling{Temperature: 1, MinP: 1}, []float64{0, 1, 0, 0, 0}},
		// Top-p counts what top-k kept: 0.4 of 0.65 is more than a half.
		"top-k, top-p": {Sampling{Temperature: 1, TopK: 2, TopP: 0.6}, []float64{0, 1, 0, 0, 0}},
		// Min-p comes last: top-p counts the tokens that min-p removes, and so
		// 0.4 of 1 is less than a half, though it is more than one of 0.65.
		"top-p, min-p": {Sampling{Temperature: 1, TopP: 0.5, MinP: 0.6}, []float64{0, 0.4, 0, 0.25, 0}},
		// Temperature comes first: four tokens of five now hold less than 0.9.
		"hot top-p": {Sampling{Temperature: 100, TopP: 0.9}, pow(0.01)},
	} {
		for _, seed := range []uint64{1, 2} {
			tc.s.Seed = seed
			fits(t, name, draws(t, tc.s, logs(p...), 20000), tc.want)
		}
	}
}

// A penalty of 2 halves positive logits of what occurred and doubles negative.
func TestRepetitionPenalty(t *testing.T) {
	t.Parallel()
	logits := []float32{2, 1.5, -1, -0.5, 0}
	s := NewSampler(Sampling{RepetitionPenalty: 2, Temperature: 1, Seed: 3})
	s.Observe(0, 3)
	want := []float64{math.Exp(1), math.Exp(1.5), math.Exp(-1), math.Exp(-1), 1}
	counts := make([]int, 5)
	for range 20000 {
		id, err := s.Next(logits)
		if err != nil {
			t.Fatal(err)
		}
		counts[id]++
		s.Forget(id) // Next observes its choice
		s.observed++ // and the next position has another random number
	}
	fits(t, "penalty", counts, want)

	greedy := NewSampler(Sampling{RepetitionPenalty: 2})
	for i, want := range []int32{0, 1, 0} { // 2; then 1 < 1.5; then 1 > 0.75
		if id, err := greedy.Next(logits); err != nil || id != want {
			t.Errorf("choice %d is %d, %v, want %d", i, id, err, want)
		}
	}
	for _, none := range []float64{0, 1} {
		s := NewSampler(Sampling{RepetitionPenalty: none})
		s.Observe(0)
		if id, err := s.Next(logits); err != nil || id != 0 {
			t.Errorf("penalty %g: %d, %v, want 0", none, id, err)
		}
	}
}

// Of equal logits the lower ids come first.
func TestTies(t *testing.T) {
	t.Parallel()
	logits := []float32{1, 4, 4, 4, 0}
	for name, s := range map[string]Sampling{
		"greedy": {}, "top-k 1": {Temperature: 1, TopK: 1}, "top-p": {Temperature: 1, TopP: 0.1},
	} {
		fits(t, name, draws(t, s, logits, 200), []float64{0, 1, 0, 0, 0})
	}
	fits(t, "top-k 2", draws(t, Sampling{Temperature: 1, TopK: 2}, logits, 5000), []float64{0, 1, 1, 0, 0})
	fits(t, "min-p", draws(t, Sampling{Temperature: 1, MinP: 1}, logits, 5000), []float64{0, 1, 1, 1, 0})
	if id, err := NewSampler(Sampling{}).Next([]float32{0, float32(math.Copysign(0, -1))}); err != nil || id != 0 {
		t.Errorf("0 and -0: %d, %v", id, err)
	}
}

func TestSamplerRefusesWhatIsNoNumber(t *testing.T) {
	t.Parallel()
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for _, s := range []Sampling{{}, {Temperature: 1}, {Temperature: 1, TopK: 1}, {Temperature: 1, TopP: 0.5, RepetitionPenalty: 2}} {
		for name, logits := range map[string][]float32{
			"NaN": {1, nan, 2}, "leading NaN": {nan, 1}, "+Inf": {1, inf}, "all -Inf": {-inf, -inf}, "none": {},
		} {
			if _, err := NewSampler(s).Next(logits); err == nil || !strings.HasPrefix(err.Error(), "gptoss: ") {
				t.Errorf("%+v of %s: error %v", s, name, err)
			}
		}
		if id, err := NewSampler(s).Next([]float32{-inf, 1, -inf}); err != nil || id != 1 {
			t.Errorf("%+v: %d, %v, want the only token that is possible", s, id, err)
		}
	}
	for _, s := range []Sampling{{Temperature: -1}, {Temperature: math.NaN()}, {Temperature: math.Inf(1)}, {TopK: -1}, {TopP: 1.1},
		{TopP: math.NaN()}, {MinP: -0.1}, {MinP: math.NaN()}, {RepetitionPenalty: -1}, {RepetitionPenalty: math.NaN()}} {
		if s.Check() == nil {
			t.Errorf("%+v passes", s)
		}
	}
}

// A seed decides every choice.
func TestSeeds(t *testing.T) {
	t.Parallel()
	logits := make([]float32, 300)
	for i := range logits {
		logits[i] = float32(i%7) / 3
	}
	run := func(seed uint64) (ids []int32) {
		s := NewSampler(Sampling{Temperature: 1, TopP: 0.95, TopK: 200, Seed: seed})
		for range 50 {
			id, err := s.Next(logits)
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, id)
		}
		return ids
	}
	if !slices.Equal(run(1), run(1)) {
		t.Error("the same seed chose differently")
	}
	if slices.Equal(run(1), run(2)) {
		t.Error("two seeds chose the same 50 tokens")
	}
}

func TestSamplerAllocatesNothing(t *testing.T) {
	logits := make([]float32, 1000)
	s := NewSampler(Sampling{Temperature: 1, TopP: 0.9, TopK: 100, MinP: 0.01})
	next := func() {
		if _, err := s.Next(logits); err != nil {
			t.Error(err)
		}
	}
	next()
	if n := testing.AllocsPerRun(20, next); n != 0 {
		t.Errorf("%g allocations a choice", n)
	}
}
