package quantize

import (
	"cmp"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/seed-796a8800/tritium/gptoss"
	"github.com/seed-796a8800/tritium/graph"
	"github.com/seed-796a8800/tritium/ops"
	"gorgonia.org/gorgonia"
)

// The shape of a training step: that of `tritium quantize --method reconstruct`
// on a model of the small shape.
const (
	stepWindow  = 512
	stepWindows = 16
)

// stepLatents are the small shape's layers in training, with weights drawn at
// random and scales of about their size.
func stepLatents(tb testing.TB, cpu *graph.CPU, layers int) *trainable {
	tb.Helper()
	source, err := gptoss.Synthetic{Config: gptoss.ShapeSmall().WithLayers(layers), Format: gptoss.FormatMXFP4}.Build(tb.Context(), cpu, nil)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { source.Close() })
	c := source.Config()
	m, r := newTrainable(source, &c), &worker{cpu: cpu}
	for layer := range c.Layers {
		n := gptoss.LayerNames(layer)
		for _, p := range c.LayerProjections(layer) {
			l := &latent{shape: []int{p.Out, p.In}, rounds: p.Name != n.Router}
			matrices := []ops.Matrix{nil}
			if p.Experts > 0 {
				l.shape, matrices = []int{p.Experts, p.Out, p.In}, source.ExpertMatrices(p.Name)
				l.bias = slices.Clone(source.Vector(p.Name + "_bias"))
			} else {
				matrices[0] = source.Matrix(p.Name)
				l.bias = slices.Clone(source.Vector(p.Name + ".bias"))
			}
			for _, w := range matrices {
				l.weight = append(l.weight, r.decode(w)...)
			}
			if l.rounds {
				l.group = 128
				for range len(l.weight) / l.group {
					l.scales = append(l.scales, absMean(l.weight[len(l.scales)*l.group:][:l.group]))
				}
			}
			m.latents[p.Name] = l
		}
	}
	return m
}

func absMean(x []float32) float32 {
	var sum float32
	for _, v := range x {
		sum += max(v, -v)
	}
	return sum / float32(len(x))
}

// stepWork is the multiply-adds of a step's products, attention's among them:
// three times those of the forward pass. A sliding layer's tokens see their
// window.
func stepWork(c gptoss.Config, layers, tokens, window int) (work float64) {
	h, i, nd, kd := float64(c.Hidden), float64(c.Intermediate), float64(c.Heads*c.HeadDim), float64(c.KVHeads*c.HeadDim)
	for layer := range layers {
		seen := 0
		for t := range window {
			if w := c.Windows[layer]; w > 0 {
				seen += min(t+1, w)
			} else {
				seen += t + 1
			}
		}
		perToken := h*(2*nd+2*kd) + h*float64(c.Experts) + float64(c.ActiveExperts)*3*i*h + 2*nd*float64(seen)/float64(window)
		work += 3 * float64(tokens) * perToken
	}
	return work
}

// sgemmRate measures ops.MatMulNT on all threads, in multiply-adds a second:
// the best of several runs of a product as large as those of a step.
func sgemmRate(cpu *graph.CPU) float64 {
	const rows, m, n, k = 96, 4096, 768, 384
	r := randomSource(9)
	a, b, dst := normals(r, m*k), normals(r, n*k), make([]float32, m*n)
	best := 0.0
	for range 20 {
		start := time.Now()
		cpu.Parallel((m+rows-1)/rows, func(_, i int) {
			ops.MatMulNT(dst[i*rows*n:], n, a[i*rows*k:], k, b, k, min(rows, m-i*rows), n, k, false)
		})
		best = max(best, m*n*k/time.Since(start).Seconds())
	}
	return best
}

// reportStep reports a benchmark's multiply-adds a second and what share they
// are of the rate of ops.MatMulNT, measured just before and just after.
func reportStep(b *testing.B, cpu *graph.CPU, tr *trainer, work float64, step func()) {
	rate := sgemmRate(cpu)
	step() // touches the memory
	b.ReportAllocs()
	for b.Loop() {
		step()
	}
	rate = max(rate, sgemmRate(cpu))
	got := work / (b.Elapsed().Seconds() / float64(b.N))
	b.ReportMetric(got/1e9, "GMAC/s")
	b.ReportMetric(100*got/rate, "%ofMatMulNT")
	b.ReportMetric(float64(tr.step.plan.ArenaBytes())/(1<<20), "arena-MB")
}

// stepOf returns what takes one step of a trainer on its first windows.
func stepOf(tb testing.TB, tr *trainer) func() {
	optimizer := newAdam(.9, .999, tr.params)
	windows := make([]int, tr.opt.Batch)
	for i := range windows {
		windows[i] = i
	}
	return func() {
		if _, err := tr.differentiate(windows); err != nil {
			tb.Fatal(err)
		}
		optimizer.step(tr.cpu, tr.params, 1e-4)
	}
}

