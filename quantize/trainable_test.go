package quantize

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/seed-796a8800/tritium/gptoss"
	"github.com/seed-796a8800/tritium/graph"
	"github.com/seed-796a8800/tritium/internal/reference"
	"github.com/seed-796a8800/tritium/ops"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// block64 is one layer in float64, by its definition, with parameters by name.
type block64 struct {
	c gptoss.Config
	p map[string][]float64
	n gptoss.Names
}

func (m block64) linear(name string, x []float64) []float64 {
	bias := m.p[name+".bias"]
	return affine(m.p[name+".weight"], bias, x)
}

func affine(w, bias, x []float64) []float64 {
	y := make([]float64, len(bias))
	for o := range y {
		y[o] = bias[o]
		for i, v := range x {
			y[o] += w[o*len(x)+i] * v
		}
	}
	return y
}

func (m block64) expert(name string, e, out int, x []float64) []float64 {
	return affine(m.p[name+".weight"][e*out*len(x):], m.p[name+".bias"][e*out:(e+1)*out], x)
}

// forward is the layer's output for one sequence.
func (m block64) forward(layer int, x [][]float64) [][]float64 {
	c, d := m.c, m.c.HeadDim
	var q, k, v, y [][]float64
	inverse := make([]float64, d/2)
	for i, f := range c.Rotary.InvFreq {
		inverse[i] = float64(f)
	}
	for t, row := range x {
		h := reference.RMSNorm(row, m.p[m.n.InputNorm], float64(c.NormEpsilon))
		q, k, v = append(q, m.linear(m.n.Q, h)), append(k, m.linear(m.n.K, h)), append(v, m.linear(m.n.V, h))
		for _, heads := range [][]float64{q[t], k[t]} {
			for at := 0; at < len(heads); at += d {
				reference.Rotate(heads[at:at+d], t, inverse, float64(c.Rotary.Scale))
			}
		}
		lo := 0
		if w := c.Windows[layer]; w > 0 {
			lo = max(0, t-w+1)
		}
		mixed := make([]float64, c.Heads*d)
		for n := range c.Heads {
			at := n / (c.Heads / c.KVHeads) * d
			var scores []float64
			for s := lo; s <= t; s++ {
				scores = append(scores, dot64(q[t][n*d:(n+1)*d], k[s][at:])/math.Sqrt(float64(d)))
			}
			for j, w := range reference.SinkSoftmax(scores, m.p[m.n.Sinks][n]) {
				for i := range d {
					mixed[n*d+i] += w * v[lo+j][at+i]
				}
			}
		}
		h = add64(row, m.linear(m.n.O, mixed))
		y = append(y, add64(h, m.mixture(reference.RMSNorm(h, m.p[m.n.PostNorm], float64(c.NormEpsilon)))))
	}
	return y
}

func (m block64) mixture(h []float64) []float64 {
	y := make([]float64, m.c.Hidden)
	experts, weights := reference.TopK(m.linear(m.n.Router, h), m.c.ActiveExperts)
	for j, e := range experts {
		gateUp := m.expert(m.n.GateUp, e, 2*m.c.Intermediate, h)
		a := make([]float64, m.c.Intermediate)
		for i := range a {
			a[i] = reference.SwiGLU(gateUp[2*i], gateUp[2*i+1], float64(m.c.SwiGLULimit))
		}
		for i, v := range m.expert(m.n.Down, e, m.c.Hidden, a) {
			y[i] += weights[j] * v
		}
	}
	return y
}

func dot64(a, b []float64) (s float64) {
	for i, v := range a {
		s += v * b[i]
	}
	return s
}

func add64(a, b []float64) []float64 {
	y := make([]float64, len(a))
	for i := range y {
		y[i] = a[i] + b[i]
	}
	return y
}

func gaussian(r *rand.Rand, n int, deviation float64) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(deviation * r.NormFloat64())
	}
	return x
}

// randomLayer is a layer of a tiny model, none of whose projections is
// rounded, so that its loss is smooth where the router does not switch.
func randomLayer(r *rand.Rand) (*trainable, gptoss.Config) {
	c := gptoss.Config{Layers: 2, Hidden: 10, Intermediate: 6, Heads: 4, KVHeads: 2, HeadDim: 4, Experts: 5, ActiveExperts: 2,
		Vocab: 3, Windows: []int{0, 3}, NormEpsilon: 1e-2, SwiGLULimit: 1.5, Rotary: ops.YaRN(4, 1e4, 32, 32, 1, 64)}
	t := newTrainable(nil, &c)
	for layer := range c.Layers {
		n := gptoss.LayerNames(layer)
		t.vectors[n.InputNorm], t.vectors[n.PostNorm] = gaussian(r, c.Hidden, 1), gaussian(r, c.Hidden, 1)
		t.vectors[n.Sinks] = gaussian(r, c.Heads, 1)
		for _, p := range c.LayerProjections(layer) {
			l := &latent{shape: []int{p.Out, p.In}}
			if p.Experts > 0 {
				l.shape = []int{p.Experts, p.Out, p.In}
			}
			l.weight = gaussian(r, int(p.Parameters()), 1.5/math.Sqrt(float64(p.In)))
			l.bias = gaussian(r, int(p.Parameters())/p.In, .3)
			t.latents[p.Name] = l
		}
	}
	return t, c
}

