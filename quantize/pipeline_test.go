package quantize

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/seed-796a8800/tritium/gptoss"
	"github.com/seed-796a8800/tritium/graph"
	"github.com/seed-796a8800/tritium/internal/routing"
	"github.com/seed-796a8800/tritium/ops"
	"github.com/seed-796a8800/tritium/ternaryop"
	"gorgonia.org/gorgonia"
)

const nano = "../testdata/nano"

// nanoTokens returns the first n tokens of the calibration excerpt.
func nanoTokens(t *testing.T, c *gptoss.Checkpoint, n int) []int32 {
	t.Helper()
	text, err := os.ReadFile("../testdata/text/calibration.txt")
	if err != nil {
		t.Fatal(err)
	}
	tok, err := c.Tokenizer()
	if err != nil {
		t.Fatal(err)
	}
	return tok.Encode(string(text[:min(len(text), 8*n)]))[:n]
}

func openNano(t *testing.T) *gptoss.Checkpoint {
	t.Helper()
	c, err := gptoss.Open(nano)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// quantizeNano runs the pipeline over a little text and returns the directory.
func quantizeNano(t *testing.T, threads int, o Options) string {
	t.Helper()
	c := openNano(t)
	dir := filepath.Join(t.TempDir(), "q")
	o.Window, o.Rows = 64, 128
	if o.Train.Steps == 0 {
		o.Train = TrainOptions{Steps: 2, Batch: 2}
	}
	if o.Distill.Steps == 0 {
		o.Distill.Steps, o.Distill.Batch = 2, 2
	}
	if _, err := Run(t.Context(), newCPU(t, threads), c, nanoTokens(t, c, 64*6+10), dir, o); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestEveryMethod checks that each method gives a model that opens, whose files
// are those of its report, and whose report is whole.
func TestEveryMethod(t *testing.T) {
	for _, m := range Methods() {
		t.Run(string(m), func(t *testing.T) {
			if testing.Short() && m != GPTQWithDescent {
				t.Skip("one method that does everything is enough for a short run")
			}
			dir := quantizeNano(t, 2, Options{Method: m, Group: 64})
			c, err := gptoss.Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if q := c.Config().Quantization; q.Method != string(m) || len(q.Tensors) != 6*6 {
				t.Errorf("config.json says %s of %d tensors", q.Method, len(q.Tensors))
			}
			if err := VerifyFiles(t.Context(), dir); err != nil {
				t.Error(err)
			}
			var r Report
			data, err := os.ReadFile(filepath.Join(dir, ReportName))
			if err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(data, &r); err != nil {
				t.Fatal(err)
			}
			if len(r.Tensors) != 6*6 || r.Method != m || r.SourceSHA256 == "" || r.Files["model.safetensors"] == "" {
				t.Errorf("report: %+v", r)
			}
			for _, x := range r.Tensors {
				if !(x.RelativeError > 0 && x.RelativeError < 1) || x.Format != gptoss.FormatTernary {
					t.Errorf("%s: relative error %v as %s", x.Name, x.RelativeError, x.Format)
				}
			}
			if calibrated := m != AbsMean && m != Stage1; calibrated != (r.LeastFed != nil) || calibrated != (r.Options.Tokens == 384) {
				t.Errorf("least fed %v of %d tokens", r.LeastFed, r.Options.Tokens)
			}
			tok, err := c.Tokenizer()
			if err != nil || tok.Size() == 0 {
				t.Errorf("tokenizer: %v", err)
			}
		})
	}
}

// TestNothingElseChanges checks that what must never be quantized - router,
// norms, sinks, biases - is in the ternary model byte for byte, and embedding
// and head too unless asked for.
func TestNothingElseChanges(t *testing.T) {
	source := openNano(t)
	dir := quantizeNano(t, 2, Options{Method: Stage1, Embedding: StoreInt8, Head: StoreInt4})
	c, err := gptoss.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	after := map[string][]byte{}
	for _, x := range c.Tensors() {
		after[x.Name] = append([]byte(x.Dtype), x.Data...)
	}
	quantized := 0
	for _, x := range source.Tensors() {
		projection := strings.HasSuffix(x.Name, "_proj.weight") || strings.Contains(x.Name, "_proj_blocks") ||
			strings.Contains(x.Name, "_proj_scales") || x.Name == "model.embed_tokens.weight" || x.Name == "lm_head.weight"
		if projection {
			if _, ok := after[x.Name]; ok {
				t.Errorf("%s is still there", x.Name)
			}
			quantized++
			continue
		}
		if !bytes.Equal(after[x.Name], append([]byte(x.Dtype), x.Data...)) {
			t.Errorf("%s has changed", x.Name)
		}
	}
	if want := 6*(4+4) + 2; quantized != want {
		t.Errorf("%d tensors were replaced, want %d", quantized, want)
	}
	for _, kind := range []string{"router.weight", "router.bias", "input_layernorm.weight", "self_attn.sinks", "q_proj.bias", "gate_up_proj_bias"} {
		found := false
		for name := range after {
			found = found || strings.HasSuffix(name, kind)
		}
		if !found {
			t.Errorf("no %s in the result; the test has lost its subject", kind)
		}
	}
}

// TestSameBytesForAnyThreads compares whole directories, but for the report's
// times.
func TestSameBytesForAnyThreads(t *testing.T) {
	if testing.Short() {
		t.Skip("quantizes twice")
	}
	a := quantizeNano(t, 1, Options{Method: GPTQWithDescent, Group: 64, Attention: StoreInt8})
	b := quantizeNano(t, 3, Options{Method: GPTQWithDescent, Group: 64, Attention: StoreInt8})
	for _, name := range []string{"model.safetensors", "config.json", "tokenizer.json", "generation_config.json"} {
		x, err := os.ReadFile(filepath.Join(a, name))
		if err != nil {
			t.Fatal(err)
		}
		y, err := os.ReadFile(filepath.Join(b, name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(x, y) {
			t.Errorf("%s differs between 1 and 3 threads", name)
		}
	}
}

// quantizedBefore is the model as calibration sees it at one layer: the
// finished layers before it, the original ones from it on.
type quantizedBefore struct {
	*gptoss.Checkpoint // the original
	finished           *gptoss.Checkpoint
	layer              int
}

func (q quantizedBefore) of(name string) *gptoss.Checkpoint {
	var layer int
	if n, _ := fmt.Sscanf(name, "model.layers.%d.", &layer); n == 1 && layer < q.layer {
		return q.finished
	}
	return q.Checkpoint
}

func (q quantizedBefore) Linear(name string) ops.Linear { return q.of(name).Linear(name) }
func (q quantizedBefore) ExpertLinear(name string) ops.ExpertLinear {
	return q.of(name).ExpertLinear(name)
}

// TestFittedToWhatItSees rebuilds, from a forward pass of the whole model whose
// first layers are the finished ones, the statistics of some projections and
// fits them again: the codes must be those in the file. So a layer was fitted
// to exactly the stream that it sees when the model serves (inside the layer the
// inputs are those of the original weights).
func TestFittedToWhatItSees(t *testing.T) {
	source, dir := openNano(t), quantizeNano(t, 2, Options{Method: PTBitNet, Group: 64})
	c, err := gptoss.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	const layer, rows = 3, 64 * 6
	n := gptoss.LayerNames(layer)
	scope := fmt.Sprintf("model.layers.%d.", layer)
	tokens := nanoTokens(t, c, rows)
	seen, width := map[string][]float32{}, map[string]int{}
	probe := graph.WithProbe(func(name string, _ gorgonia.Op) bool { return strings.HasPrefix(name, scope) },
		func(name string, b *graph.Batch, _ []graph.Buffer, out graph.Buffer) error {
			w := out.Shape().TotalSize() / rows
			seen[strings.TrimPrefix(name, scope)] = append([]float32(nil), out.Float32s()[:b.Rows()*w]...)
			width[strings.TrimPrefix(name, scope)] = out.Shape()[out.Shape().Dims()-1]
			return nil
		})
	cpu := newCPU(t, 2)
	m, err := gptoss.Compile(c.Config(), quantizedBefore{source, c, layer}, cpu, rows, probe)
	if err != nil {
		t.Fatal(err)
	}
	b := graph.NewBatch()
	for range 6 {
		seq, err := m.Plan.NewSequence()
		if err != nil {
			t.Fatal(err)
		}
		b.Add(seq, 64)
	}
	copy(m.Tokens(), tokens)
	if err := m.Plan.Run(b); err != nil {
		t.Fatal(err)
	}

	refit := func(name string, w []float32, out, in int, moment *Moment, expert int) {
		t.Helper()
		fit, err := NewFitter(cpu).Ternary(w, out, in, 64, moment, PTBitNet, FitOptions{})
		if err != nil {
			t.Fatal(err)
		}
		packed, err := ternaryop.Pack(ternaryop.Ternary2, fit.Codes, fit.Scales, out, in, 64)
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, x := range c.Tensors() {
			found = found || x.Name == name+".codes"
			if x.Name == name+".codes" && !bytes.Equal(x.Data[expert*len(packed.Codes):(expert+1)*len(packed.Codes)], packed.Codes) {
				t.Errorf("%s, expert %d: the model's own inputs give other codes than the file has", name, expert)
			}
		}
		if !found {
			t.Errorf("the file has no %s.codes", name)
		}
	}
	w := &worker{cpu: cpu}
	for name, input := range map[string]string{n.Q: "input_layernorm", n.O: "self_attn.attention"} {
		out, inputs := source.Matrix(name).Dims()
		refit(name, w.decode(source.Matrix(name)), out, inputs, momentOfRows(t, cpu, seen[input], width[input], nil), 0)
	}
	cfg := c.Config()
	as := routing.New(rows, cfg.Experts, cfg.ActiveExperts)
	if err := as.Build(seen["mlp.routing"], rows); err != nil {
		t.Fatal(err)
	}
	for name, input := range map[string]string{n.GateUp: "post_attention_layernorm", n.Down: "mlp.swiglu"} {
		all := momentOfRows(t, cpu, seen[input], width[input], nil)
		for _, expert := range []int{0, 5} {
			tokens, slots := as.Of(expert)
			var list []int
			for i, token := range tokens {
				if name == n.GateUp {
					list = append(list, int(token))
				} else {
					list = append(list, int(token)*cfg.ActiveExperts+int(slots[i]))
				}
			}
			m := momentOfRows(t, cpu, seen[input], width[input], list)
			if err := m.Shrink(cpu, all, 2*float64(width[input])); err != nil {
				t.Fatal(err)
			}
			matrix := source.ExpertMatrices(name)[expert]
			out, inputs := matrix.Dims()
			refit(name, w.decode(matrix), out, inputs, m, expert)
		}
	}
}

// TestCalibratedGraphIsTheServingGraph compares what calibration declares and
// runs, layer by layer, with the declaration of the finished model: the same
// nodes with the same inputs and shapes, and the same operators but for the
// projections.
func TestCalibratedGraphIsTheServingGraph(t *testing.T) {
	source, dir := openNano(t), quantizeNano(t, 2, Options{Method: Stage1, Group: 64})
	c, err := gptoss.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	const rows = 8
	describe := func(b *graph.Builder) map[string]string {
		if b.Err() != nil {
			t.Fatal(b.Err())
		}
		nodes := map[string]string{}
		for _, n := range b.Graph().AllNodes() {
			if !strings.HasPrefix(b.Name(n), "model.layers.") {
				continue
			}
			s := fmt.Sprint(n.Shape())
			if n.Op() == nil { // a parameter
				nodes[b.Name(n)] = s
				continue
			}
			for it := b.Graph().From(n.ID()); it.Next(); {
				// A layer reads the stream: calibration's own, or what the
				// layer before it gives.
				input := b.Name(it.Node().(*gorgonia.Node))
				if own, _, _ := strings.Cut(strings.TrimPrefix(b.Name(n), "model.layers."), "."); !strings.HasPrefix(input, "model.layers."+own+".") {
					input = "stream"
				}
				s += " " + input
			}
			if _, projection := n.Op().(interface{ CanonicalName() string }); !projection {
				s += fmt.Sprintf(" by %v#%x", n.Op(), n.Op().Hashcode())
			}
			nodes[b.Name(n)] = s
		}
		return nodes
	}
	b := graph.NewBuilder()
	gptoss.Declare(b, c.Config(), c, b.Input("tokens", gorgonia.Int32, rows))
	serving := describe(b)
	calibrated := map[string]string{}
	for layer := range c.Config().Layers {
		l := &layerRun{config: source.Config(), weights: newOverlay(source), layer: layer, rows: rows}
		b, _ := l.declare()
		for name, s := range describe(b) {
			calibrated[name] = s
		}
	}
	if len(calibrated) != len(serving) || len(calibrated) < 6*15 {
		t.Errorf("%d nodes are calibrated, %d serve", len(calibrated), len(serving))
	}
	for name, s := range calibrated {
		if serving[name] != s {
			t.Errorf("%s: calibrated as %q, serving as %q", name, s, serving[name])
		}
	}
}

// TestRunRefuses checks that every refusal is one line, and leaves nothing.
func TestRunRefuses(t *testing.T) {
	c := openNano(t)
	cpu := newCPU(t, 1)
	tokens := nanoTokens(t, c, 200)
	ternary, err := gptoss.Open(quantizeNano(t, 2, Options{Method: AbsMean}))
	if err != nil {
		t.Fatal(err)
	}
	defer ternary.Close()
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	parent := t.TempDir()
	taken := filepath.Join(parent, "taken")
	if err := os.Mkdir(taken, 0o777); err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		name, want string
		ctx        context.Context
		source     *gptoss.Checkpoint
		tokens     []int32
		dir        string
		o          Options
	}{
		{name: "short text", want: "less than one window", tokens: tokens[:63], o: Options{Window: 64}},
		{name: "existing directory", want: "already exists", dir: taken, o: Options{Method: Stage1}},
		{name: "missing parent", want: "parent directory", dir: filepath.Join(parent, "no", "q"), o: Options{Method: Stage1}},
		{name: "method", want: "unknown method", o: Options{Method: "magic"}},
		{name: "group", want: "groups of 7", o: Options{Group: 7}},
		{name: "attention", want: "int3", o: Options{Attention: "int3"}},
		{name: "head", want: "ternary", o: Options{Head: "ternary"}},
		{name: "experts", want: "experts as \"int8\": choose one of ternary, two-planes, int4, source", o: Options{Experts: StoreInt8}},
		{name: "tables in two planes", want: "embedding as \"two-planes\"", o: Options{Embedding: StorePlanes}},
		{name: "training two planes", want: "gate_up_proj is to be two-planes", o: Options{Method: Reconstruct, Experts: StorePlanes, Window: 100}, tokens: tokens},
		{name: "training int4", want: "q_proj is to be int4", o: Options{Method: Reconstruct, Attention: StoreInt4, Window: 100}, tokens: tokens},
		{name: "training nothing", want: "gate_up_proj is to be source", o: Options{Method: Reconstruct, Experts: StoreSource, Window: 100}, tokens: tokens},
		{name: "a tensor's format", want: `unknown format "int3"`, o: Options{Method: Stage1, Tensors: map[string]string{gptoss.HeadName: "int3"}}},
		{name: "a ternary head", want: "lm_head cannot be stored as ternary", o: Options{Method: Stage1, Tensors: map[string]string{gptoss.HeadName: gptoss.FormatTernary}}},
		{name: "a router", want: "router cannot be stored as int8", o: Options{Method: Stage1, Tensors: map[string]string{gptoss.LayerNames(1).Router: gptoss.FormatInt8}}},
		{name: "no tensor", want: `"model.layers.9.o" is no projection`, o: Options{Method: Stage1, Tensors: map[string]string{"model.layers.9.o": gptoss.FormatInt8}}},
		{name: "window", want: "windows of 1", o: Options{Window: 1}},
		{name: "damping", want: "damping", o: Options{Fit: FitOptions{Damp: -1}}},
		{name: "quantized source", want: "quantized already", source: ternary},
		{name: "foreign token", want: "outside the vocabulary", tokens: []int32{1, 2, 1 << 20, 4}, o: Options{Window: 4}},
		{name: "interrupted", want: "canceled", ctx: cancelled, tokens: tokens, o: Options{Window: 64}},
	} {
		t.Run(x.name, func(t *testing.T) {
			ctx, source, dir := x.ctx, x.source, x.dir
			if ctx == nil {
				ctx = t.Context()
			}
			if source == nil {
				source = c
			}
			if dir == "" {
				dir = filepath.Join(parent, "q")
			}
			_, err := Run(ctx, cpu, source, x.tokens, dir, x.o)
			if err == nil || !strings.Contains(err.Error(), x.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %v, want one line with %q", err, x.want)
			}
		})
	}
	left, err := os.ReadDir(parent)
	if err != nil || len(left) != 1 {
		t.Errorf("%v is left behind (%v)", left, err)
	}
}

// TestRefusesBrokenValues poisons tensors that no fit ever looks at.
func TestRefusesBrokenValues(t *testing.T) {
	model, err := os.ReadFile(filepath.Join(nano, "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	c := openNano(t)
	for _, name := range []string{"model.norm.weight", "lm_head.weight", "model.layers.5.mlp.experts.down_proj_bias", "model.layers.2.self_attn.sinks"} {
		dir := t.TempDir()
		for _, f := range []string{"config.json", "tokenizer.json"} {
			data, err := os.ReadFile(filepath.Join(nano, f))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, f), data, 0o666); err != nil {
				t.Fatal(err)
			}
		}
		broken := bytes.Clone(model)
		for _, x := range c.Tensors() {
			if x.Name == name {
				at := bytes.Index(broken, x.Data)
				copy(broken[at:], []byte{0xc0, 0x7f}) // NaN
			}
		}
		if err := os.WriteFile(filepath.Join(dir, "model.safetensors"), broken, 0o666); err != nil {
			t.Fatal(err)
		}
		source, err := gptoss.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		out := filepath.Join(dir, "q")
		_, err = Run(t.Context(), newCPU(t, 1), source, nil, out, Options{Method: Stage1})
		source.Close()
		if err == nil || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "\n") {
			t.Errorf("NaN in %s: error %v", name, err)
		}
		if _, err := os.Stat(out); err == nil {
			t.Errorf("NaN in %s: a model is there", name)
		}
	}
}

// TestBitsAgree: with one scale a row, 2 bits and 1.6 bits hold the same codes
// and scales, so the models give the same logits bit for bit.
func TestBitsAgree(t *testing.T) {
	if testing.Short() {
		t.Skip("compares numbers for several seconds")
	}
	logits := map[float64][]float32{}
	for _, bits := range []float64{2, 1.6} {
		c, err := gptoss.Open(quantizeNano(t, 2, Options{Method: PTBitNet, Bits: bits, Group: 4096, Head: StoreInt4}))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if got := c.Format(gptoss.LayerNames(1).Down).Kind; got != map[float64]string{2: gptoss.FormatTernary, 1.6: gptoss.FormatTernary5}[bits] {
			t.Errorf("%g bits: down is stored as %s", bits, got)
		}
		cpu := graph.NewCPU(2)
		defer cpu.Close()
		if err := c.CheckFinite(cpu, nil); err != nil {
			t.Error(err)
		}
		m, err := c.Compile(cpu, 16)
		if err != nil {
			t.Fatal(err)
		}
		seq, err := m.Plan.NewSequence()
		if err != nil {
			t.Fatal(err)
		}
		ids := make([]int32, 40)
		for i := range ids {
			ids[i] = int32(i * 37 % c.Config().Vocab)
		}
		if err := m.Append(graph.NewBatch(), seq, ids); err != nil {
			t.Fatal(err)
		}
		logits[bits] = m.Logits(0)
	}
	if !slices.Equal(logits[2], logits[1.6]) {
		t.Error("the logits differ")
	}
}

// TestForecast compares the forecast with what a run wrote.
func TestForecast(t *testing.T) {
	if testing.Short() {
		t.Skip("quantizes twice")
	}
	c := openNano(t)
	for _, o := range []Options{{Method: Stage1}, {Method: Stage1, Bits: 1.6},
		{Method: Stage1, Attention: StoreInt8, Embedding: StoreInt8, Head: StoreInt4},
		{Method: Stage1, Experts: StorePlanes, Attention: StoreInt4}, {Method: Stage1, Bits: 1.6, Experts: StorePlanes, Attention: StorePlanes},
		{Method: Stage1, Experts: StoreSource, Attention: StoreBF16, Head: StoreInt8}} {
		dir := quantizeNano(t, 2, o)
		q, err := gptoss.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		f, err := NewForecast(c.Config(), o, 0)
		if err != nil {
			t.Fatal(err)
		}
		if f.Bytes != q.Bytes() {
			t.Errorf("forecast %d bytes of tensors, written %d", f.Bytes, q.Bytes())
		}
		q.Close()
	}
}

// TestProgressReachesTheEnd checks that work is accounted for: progress never
// falls and ends at the total.
func TestProgressReachesTheEnd(t *testing.T) {
	var last Progress
	quantizeNano(t, 2, Options{Method: PTBitNet, Progress: func(p Progress) {
		if p.Done < last.Done || p.Layer < last.Layer {
			t.Errorf("progress went back from %+v to %+v", last, p)
		}
		last = p
	}})
	if last.Layer != 5 || last.Done < 0.999*last.Total {
		t.Errorf("ended at %+v", last)
	}
}

func TestVerifyFiles(t *testing.T) {
	dir := quantizeNano(t, 2, Options{Method: AbsMean})
	path := filepath.Join(dir, "model.safetensors")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)-1] ^= 1
	if err := os.WriteFile(path, data, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := VerifyFiles(t.Context(), dir); err == nil || !strings.Contains(err.Error(), "model.safetensors has changed") {
		t.Errorf("a flipped bit: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := VerifyFiles(t.Context(), dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
}
