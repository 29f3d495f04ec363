package gptoss

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"math/bits"
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

// Sampler chooses tokens. A choice depends on the logits, the options and the
// tokens observed, the sampler's own choices among them, and on nothing else:
// who observes the same text goes on alike. It allocates nothing after the
// first choice, but for what the repetition penalty remembers.
type Sampler struct {
	Sampling
	observed int           // tokens that occurred; every position has a random number of its own
	seen     map[int32]int // how often each occurred, where there is a penalty
	cands    []candidate
}

type candidate struct {
	id int32
	p  float64 // logit, then unnormalized probability
}

// NewSampler returns a sampler. The options must pass Check.
func NewSampler(s Sampling) *Sampler { return &Sampler{Sampling: s, seen: map[int32]int{}} }

// Observe tells of tokens that occurred.
func (s *Sampler) Observe(ids ...int32) {
	s.observed += len(ids)
	if s.penalized() {
		for _, id := range ids {
			s.seen[id]++
		}
	}
}

// Forget takes back tokens that were observed, such as the last choices.
func (s *Sampler) Forget(ids ...int32) {
	s.observed -= len(ids)
	if s.penalized() {
		for _, id := range ids {
			if s.seen[id]--; s.seen[id] == 0 {
				delete(s.seen, id)
			}
		}
	}
}

// clone returns a sampler that has observed the same.
func (s *Sampler) clone() *Sampler {
	return &Sampler{Sampling: s.Sampling, observed: s.observed, seen: maps.Clone(s.seen)}
}

func (s *Sampler) penalized() bool { return s.RepetitionPenalty != 0 && s.RepetitionPenalty != 1 }

// Next chooses a token and observes it. It does not change the logits.
//
// Shapes: logits [V]. Errors: a logit that is NaN or +Inf, no logit above -Inf.
func (s *Sampler) Next(logits []float32) (int32, error) { return s.NextOf(logits, nil) }

// NextOf is Next among the tokens whose bit is set, token i being bit i%64 of
// allowed[i/64]; nil allows all. It takes no note of the logits of others.
//
// Errors: as Next, and where no token is allowed.
func (s *Sampler) NextOf(logits []float32, allowed []uint64) (int32, error) {
	id, err := likeliest(logits, allowed)
	if err != nil {
		return 0, err
	}
	greedy := s.Temperature == 0 || s.TopK == 1
	if !greedy || s.penalized() {
		s.weigh(logits, allowed)
		if id = s.penalize(id); !(s.cands[id].p < math.Inf(1)) {
			return 0, fmt.Errorf("gptoss: the logit of token %d is %g", id, s.cands[id].p)
		}
	}
	if !greedy {
		id = s.draw(s.cands[id].p)
	}
	s.Observe(id)
	return id, nil
}

// likeliest returns the first token with the largest logit of those allowed.
func likeliest(logits []float32, allowed []uint64) (int32, error) {
	best, top := -1, float32(math.Inf(-1))
	if allowed == nil {
		for i, l := range logits {
			if l > top {
				best, top = i, l
			}
			if !(l <= math.MaxFloat32) {
				return 0, fmt.Errorf("gptoss: the logit of token %d is %g", i, l)
			}
		}
	}
	for w, word := range allowed[:min(len(allowed), (len(logits)+63)/64)] {
		for ; word != 0; word &= word - 1 {
			i := 64*w + bits.TrailingZeros64(word)
			if i >= len(logits) {
				break
			}
			l := logits[i]
			if l > top {
				best, top = i, l
			}
			if !(l <= math.MaxFloat32) {
				return 0, fmt.Errorf("gptoss: the logit of token %d is %g", i, l)
			}
		}
	}
	if best < 0 {
		return 0, errors.New("gptoss: no token may be chosen: no logit is above minus infinity")
	}
	return int32(best), nil
}

// weigh makes every token a candidate; one that is not allowed has no chance.
func (s *Sampler) weigh(logits []float32, allowed []uint64) {
	if cap(s.cands) < len(logits) {
		s.cands = make([]candidate, len(logits))
	}
	s.cands = s.cands[:len(logits)]
	for i, l := range logits {
		if allowed != nil && (i/64 >= len(allowed) || allowed[i/64]>>(i%64)&1 == 0) {
			l = float32(math.Inf(-1))
		}
		s.cands[i] = candidate{int32(i), float64(l)}
	}
}

// penalize lowers the candidates that occurred and returns the likeliest, which
// was best before.
func (s *Sampler) penalize(best int32) int32 {
	if !s.penalized() {
		return best
	}
	for id := range s.seen {
		if int(id) >= len(s.cands) {
			continue
		}
		if c := &s.cands[id]; c.p > 0 {
			c.p /= s.RepetitionPenalty
		} else {
			c.p *= s.RepetitionPenalty
		}
	}
	best = 0
	for i := range s.cands {
		if s.cands[i].p > s.cands[best].p {
			best = int32(i)
		}
	}
	return best
}

// draw narrows the candidates, whose largest logit is top, and picks one.
func (s *Sampler) draw(top float64) int32 {
	c := s.cands
	for i := range c {
		c[i].p = math.Exp((c[i].p - top) / s.Temperature)
	}
	if s.TopK > 0 && s.TopK < len(c) {
		c = likeliestOf(c, s.TopK)
	}
	if s.TopP > 0 && s.TopP < 1 {
		c = nucleus(c, s.TopP)
	}
	if s.MinP > 0 { // the most likely token has p = 1
		c = slices.DeleteFunc(c, func(c candidate) bool { return c.p < s.MinP })
	}
	r := uniform(s.Seed, s.observed) * total(c)
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

// uniform returns the random number of a position: in [0, 1), a multiple of
// 2^-53. That it needs no state is what lets a text be rewound.
// Source: SplitMix64, whose n-th output this is for the start mix(seed + γ).
func uniform(seed uint64, position int) float64 {
	const gamma = 0x9E3779B97F4A7C15
	return float64(mix(mix(seed+gamma)+uint64(position)*gamma)>>11) / (1 << 53)
}
