package quantize

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/seed-796a8800/tritium/gptoss"
	"github.com/seed-796a8800/tritium/graph"
)

func TestScratch(t *testing.T) {
	dir := os.Getenv("SMALL")
	if dir == "" {
		t.Skip()
	}
	steps, _ := strconv.Atoi(os.Getenv("STEPS"))
	nw, _ := strconv.Atoi(os.Getenv("WINDOWS"))
	batch, _ := strconv.Atoi(os.Getenv("BATCH"))
	layerIndex, _ := strconv.Atoi(os.Getenv("LAYER"))
	c, err := gptoss.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	text, _ := os.ReadFile("/work/shared/text/calibration.txt")
	tok, _ := c.Tokenizer()
	ids := tok.Encode(string(text))[:nw*512]
	cpu := graph.NewCPU(0)
	cfg := c.Config()
	h := cfg.Hidden
	x := make([]float32, len(ids)*h)
	for i, id := range ids {
		c.Embedding().DecodeRows(x[i*h:(i+1)*h], int(id), 1)
	}
	target := slices.Clone(x)
	for l := 0; l <= layerIndex; l++ {
		copy(x, target)
		lr := &layerRun{cpu: cpu, config: cfg, weights: newOverlay(c), layer: l, window: 512, rows: 2048}
		at := 0
		if err := lr.run(t.Context(), x, func(int) {}, observer{fmt.Sprintf("model.layers.%d.output", l), func(v []float32, _ int) error { at += copy(target[at:], v); return nil }}); err != nil {
			t.Fatal(err)
		}
	}
	tr := &trainable{Weights: c, config: &cfg, vectors: map[string][]float32{}, latents: map[string]*latent{}}
	fitter := NewFitter(cpu)
	r := &run{cpu: cpu}
	for _, p := range cfg.LayerProjections(layerIndex) {
		l := &latent{}
		ms := []int{p.Out, p.In}
		if p.Experts > 0 {
			ms = []int{p.Experts, p.Out, p.In}
			l.bias = slices.Clone(c.Vector(p.Name + "_bias"))
		} else {
			l.bias = slices.Clone(c.Vector(p.Name + ".bias"))
		}
		l.shape = ms
		fit := func(w []float32) {
			if !p.Quantizable {
				l.weight = append(l.weight, w...)
				return
			}
			l.group = 128
			f, err := fitter.Ternary(w, p.Out, p.In, 128, nil, Stage1, FitOptions{})
			if err != nil {
				t.Fatal(err)
			}
			l.scales = append(l.scales, f.Scales...)
			for i, v := range w {
				l.weight = append(l.weight, (v+f.Scales[i/128]*float32(f.Codes[i]))/2)
			}
		}
		if p.Experts > 0 {
			for _, m := range c.ExpertMatrices(p.Name) {
				fit(r.decode(m))
			}
		} else {
			fit(r.decode(c.Matrix(p.Name)))
		}
		tr.latents[p.Name] = l
	}
	start := time.Now()
	trn, err := newTrainer(cpu, reconstruction(tr, layerIndex, 512, x, target), TrainOptions{Steps: steps, Batch: batch})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("compile", time.Since(start), "arena MB", trn.step.plan.ArenaBytes()>>20, "held", trn.held, "of", trn.goal.windows)
	e, err := trn.heldOut()
	fmt.Println("before", e, err)
	start = time.Now()
	if err := trn.train(t.Context(), func(step int, loss float64) {
		if step%10 == 9 || step < 3 {
			fmt.Println(step, loss, time.Since(start)/time.Duration(step+1))
		}
	}); err != nil {
		t.Fatal(err)
	}
	e, err = trn.heldOut()
	fmt.Println("after", e, err)
}
