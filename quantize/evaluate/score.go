package evaluate

import (
	"math"

	"github.com/seed-796a8800/tritium/graph"
)

// rowFigures are the figures of one row.
type rowFigures struct {
	finite  bool    // all logits are; otherwise nothing else holds
	nll     float64 // -log p(target)
	kl      float64 // from the reference
	agrees  bool    // with the reference on the most likely token
	overlap float64 // with the reference's experts
}

// scorer computes the figures of a batch from all models' logits. Rows are
// spread over the threads; a row's figures come from one thread, in one order.
type scorer struct {
	cpu      *graph.CPU
	subjects []*subject
	exp      [][]float64 // per thread, [V]: e^(logit - largest) of the reference
	targets  []int32
	row      func(worker, row int)
}

func newScorer(cpu *graph.CPU, subjects []*subject, rows int) *scorer {
	s := &scorer{cpu: cpu, subjects: subjects, exp: make([][]float64, min(cpu.Threads(), rows))}
	for w := range s.exp {
		s.exp[w] = make([]float64, subjects[0].model.Config.Vocab)
	}
	s.row = s.scoreRow
	return s
}

// score fills in the subjects' rows, one per target.
func (s *scorer) score(targets []int32) {
	s.targets = targets
	s.cpu.Parallel(len(targets), s.row)
}

func (s *scorer) scoreRow(worker, row int) {
	p := s.exp[worker]
	x := s.subjects[0].plan.Logits(row)
	ref := summarize(x, p)
	for i, sub := range s.subjects {
		y, d := x, ref
		if i > 0 {
			y = sub.plan.Logits(row)
			d = summarize(y, nil)
		}
		f := rowFigures{finite: d.finite, agrees: d.best == ref.best}
		if ref.finite && d.finite {
			f.nll = d.logSum - float64(y[s.targets[row]])
			f.kl = divergence(x, y, p, ref, d)
		}
		if a, b := s.subjects[0].routing, sub.routing; a != nil && b != nil {
			f.overlap = a.overlap(b, row)
		}
		sub.rows[row] = f
	}
}

// distribution is what a row of logits says, before normalization.
type distribution struct {
	best   int // of equal ones the lowest
	sum    float64
	logSum float64 // log Σ e^logit
	finite bool
}

// summarize reads a row of logits and leaves e^(logit - largest) in exp, if
// that is not nil.
func summarize(logits []float32, exp []float64) distribution {
	d := distribution{}
	for i, x := range logits {
		if x-x != 0 { // an infinity or not a number
			return d
		}
		if x > logits[d.best] {
			d.best = i
		}
	}
	d.finite = true
	top := float64(logits[d.best])
	if exp == nil {
		for _, x := range logits {
			d.sum += math.Exp(float64(x) - top)
		}
	} else {
		for i, x := range logits {
			exp[i] = math.Exp(float64(x) - top)
			d.sum += exp[i]
		}
	}
	d.logSum = top + math.Log(d.sum)
	return d
}

// divergence returns KL(p‖q) = Σ p (log p - log q) for the distributions p and
// q of the logits x and y, where exp holds p unnormalized. The normalizations
// come out of the sum, so equal logits give exactly 0; rounding must not take
// nearly equal ones below it.
func divergence(x, y []float32, exp []float64, p, q distribution) float64 {
	var sum float64
	for i, e := range exp {
		sum += e * (float64(x[i]) - float64(y[i]))
	}
	return max(0, sum/p.sum+(q.logSum-p.logSum))
}
