package gptoss

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
)

// Sampling says how the next token is chosen from logits. The steps apply in
// the order of the fields: repetition penalty, temperature, then top-k, top-p
// and min-p narrow the choice.
type Sampling struct {
	// RepetitionPenalty divides positive logits of tokens that occurred and
	// multiplies negative ones (CTRL, arXiv 1909.05858); 0 or 1 is none.
	RepetitionPenalty float64
	// Temperature divides the logits; 0 takes the most likely token.
	Temperature float64
	// TopK keeps the k most likely tokens; 0 keeps all.
	TopK int
	// TopP keeps the smallest set of most likely tokens with at least this
	// probability (arXiv 1904.09751); 0 or 1 keeps all.
	TopP float64
	// MinP keeps tokens at least this likely relative to the most likely one
	// (arXiv 2407.01082); 0 keeps all.
	MinP float64
	// Seed makes the choice reproducible.
	Seed uint64
}

// Check refuses values outside their range.
func (s Sampling) Check() error {
	switch {
	case !(s.Temperature >= 0 && s.Temperature <= 100):
		return fmt.Errorf("temperature is %g, want 0 to 100", s.Temperature)
	case s.TopK < 0:
		return fmt.Errorf("top-k is %d, want 0 or more", s.TopK)
	case !(s.TopP >= 0 && s.TopP <= 1):
		return fmt.Errorf("top-p is %g, want 0 to 1", s.TopP)
	case !(s.MinP >= 0 && s.MinP <= 1):
		return fmt.Errorf("min-p is %g, want 0 to 1", s.MinP)
	case !(s.RepetitionPenalty >= 0 && s.RepetitionPenalty <= 100):
		return fmt.Errorf("repetition penalty is %g, want 0 to 100", s.RepetitionPenalty)
	}
	return nil
}

// Sampler chooses tokens. It allocates nothing after the first choice.
type Sampler struct {
	Sampling
	rng   *rand.Rand
	seen  map[int32]bool
	cands []candidate
}

type candidate struct {
	id int32
	p  float64 // logit, then unnormalized probability
}

// NewSampler returns a sampler. The options must pass Check.
func NewSampler(s Sampling) *Sampler {
	return &Sampler{Sampling: s, rng: rand.New(rand.NewPCG(s.Seed, 0x747269746975)), seen: map[int32]bool{}}
}

// Observe tells the repetition penalty of tokens that occurred.
func (s *Sampler) Observe(ids ...int32) {
	if s.penalized() {
		for _, id := range ids {
			s.seen[id] = true
		}
	}
}

func (s *Sampler) penalized() bool { return s.RepetitionPenalty != 0 && s.RepetitionPenalty != 1 }

// Next chooses a token. It does not change the logits.
//
// Shapes: logits [V]. Errors: a logit that is NaN or +Inf, no logit above -Inf.
func (s *Sampler) Next(logits []float32) (int32, error) {
	best, top := int32(-1), math.Inf(-1)
	if cap(s.cands) < len(logits) {
		s.cands = make([]candidate, len(logits))
	}
	s.cands = s.cands[:len(logits)]
	for i, l := range logits {
		v := float64(l)
		if s.penalized() && s.seen[int32(i)] {
			if v > 0 {
				v /= s.RepetitionPenalty
			} else {
				v *= s.RepetitionPenalty
			}
		}
		if v > top {
			best, top = int32(i), v
		}
		if !(v < math.Inf(1)) {
			return 0, fmt.Errorf("gptoss: the logit of token %d is %g", i, v)
		}
		s.cands[i] = candidate{int32(i), v}
	}
	if best < 0 {
		return 0, fmt.Errorf("gptoss: no logit is above minus infinity")
	}
	if s.Temperature == 0 || s.TopK == 1 {
		s.Observe(best)
		return best, nil
	}
	id := s.draw(top)
	s.Observe(id)
	return id, nil
}

// draw narrows the candidates and picks one of them.
func (s *Sampler) draw(top float64) int32 {
	for i := range s.cands {
		s.cands[i].p = math.Exp((s.cands[i].p - top) / s.Temperature)
	}
	c := s.cands
	if s.TopK > 0 && s.TopK < len(c) || s.TopP > 0 && s.TopP < 1 {
		// Most likely first; of equals the lower id.
		slices.SortFunc(c, func(a, b candidate) int {
			if d := cmp.Compare(b.p, a.p); d != 0 {
				return d
			}
			return cmp.Compare(a.id, b.id)
		})
	}
	if s.TopK > 0 && s.TopK < len(c) {
		c = c[:s.TopK]
	}
	if s.TopP > 0 && s.TopP < 1 {
		sum, mass := 0.0, 0.0
		for _, x := range c {
			sum += x.p
		}
		for i, x := range c {
			if mass += x.p; mass >= s.TopP*sum {
				c = c[:i+1]
				break
			}
		}
	}
	if s.MinP > 0 { // the most likely token has p = 1
		c = slices.DeleteFunc(c, func(c candidate) bool { return c.p < s.MinP })
	}
	sum := 0.0
	for _, x := range c {
		sum += x.p
	}
	r := s.rng.Float64() * sum
	last := c[0].id
	for _, x := range c {
		if r -= x.p; r < 0 {
			return x.id
		}
		if x.p > 0 {
			last = x.id
		}
	}
	return last // rounding left a little of r
}
