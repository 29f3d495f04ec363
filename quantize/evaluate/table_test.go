package evaluate

import (
	"math"
	"math/rand/v2"

	"github.com/seed-796a8800/tritium/gptoss"
	"github.com/seed-796a8800/tritium/ops"
)

// table is a model whose logits and router logits can be written down: they
// depend on the last token alone. The residual stream is the token, one-hot;
// attention and experts add zero.
type table struct {
	logits func(token, next int) float32
	router func(layer, token, expert int) float32
	broken int // a token after which the logits overflow; -1: none
	config gptoss.Config
}

var _ gptoss.Weights = (*table)(nil)

func newTable(vocab int) *table {
	c := gptoss.Config{
		Layers: 2, Hidden: vocab, Intermediate: 2, Heads: 1, KVHeads: 1, HeadDim: 2,
		Experts: 5, ActiveExperts: 2, Vocab: vocab, Windows: []int{0, 0}, SwiGLULimit: 7,
		Rotary: ops.YaRN(2, 10000, 1, 32, 1, 4096), MaxPositions: 4096,
	}
	return &table{
		logits: func(_, _ int) float32 { return 0 },
		router: func(_, _, _ int) float32 { return 0 },
		broken: -1, config: c,
	}
}

// random fills in the tables.
func (m *table) random(seed uint64, spread float64) *table {
	draw := func(n int) []float32 {
		rng := rand.New(rand.NewPCG(seed, uint64(n)))
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(spread * rng.NormFloat64())
		}
		return x
	}
	v, e := m.config.Vocab, m.config.Experts
	logits, router := draw(v*v), draw(m.config.Layers*v*e)
	m.logits = func(token, next int) float32 { return logits[token*v+next] }
	m.router = func(layer, token, expert int) float32 { return router[(layer*v+token)*e+expert] }
	return m
}

func (m *table) model(name string) Model {
	return Model{Name: name, Config: m.config, Weights: m, Bytes: 1000, BitsPerWeight: 2}
}

func (m *table) Embedding() ops.Matrix {
	return matrixFunc{m.config.Vocab, m.config.Hidden, func(token, i int) float32 {
		if i == token {
			return 1
		}
		return 0
	}}
}

// Vector is the sinks, or norm weights that take out what the norm of a
// one-hot vector brings in.
func (m *table) Vector(name string) []float32 {
	for layer := range m.config.Layers {
		if name == gptoss.LayerNames(layer).Sinks {
			return make([]float32, m.config.Heads)
		}
	}
	w := make([]float32, m.config.Hidden)
	for i := range w {
		w[i] = float32(1 / math.Sqrt(float64(m.config.Hidden)))
	}
	if name == gptoss.FinalNormName && m.broken >= 0 {
		w[m.broken] *= 2
	}
	return w
}

func (m *table) Linear(name string) ops.Linear {
	p := m.config.Projections()[name]
	at := func(_, _ int) float32 { return 0 }
	if name == gptoss.HeadName {
		at = func(next, token int) float32 {
			if token == m.broken {
				return math.MaxFloat32
			}
			return m.logits(token, next)
		}
	}
	for layer := range m.config.Layers {
		if name == gptoss.LayerNames(layer).Router {
			at = func(expert, token int) float32 { return m.router(layer, token, expert) }
		}
	}
	return ops.Dense{Name: name, Weight: matrixFunc{p.Out, p.In, at}}
}

func (m *table) ExpertLinear(name string) ops.ExpertLinear {
	p := m.config.Projections()[name]
	d := ops.DenseExperts{Name: name, Active: m.config.ActiveExperts}
	for range p.Experts {
		d.Weights = append(d.Weights, matrixFunc{p.Out, p.In, func(_, _ int) float32 { return 0 }})
	}
	return d
}

type matrixFunc struct {
	out, in int
	at      func(out, in int) float32
}

func (m matrixFunc) Dims() (out, in int) { return m.out, m.in }

func (m matrixFunc) DecodeRows(dst []float32, row, n int) {
	for i := range dst[:n*m.in] {
		dst[i] = m.at(row+i/m.in, i%m.in)
	}
}