// layerTrainer trains one layer of the small shape: the first slides, the
// second sees everything.
func layerTrainer(tb testing.TB, cpu *graph.CPU, layer int, opts ...graph.Option) *trainer {
	tb.Helper()
	m := stepLatents(tb, cpu, 2)
	r, n := randomSource(4), (stepWindows+1)*stepWindow*m.config.Hidden
	p := pool{text: stepWindows + 1}
	goal, err := reconstruction(m, layer, layer+1, stepWindow, p, memoryStream{normals(r, n), m.config.Hidden}, memoryStream{normals(r, n), m.config.Hidden})
	if err != nil {
		tb.Fatal(err)
	}
	tr, err := newTrainer(cpu, goal, TrainOptions{Batch: stepWindows}, opts...)
	if err != nil {
		tb.Fatal(err)
	}
	return tr
}

// BenchmarkLayerStep takes steps of `reconstruct`: a layer forward and backward,
// and Adam.
func BenchmarkLayerStep(b *testing.B) {
	for threads := 1; threads <= runtime.GOMAXPROCS(0); threads *= 2 {
		for layer, kind := range []string{"sliding", "full"} {
			b.Run(fmt.Sprintf("threads=%d/attention=%s", threads, kind), func(b *testing.B) {
				cpu := newCPU(b, threads)
				tr := layerTrainer(b, cpu, layer)
				c := gptoss.ShapeSmall()
				c.Windows = c.Windows[layer:]
				reportStep(b, cpu, tr, stepWork(c, 1, stepWindows*stepWindow, stepWindow), stepOf(b, tr))
			})
		}
	}
}

// distillTrainer trains the whole model on that many windows a step.
func distillTrainer(tb testing.TB, cpu *graph.CPU, windows int, opts ...graph.Option) *trainer {
	tb.Helper()
	m := stepLatents(tb, cpu, gptoss.ShapeSmall().Layers)
	tokens := make([]int32, (windows+1)*stepWindow)
	for i := range tokens {
		tokens[i] = int32(i*7919) % int32(m.config.Vocab)
	}
	t, err := newTeacher(cpu, m.Weights.(*gptoss.Checkpoint), stepWindow, windows)
	if err != nil {
		tb.Fatal(err)
	}
	tr, err := newTrainer(cpu, distillation(m, t, pool{text: windows + 1}, tokens), TrainOptions{Batch: windows}, opts...)
	if err != nil {
		tb.Fatal(err)
	}
	return tr
}

// BenchmarkDistillStep takes steps of distillation: six layers, the head and the
// divergence, forward and backward, the original's logits, and Adam. The
// original's products count once, and the head's twice for the model, whose
// head is frozen.
func BenchmarkDistillStep(b *testing.B) {
	for threads := 1; threads <= runtime.GOMAXPROCS(0); threads *= 2 {
		b.Run(fmt.Sprintf("threads=%d", threads), func(b *testing.B) {
			cpu := newCPU(b, threads)
			const windows = 4
			const rows = windows * stepWindow
			tr := distillTrainer(b, cpu, windows)
			c := gptoss.ShapeSmall()
			layers, head := stepWork(c, c.Layers, rows, stepWindow), float64(rows*c.Hidden*c.Vocab)
			reportStep(b, cpu, tr, layers+layers/3+3*head, stepOf(b, tr))
		})
	}
}

// BenchmarkStepNodes logs what each kind of node takes of a step: the time
// between the ends of two nodes.
func BenchmarkStepNodes(b *testing.B) {
	for _, goal := range []string{"layer", "distill"} {
		b.Run("goal="+goal, func(b *testing.B) {
			spent, kind, last := map[string]time.Duration{}, map[string]string{}, time.Now()
			lap := func(what string) {
				now := time.Now()
				spent[what] += now.Sub(last)
				last = now
			}
			probe := graph.WithProbe(
				func(name string, op gorgonia.Op) bool { kind[name] = op.String(); return true },
				func(name string, _ *graph.Batch, _ []graph.Buffer, _ graph.Buffer) error { lap(kind[name]); return nil })
			cpu := newCPU(b, 0)
			var tr *trainer
			if goal == "layer" {
				tr = layerTrainer(b, cpu, 1, probe)
			} else {
				tr = distillTrainer(b, cpu, 4, probe)
				load := tr.goal.load
				tr.goal.load = func(in []graph.Buffer, windows []int) error { defer lap("the original"); return load(in, windows) }
			}
			step := stepOf(b, tr)
			step()
			clear(spent)
			last = time.Now()
			for b.Loop() {
				step()
				lap("adam")
			}
			for _, k := range slices.SortedFunc(maps.Keys(spent), func(a, b string) int { return cmp.Compare(spent[b], spent[a]) }) {
				b.Logf("%7.1f ms  %s", spent[k].Seconds()*1e3/float64(b.N), k)
			}
		})
	}
}
