package gptoss

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// shuffled returns candidates by id with probabilities that repeat and reach
// far down, as those of a vocabulary do.
func shuffled(n int, random *rand.Rand) []candidate {
	c := make([]candidate, n)
	for i := range c {
		c[i] = candidate{int32(i), math.Exp(-math.Floor(random.Float64()*40) / 2 * random.Float64())}
		if random.IntN(3) == 0 {
			c[i].p = math.Exp(-float64(random.IntN(30)))
		}
		if random.IntN(20) == 0 {
			c[i].p = 0
		}
	}
	c[random.IntN(n)].p = 1
	return c
}

// The selections are what putting everything in order gives.
func TestSelection(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		c := shuffled(1+random.IntN(300), random)
		if random.IntN(10) == 0 { // all alike: nothing can be left out
			for i := range c {
				c[i].p = 1
			}
		}
		sorted := slices.Clone(c)
		slices.SortFunc(sorted, byLikelihood)
		k := 1 + random.IntN(len(c))
		if got := likeliestOf(slices.Clone(c), k); !slices.Equal(got, sorted[:k]) {
			t.Fatalf("the %d likeliest of %v are %v", k, c, got)
		}
		p := []float64{1e-9, 0.5, 0.9, 0.99, 1 - 1e-9, random.Float64()}[random.IntN(6)]
		want, mass := sorted, 0.0
		for i, x := range sorted {
			if mass += x.p; mass >= p*total(c) {
				want = sorted[:i+1]
				break
			}
		}
		if got := nucleus(slices.Clone(c), p); !slices.Equal(got, want) {
			t.Fatalf("the share %g of %v is %v, want %v", p, c, got, want)
		}
	}
}

// BenchmarkSampler chooses among GPT-OSS' vocabulary.
func BenchmarkSampler(b *testing.B) {
	random := rand.New(rand.NewPCG(1, 2))
	logits := make([]float32, 201088)
	for i := range logits {
		logits[i] = float32(3 * random.NormFloat64())
	}
	for i := range 50 { // a text's next token is a choice among few
		logits[random.IntN(len(logits))] = 22 - float32(i)/4
	}
	for _, s := range []Sampling{{}, {RepetitionPenalty: 1.1}, {Temperature: 1}, {Temperature: 1, TopK: 50}, {Temperature: 1, TopP: 0.9},
		{Temperature: 1, TopK: 50, TopP: 0.9}, {Temperature: 1, MinP: 0.05}} {
		b.Run(fmt.Sprintf("temperature=%g/k=%d/p=%g/min-p=%g/penalty=%g", s.Temperature, s.TopK, s.TopP, s.MinP, s.RepetitionPenalty), func(b *testing.B) {
			sampler := NewSampler(s)
			for b.Loop() {
				if _, err := sampler.Next(logits); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
