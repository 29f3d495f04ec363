package quantize

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/seed-796a8800/tritium/gptoss"
	"github.com/seed-796a8800/tritium/internal/reference"
	"github.com/seed-796a8800/tritium/internal/safetensors"
	"github.com/seed-796a8800/tritium/internal/units"
)

// openTiny is a model that trains in a moment.
func openTiny(t *testing.T) *gptoss.Checkpoint {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "tiny")
	s := reference.Shape{Layers: 3, Hidden: 64, Intermediate: 64, Heads: 4, KVHeads: 2, HeadDim: 16, Experts: 4, TopK: 2, Vocab: 128}
	if err := reference.Write(dir, s, 1); err != nil {
		t.Fatal(err)
	}
	c, err := gptoss.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func tinyTokens(n int) []int32 {
	tokens := make([]int32, n)
	for i := range tokens {
		tokens[i] = int32(i * i * 7 % 127)
	}
	return tokens
}

// tinyOptions train a tiny model for a few steps.
func tinyOptions() Options {
	return Options{Method: Distill, Group: 64, Window: 16, Rows: 64, Train: TrainOptions{Steps: 4, Batch: 4, HeldOut: .25},
		Distill: DistillOptions{TrainOptions: TrainOptions{Steps: 20, Batch: 4, Rate: 2e-3, Every: 5}}}
}

func runTiny(t *testing.T, ctx context.Context, threads int, c *gptoss.Checkpoint, o Options) (string, *Report, error) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "q")
	r, err := Run(ctx, newCPU(t, threads), c, tinyTokens(32*16), dir, o)
	return dir, r, err
}

func mustRunTiny(t *testing.T, threads int, c *gptoss.Checkpoint, o Options) (string, *Report) {
	t.Helper()
	dir, r, err := runTiny(t, t.Context(), threads, c, o)
	if err != nil {
		t.Fatal(err)
	}
	return dir, r
}