// TestLayerGradient compares the derivatives of a whole layer's loss by every
// kind of parameter and by its input with differences in float64, for a full
// and a sliding layer, two sequences a batch.
func TestLayerGradient(t *testing.T) {
	const window, sequences = 7, 2
	r := rand.New(rand.NewPCG(5, 6))
	layers, c := randomLayer(r)
	for index := range c.Layers {
		rows := window * sequences
		x, target := gaussian(r, rows*c.Hidden, 1), gaussian(r, rows*c.Hidden, 1)
		b := graph.NewBuilder()
		in := b.Input("stream", tensor.Float32, rows, c.Hidden)
		want := b.Input("target", tensor.Float32, rows, c.Hidden)
		loss := ops.SquaredError(b, "error", 1, gptoss.DeclareLayer(b, c, layers, index, in), want)
		if err := b.Err(); err != nil {
			t.Fatal(err)
		}
		ps, nodes, err := layers.parametersOf(b, index, index+1)
		if err != nil {
			t.Fatal(err)
		}
		ps, nodes = append(ps, parameter{name: "stream", value: x}), append(nodes, in)
		grads := b.Grad(loss, nodes...)
		plan, err := b.Compile(newCPU(t, 2), rows, graph.WithOutputs(grads...))
		if err != nil {
			t.Fatal(err)
		}
		for node, data := range map[*gorgonia.Node][]float32{in: x, want: target} {
			v, err := plan.Value(node)
			if err != nil {
				t.Fatal(err)
			}
			copy(v.Float32s(), data)
		}
		batch := graph.NewBatch()
		for range sequences {
			seq, err := plan.NewSequence()
			if err != nil {
				t.Fatal(err)
			}
			batch.Add(seq, window)
		}
		if err := plan.Run(batch); err != nil {
			t.Fatal(err)
		}
		m := block64{c, map[string][]float64{}, gptoss.LayerNames(index)}
		for _, p := range ps {
			m.p[p.name] = wide(p.value)
		}
		loss64 := func() (sum float64) {
			for s := range sequences {
				var rows [][]float64
				for i := range window {
					at := (s*window + i) * c.Hidden
					rows = append(rows, m.p["stream"][at:at+c.Hidden])
				}
				for i, y := range m.forward(index, rows) {
					for k, v := range y {
						d := v - float64(target[(s*window+i)*c.Hidden+k])
						sum += d * d
					}
				}
			}
			return sum
		}
		for i, p := range ps {
			v, err := plan.Value(grads[i])
			if err != nil {
				t.Fatal(err)
			}
			compareGradient(t, p.name, m.p[p.name], v.Float32s(), loss64, r)
		}
	}
}

// compareGradient checks some elements of a gradient against differences.
func compareGradient(t *testing.T, name string, at []float64, got []float32, loss func() float64, r *rand.Rand) {
	t.Helper()
	top := 0.0
	for _, g := range got {
		top = max(top, math.Abs(float64(g)))
	}
	if top == 0 {
		t.Errorf("%s: no derivative", name)
	}
	for range min(2*len(at), 24) {
		k := r.IntN(len(at))
		const h = 1e-5
		was := at[k]
		at[k] = was + h
		up := loss()
		at[k] = was - h
		down := loss()
		at[k] = was
		if want := (up - down) / (2 * h); math.Abs(float64(got[k])-want) > 1e-4*top {
			t.Errorf("%s: derivative by element %d is %v, differences say %v", name, k, got[k], want)
			return
		}
	}
}

func wide(x []float32) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = float64(v)
	}
	return y
}

