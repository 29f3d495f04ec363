package evaluate

import (
	"fmt"
	"math"
)

// Grade is a judgement on a candidate in a word.
type Grade string

// The grades. A candidate is poor if one of its figures is beyond the limits
// of poor, good if all are within those of good, and fair otherwise.
const (
	Good Grade = "good"
	Fair Grade = "fair"
	Poor Grade = "poor"
)

// The limits, the one place that has them. They are conventions: what
// docs/quality.md has of one ternary plane lies on both sides of Poor, where two
// of five likeliest tokens are others than the original's.
const (
	GoodKL, PoorKL       = 0.1, 0.5 // nats a token
	GoodTop1, PoorTop1   = 0.8, 0.6
	GoodRatio, PoorRatio = 1.1, 1.5 // of perplexities
)

// Verdict says in short what a candidate is worth.
type Verdict struct {
	Grade        Grade     `json:"grade"`
	KLMean       float64   `json:"kl_mean"`
	KLMeanCI95   HalfWidth `json:"kl_mean_ci95"`
	Top1         float64   `json:"top1"`
	Top1CI95     HalfWidth `json:"top1_ci95"`
	PPLRatio     float64   `json:"ppl_ratio"`
	PPLRatioCI95 HalfWidth `json:"ppl_ratio_ci95"`
	Tokens       int       `json:"tokens"`
	Window       int       `json:"window"`
	// Text says what was read, and Advice what may give a better model: the
	// caller's to set.
	Text   string `json:"text"`
	Advice string `json:"advice,omitempty"`
}

// Verdict judges a candidate by its means.
func (r *Report) Verdict(c Candidate) Verdict {
	v := Verdict{Grade: Fair, KLMean: c.KLMean, KLMeanCI95: c.KLMeanCI95, Top1: c.Top1, Top1CI95: c.Top1CI95,
		PPLRatio: c.PPLRatio, PPLRatioCI95: c.PPLRatioCI95, Tokens: r.Tokens, Window: r.Window}
	switch {
	case c.KLMean > PoorKL || c.Top1 < PoorTop1 || c.PPLRatio > PoorRatio:
		v.Grade = Poor
	case c.KLMean <= GoodKL && c.Top1 >= GoodTop1 && c.PPLRatio <= GoodRatio:
		v.Grade = Good
	}
	return v
}

// String returns the grade and the figures it rests on.
func (v Verdict) String() string {
	figure := func(x float64, half HalfWidth) string {
		if math.IsNaN(float64(half)) {
			return fmt.Sprintf("%.3f", x)
		}
		return fmt.Sprintf("%.3f ± %.3f", x, float64(half))
	}
	return fmt.Sprintf("%s: KL %s, top-1 %s, ppl ratio %s", v.Grade, figure(v.KLMean, v.KLMeanCI95),
		figure(v.Top1, v.Top1CI95), figure(v.PPLRatio, v.PPLRatioCI95))
}