func tensorsOf(t *testing.T, dir string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// heldOutKL is the divergence of a stored model from the original on the tiny
// text's last windows, as the serving graph computes it.
func heldOutKL(t *testing.T, source *gptoss.Checkpoint, dir string, o Options) float64 {
	t.Helper()
	q, err := gptoss.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	cpu := newCPU(t, 2)
	original, err := newTeacher(cpu, source, o.Window, 1)
	if err != nil {
		t.Fatal(err)
	}
	stored, err := newTeacher(cpu, q, o.Window, 1)
	if err != nil {
		t.Fatal(err)
	}
	tokens, rows, sum := tinyTokens(32*16), 0, 0.
	for w := 24; w < 32; w++ {
		ids := tokens[w*o.Window : (w+1)*o.Window]
		p, err := original.logits(ids)
		if err != nil {
			t.Fatal(err)
		}
		p = slices.Clone(p)
		q, err := stored.logits(ids)
		if err != nil {
			t.Fatal(err)
		}
		v := len(p) / len(ids)
		for r := range ids {
			sum += kl64(p[r*v:(r+1)*v], q[r*v:(r+1)*v])
			rows++
		}
	}
	return sum / float64(rows)
}

// kl64 is the divergence of softmax(q) from softmax(p).
func kl64(p, q []float32) (kl float64) {
	logs := func(x []float32) []float64 {
		top, sum := float64(slices.Max(x)), 0.
		for _, v := range x {
			sum += math.Exp(float64(v) - top)
		}
		y := make([]float64, len(x))
		for i, v := range x {
			y[i] = float64(v) - top - math.Log(sum)
		}
		return y
	}
	a, b := logs(p), logs(q)
	for i := range a {
		kl += math.Exp(a[i]) * (a[i] - b[i])
	}
	return kl
}

// TestDistillEndToEnd: training the whole model lowers the divergence on
// windows it has not seen, of the model that was written, whose embedding and
// head are quantized too; and the report says by how much.
func TestDistillEndToEnd(t *testing.T) {
	if testing.Short() {
		t.Skip("trains for several seconds")
	}
	c, o := openTiny(t), tinyOptions()
	o.Embedding, o.Head = StoreInt8, StoreInt4
	dir, r := mustRunTiny(t, 2, c, o)
	if len(r.Distilled) != 1 || len(r.Layers) != 3 {
		t.Fatalf("report: %+v", r)
	}
	p := r.Distilled[0]
	if p.Loss != LossKL || p.First != 0 || p.Last != 2 || !p.Kept || p.BestStep == 0 || !(p.Best < .9*p.Fitted) {
		t.Errorf("the pass: %+v", p)
	}
	if p.Windows != 24 || p.SelfText != 0 || p.HeldOut != [2]int{24, 31} || p.Steps != 20 {
		t.Errorf("windows of the pass: %+v", p)
	}
	if got := heldOutKL(t, c, dir, o); got < .97*p.Best || got > 1.03*p.Best {
		t.Errorf("the stored model's divergence is %v, the report says %v", got, p.Best)
	}
}

// TestWindowBlocks: layers trained together come nearer to the original's
// output, for windows that divide the layers and one that does not.
func TestWindowBlocks(t *testing.T) {
	if testing.Short() {
		t.Skip("trains for several seconds")
	}
	c := openTiny(t)
	for _, n := range []int{1, 2, 7} {
		o := tinyOptions()
		o.Distill.WindowBlocks = n
		_, r := mustRunTiny(t, 2, c, o)
		want := (3 + n - 1) / n
		if len(r.Distilled) != want {
			t.Fatalf("%d layers a window: %d passes, want %d", n, len(r.Distilled), want)
		}
		next := 0
		for _, p := range r.Distilled {
			if p.First != next || p.Loss != LossError || !(p.Best < p.Fitted) || !p.Kept {
				t.Errorf("%d layers a window: %+v", n, p)
			}
			next = p.Last + 1
		}
		if next != 3 {
			t.Errorf("%d layers a window: %d layers were trained", n, next)
		}
	}
}

// TestFreezeCodes: training what is not rounded changes no code, lowers the
// divergence, and changes scales.
func TestFreezeCodes(t *testing.T) {
	if testing.Short() {
		t.Skip("trains for several seconds")
	}
	c, o := openTiny(t), tinyOptions()
	o.Method, o.Attention = Reconstruct, StoreInt8
	before, _ := mustRunTiny(t, 2, c, o)
	o.Method, o.Distill.FreezeCodes, o.Distill.Rate = Distill, true, 1e-2
	for _, n := range []int{0, 3} {
		o.Distill.WindowBlocks = n
		after, r := mustRunTiny(t, 2, c, o)
		if p := r.Distilled[0]; !p.Kept || !(p.Best < p.Fitted) {
			t.Errorf("%d layers: %+v", n, p)
		}
		codes, scales := 0, 0
		was := storedTensors(t, before)
		for name, x := range storedTensors(t, after) {
			same := bytes.Equal(x.Data, was[name].Data)
			if strings.HasSuffix(name, ".codes") {
				codes++
				if !same {
					t.Errorf("%d layers: %s has changed", n, name)
				}
			} else if strings.HasSuffix(name, "down_proj.scales") && !same {
				scales++
			}
		}
		if codes != 3*6 || scales != 3 {
			t.Errorf("%d layers: %d tensors of codes, %d of down's scales changed", n, codes, scales)
		}
	}
}

func storedTensors(t *testing.T, dir string) map[string]safetensors.Tensor {
	t.Helper()
	c, err := gptoss.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	all := map[string]safetensors.Tensor{}
	for _, x := range c.Tensors() {
		all[x.Name] = x
	}
	return all
}

// TestNeverQuantized: whatever trains router, norms, sinks and biases, they are
// stored in the types that the source has, bf16 at least.
func TestNeverQuantized(t *testing.T) {
	if testing.Short() {
		t.Skip("trains for several seconds")
	}
	c := openTiny(t)
	for _, blocks := range []int{0, 2} {
		o := tinyOptions()
		o.Distill.Steps, o.Distill.WindowBlocks = 2, blocks
		o.Embedding, o.Head = StoreInt8, StoreInt4
		dir, _ := mustRunTiny(t, 2, c, o)
		stored, kept := storedTensors(t, dir), map[string]int{}
		for _, x := range c.Tensors() {
			for _, kind := range []string{"router.weight", "router.bias", "layernorm.weight", "model.norm.weight", "sinks", "_proj.bias", "_proj_bias"} {
				if !strings.HasSuffix(x.Name, kind) {
					continue
				}
				kept[kind]++
				got, ok := stored[x.Name]
				if !ok || got.Dtype != x.Dtype || !slices.Equal(got.Shape, x.Shape) || got.Dtype != safetensors.BF16 && got.Dtype != safetensors.F32 {
					t.Errorf("%d layers: %s is stored as %v %v, the source has %v %v", blocks, x.Name, got.Dtype, got.Shape, x.Dtype, x.Shape)
				}
			}
		}
		if len(kept) != 7 || kept["layernorm.weight"] != 6 || kept["_proj.bias"] != 12 {
			t.Errorf("the test has lost its subject: %v", kept)
		}
	}
}

// TestResume: a run that is interrupted anywhere, in the middle of training a
// layer or the whole, and started again, gives the bytes of one that was not;
// and what is finished is not trained again.
func TestResume(t *testing.T) {
	if testing.Short() {
		t.Skip("trains for several seconds")
	}
	c := openTiny(t)
	for _, blocks := range []int{0, 2} {
		o := tinyOptions()
		o.SelfText, o.Distill.WindowBlocks = 5, blocks
		want, _ := mustRunTiny(t, 1, c, o)
		o.Store, o.KeepStore = filepath.Join(t.TempDir(), "store"), true
		interrupted := 0
		for _, at := range []string{"16 of 80 tokens", "training, step 2", "step 7 of 20", "step 13 of 20"} {
			ctx, cancel := context.WithCancel(t.Context())
			o.Progress = func(p Progress) {
				if strings.Contains(p.Step, at) {
					cancel()
				}
			}
			_, _, err := runTiny(t, ctx, 2, c, o)
			cancel()
			if !errors.Is(err, context.Canceled) {
				t.Fatalf("interrupted at %q: %v", at, err)
			}
			interrupted++
		}
		steps := 0
		o.Progress = func(p Progress) {
			if strings.Contains(p.Step, "step ") {
				steps++
			}
			if strings.Contains(p.Step, "step 12 of 20") && blocks == 0 {
				t.Error("a step is taken again")
			}
		}
		got, r := mustRunTiny(t, 3, c, o)
		if !bytes.Equal(tensorsOf(t, got), tensorsOf(t, want)) {
			t.Errorf("%d layers: other bytes after %d interruptions", blocks, interrupted)
		}
		if steps == 0 || r.Distilled[0].Steps != 20 {
			t.Errorf("%d steps were left: %+v", steps, r.Distilled)
		}
		steps = 0
		again, r2 := mustRunTiny(t, 2, c, o)
		a, _ := json.Marshal(r.Distilled)
		b, _ := json.Marshal(r2.Distilled)
		if steps != 0 || !bytes.Equal(tensorsOf(t, again), tensorsOf(t, want)) || !bytes.Equal(a, b) {
			t.Errorf("%d layers: a second run took %d steps and reports %s, the first %s", blocks, steps, b, a)
		}
	}
}

// TestBrokenState: a state that was changed counts as none.
func TestBrokenState(t *testing.T) {
	if testing.Short() {
		t.Skip("trains for several seconds")
	}
	c, o := openTiny(t), tinyOptions()
	want, _ := mustRunTiny(t, 1, c, o)
	o.Store = filepath.Join(t.TempDir(), "store")
	ctx, cancel := context.WithCancel(t.Context())
	o.Progress = func(p Progress) {
		if strings.Contains(p.Step, "step 7 of 20") {
			cancel()
		}
	}
	if _, _, err := runTiny(t, ctx, 2, c, o); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	states, err := filepath.Glob(filepath.Join(o.Store, "*.checkpoint"))
	if err != nil || len(states) != 1 {
		t.Fatalf("%v, %v", states, err)
	}
	whole, err := os.ReadFile(states[0])
	if err != nil {
		t.Fatal(err)
	}
	o.Progress = nil
	for _, damage := range []func([]byte) []byte{
		func(b []byte) []byte { return b[:len(b)-40] },
		func(b []byte) []byte { b[len(b)/2] ^= 4; return b },
		func(b []byte) []byte { b[3] = 0xff; return b },
		func(b []byte) []byte { return b[:2] },
	} {
		if err := os.MkdirAll(o.Store, 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(states[0], damage(bytes.Clone(whole)), 0o666); err != nil {
			t.Fatal(err)
		}
		if got, _ := mustRunTiny(t, 2, c, o); !bytes.Equal(tensorsOf(t, got), tensorsOf(t, want)) {
			t.Fatal("a broken state gives other bytes")
		}
	}
}

// TestGate: training that only does harm leaves the model as it was.
func TestGate(t *testing.T) {
	if testing.Short() {
		t.Skip("trains for several seconds")
	}
	c, o := openTiny(t), tinyOptions()
	o.Method = PTBitNet
	fitted, _ := mustRunTiny(t, 2, c, o)
	o.Method, o.Train.Rate, o.Distill.Rate, o.Distill.Others = Distill, .9, .9, 1
	o.Distill.Warmup, o.Distill.Patience = 1, 2
	dir, r := mustRunTiny(t, 2, c, o)
	for _, l := range r.Layers {
		if l.Kept || l.BestStep != 0 || l.Best != l.Fitted {
			t.Errorf("layer %d: %+v", l.Layer, l)
		}
	}
	if p := r.Distilled[0]; p.Kept || p.Steps != 10 || p.Trained < p.Fitted {
		t.Errorf("the pass: %+v", p)
	}
	// Everything that training may change is as it was fitted, to the byte.
	was := storedTensors(t, fitted)
	for name, x := range storedTensors(t, dir) {
		if !bytes.Equal(x.Data, was[name].Data) {
			t.Errorf("%s is not what was fitted", name)
		}
	}
}

// TestSelfText: what the original writes depends on the model, the seed and the
// number of the window alone, and a generator would write the same.
func TestSelfText(t *testing.T) {
	c := openTiny(t)
	const windows, n = writtenAtOnce + 3, 16
	calibration := tinyTokens(6 * n)
	write := func(threads, windows int) []int32 {
		o := tinyOptions()
		o.SelfText, o.Train.Seed = windows, 7
		r, err := newRun(t.Context(), c, calibration, o)
		if err != nil {
			t.Fatal(err)
		}
		if r.store, err = units.Open(filepath.Join(t.TempDir(), "store")); err != nil {
			t.Fatal(err)
		}
		defer r.store.Close()
		r.stores = []*units.Store{r.store}
		text, err := r.writeSelfText(newCPU(t, threads), windows)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	want := write(1, windows)
	if got := write(3, windows); !slices.Equal(got, want) {
		t.Error("other text on 3 threads")
	}
	if got := write(2, 5); !slices.Equal(got, want[:5*n]) {
		t.Error("other text for fewer windows")
	}
	m, err := c.Compile(newCPU(t, 1), 4)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range []int{0, 1, windows - 1} {
		prompt, s := selfTextStart(7, w, calibration)
		g, err := gptoss.NewGenerator(m, s, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := g.Prefill([]int32{prompt}); err != nil {
			t.Fatal(err)
		}
		for g.Len() < n {
			if _, _, err := g.Next(); err != nil {
				t.Fatal(err)
			}
		}
		if !slices.Equal(g.Text(), want[w*n:(w+1)*n]) {
			t.Errorf("window %d is %v, a generator writes %v", w, want[w*n:(w+1)*n], g.Text())
		}
	}
}