// TestTrainerLearns: training a layer towards the output of another lowers the
// loss on windows it has not seen, and the same seed gives the same bits on
// any number of threads.
func TestTrainerLearns(t *testing.T) {
	const window, windows = 8, 24
	steps, share := 150, .5
	if testing.Short() {
		steps, share = 30, .95
	}
	var first []float32
	for _, c := range []struct{ threads, micro int }{{1, 6}, {3, 6}, {2, 2}} {
		threads, micro := c.threads, c.micro
		r := rand.New(rand.NewPCG(7, 8))
		layers, c := randomLayer(r)
		teacher, _ := randomLayer(rand.New(rand.NewPCG(7, 8)))
		for _, p := range c.LayerProjections(0) { // what training has to undo
			l := layers.latents[p.Name]
			for i := range l.weight {
				l.weight[i] += float32(.2 * r.NormFloat64() / math.Sqrt(float64(c.Hidden)))
			}
		}
		x := gaussian(r, windows*window*c.Hidden, 1)
		target := teacherOutput(t, teacher, c, x, window)
		goal, err := reconstruction(layers, 0, 1, window, pool{text: windows}, memoryStream{x, c.Hidden}, memoryStream{target, c.Hidden})
		if err != nil {
			t.Fatal(err)
		}
		tr, err := newTrainer(newCPU(t, threads), goal,
			TrainOptions{Steps: steps, Batch: 6, Micro: micro, Rate: 1e-2, Seed: 3})
		if err != nil {
			t.Fatal(err)
		}
		if err := tr.start(nil); err != nil {
			t.Fatal(err)
		}
		taken := 0
		did, err := tr.improve(t.Context(), nil, func(step int, loss float64) {
			taken++
			if step != taken || !(loss > 0) {
				t.Fatalf("step %d with loss %v reported after %d steps", step, loss, taken-1)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		after, err := tr.heldOut()
		if err != nil {
			t.Fatal(err)
		}
		if taken != steps || after > share*did.Fitted || after != did.Best || !did.Kept {
			t.Errorf("%d steps took the held-out loss to %v: %+v", taken, after, did)
		}
		var all []float32
		for _, p := range tr.params {
			all = append(all, p.value...)
		}
		if micro < 6 {
			continue // the sums of derivatives round differently
		}
		if first == nil {
			first = all
		}
		for i, v := range all {
			if v != first[i] {
				t.Fatalf("%d threads: value %d is %v, was %v with one", threads, i, v, first[i])
			}
		}
	}
}

// memoryStream is a residual stream in memory.
type memoryStream struct {
	x      []float32
	hidden int
}

func (s memoryStream) read(dst []float32, first int) error {
	copy(dst, s.x[first*s.hidden:])
	return nil
}

func (s memoryStream) length() int { return len(s.x) / s.hidden }

// teacherOutput runs a stream through a layer.
func teacherOutput(t *testing.T, layers *trainable, c gptoss.Config, x []float32, window int) []float32 {
	t.Helper()
	rows := len(x) / c.Hidden
	b := graph.NewBuilder()
	in := b.Input("stream", tensor.Float32, rows, c.Hidden)
	out := gptoss.DeclareLayer(b, c, layers, 0, in)
	plan, err := b.Compile(newCPU(t, 1), rows, graph.WithOutputs(out))
	if err != nil {
		t.Fatal(err)
	}
	v, err := plan.Value(in)
	if err != nil {
		t.Fatal(err)
	}
	copy(v.Float32s(), x)
	batch := graph.NewBatch()
	for range rows / window {
		seq, err := plan.NewSequence()
		if err != nil {
			t.Fatal(err)
		}
		batch.Add(seq, window)
	}
	if err := plan.Run(batch); err != nil {
		t.Fatal(err)
	}
	y, err := plan.Value(out)
	if err != nil {
		t.Fatal(err)
	}
	return append([]float32(nil), y.Float32s()...)
}

// trainableNano is nano with ternary latents, fitted by stage 1.
func trainableNano(t *testing.T, cpu *graph.CPU, source *gptoss.Checkpoint) *trainable {
	t.Helper()
	c := source.Config()
	m := newTrainable(source, &c)
	f, r := NewFitter(cpu), &worker{cpu: cpu}
	for layer := range c.Layers {
		for _, p := range c.LayerProjections(layer) {
			if !p.Quantizable {
				continue
			}
			l := &latent{shape: []int{p.Out, p.In}, group: 64, rounds: true}
			matrices := []ops.Matrix{source.Matrix(p.Name)}
			if p.Experts > 0 {
				l.shape, matrices = []int{p.Experts, p.Out, p.In}, source.ExpertMatrices(p.Name)
				l.bias = source.Vector(p.Name + "_bias")
			} else {
				l.bias = source.Vector(p.Name + ".bias")
			}
			for _, w := range matrices {
				w := r.decode(w)
				fit, err := f.Ternary(w, p.Out, p.In, l.group, nil, Stage1, FitOptions{})
				if err != nil {
					t.Fatal(err)
				}
				l.add(w, fit)
			}
			m.latents[p.Name] = l
		}
	}
	return m
}

// TestDistillation: training the whole model end to end brings its next-token
// distribution closer to the original's on windows it has not seen.
func TestDistillation(t *testing.T) {
	if testing.Short() {
		t.Skip("half a minute of training")
	}
	const window = 64
	cpu, source := newCPU(t, 2), openNano(t)
	tokens := nanoTokens(t, source, 24*window)
	teacher, err := newTeacher(cpu, source, window, 4)
	if err != nil {
		t.Fatal(err)
	}
	tr, err := newTrainer(cpu, distillation(trainableNano(t, cpu, source), teacher, pool{text: 24}, tokens),
		TrainOptions{Steps: 12, Batch: 4, HeldOut: 1. / 6})
	if err != nil {
		t.Fatal(err)
	}
	if err := tr.start(nil); err != nil {
		t.Fatal(err)
	}
	did, err := tr.improve(t.Context(), nil, func(step int, loss float64) { t.Logf("step %d: %.3f", step, loss) })
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("held-out divergence %.3f, then %.3f", did.Fitted, did.Best)
	if !(did.Best < .9*did.Fitted) {
		t.Errorf("training took the held-out divergence from %.3f to %.3f", did.Fitted, did.Best)
	}
}
