package quantize

import (
	"math"

	"github.com/seed-796a8800/tritium/graph"
)

// parameter is what training changes, with its derivative.
type parameter struct {
	name        string
	value, grad []float32
	latent      bool    // weights that are rounded
	rate        float32 // relative to the run's
	positive    bool    // kept above a tenth of where it started
	floor       []float32
}

// adam is the optimizer of Kingma and Ba, arXiv 1412.6980, with bias
// correction and without weight decay.
type adam struct {
	beta1, beta2 float64
	first        [][]float32 // moments, by parameter
	second       [][]float32
	steps        int
}

func newAdam(beta1, beta2 float64, ps []parameter) *adam {
	a := &adam{beta1: beta1, beta2: beta2}
	for _, p := range ps {
		a.first = append(a.first, make([]float32, len(p.value)))
		a.second = append(a.second, make([]float32, len(p.value)))
	}
	return a
}

// epsilon keeps the division finite. It is small beside any derivative, so the
// scale of the loss does not matter.
const epsilon = 1e-20

// step moves every parameter against its derivative.
func (a *adam) step(cpu *graph.CPU, ps []parameter, rate float64) {
	const chunk = 1 << 14
	a.steps++
	b1, b2 := float32(a.beta1), float32(a.beta2)
	correct1 := 1 - math.Pow(a.beta1, float64(a.steps))
	correct2 := 1 - math.Pow(a.beta2, float64(a.steps))
	for i := range ps {
		p, first, second := &ps[i], a.first[i], a.second[i]
		step := float32(rate / correct1 * float64(p.rate))
		root := float32(1 / math.Sqrt(correct2))
		cpu.Parallel((len(p.value)+chunk-1)/chunk, func(_, c int) {
			lo, hi := c*chunk, min(len(p.value), (c+1)*chunk)
			for k := lo; k < hi; k++ {
				g := p.grad[k]
				m := b1*first[k] + (1-b1)*g
				v := b2*second[k] + (1-b2)*g*g
				first[k], second[k] = m, v
				p.value[k] -= step * m / (float32(math.Sqrt(float64(v)))*root + epsilon)
				if p.positive {
					p.value[k] = max(p.value[k], p.floor[k])
				}
			}
		})
	}
}

// cosine takes a rate from 1 at the first of n steps to 0 behind the last.
func cosine(step, n int) float64 { return (1 + math.Cos(math.Pi*float64(step)/float64(n))) / 2 }
