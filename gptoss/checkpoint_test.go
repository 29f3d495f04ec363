package gptoss

import (
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/seed-796a8800/tritium/internal/reference"
	"github.com/seed-796a8800/tritium/internal/safetensors"
)

// small is a model of two layers that is cheap to write again and again.
var small = reference.Shape{Hidden: 32, Intermediate: 32, Heads: 2, KVHeads: 1, HeadDim: 16, Experts: 3, Vocab: 32, Window: 8}

func configOf(t testing.TB, dir string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// edited returns tensors with one of them changed; nil drops it.
func edited(tensors []stored, name string, change func(stored) *stored) []stored {
	var out []stored
	for _, x := range tensors {
		if x.Name != name {
			out = append(out, x)
		} else if y := change(x); y != nil {
			out = append(out, *y)
		}
	}
	return out
}

func drop(stored) *stored { return nil }

// reshaped changes type and shape and makes data to fit.
func reshaped(d safetensors.Dtype, shape ...int) func(stored) *stored {
	n := d.Size()
	for _, s := range shape {
		n *= s
	}
	return func(x stored) *stored {
		x.Dtype, x.Shape, x.data = d, shape, make([]byte, n)
		return &x
	}
}

// Every tensor must be there with its type and shape; the error names the
// place and the tensor.
func TestBadTensors(t *testing.T) {
	t.Parallel()
	dir := writeShape(t, small)
	config, tensors := configOf(t, dir), tensorsOf(t, dir)
	for _, x := range tensors {
		_, err := Open(writeModel(t, config, edited(tensors, x.Name, drop)))
		oneLine(t, "without "+x.Name, err, `"`+x.Name+`" is missing`)
		if testing.Short() {
			break
		}
	}
	const layer = "model.layers.1."
	for name, tc := range map[string]struct {
		tensor string
		change func(stored) *stored
		want   string
	}{
		"type of norm":         {layer + "input_layernorm.weight", reshaped("I32", 32), "has type I32, want [BF16 F32 F16]"},
		"type of weight":       {layer + "self_attn.q_proj.weight", reshaped("F16", 32, 32), "has type F16, want [BF16 F32]"},
		"type of blocks":       {layer + "mlp.experts.down_proj_blocks", reshaped("I8", 3, 32, 1, 16), "has type I8, want [U8]"},
		"type of scales":       {layer + "mlp.experts.down_proj_scales", reshaped("BF16", 3, 32, 1), "has type BF16, want [U8]"},
		"shape of sinks":       {layer + "self_attn.sinks", reshaped("BF16", 3), "has shape [3], want [2]"},
		"transposed":           {layer + "mlp.router.weight", reshaped("BF16", 32, 3), "has shape [32 3], want [3 32]"},
		"extra dimension":      {layer + "self_attn.o_proj.weight", reshaped("BF16", 32, 32, 1), "has shape [32 32 1], want [32 32]"},
		"leading dimension":    {"lm_head.weight", reshaped("BF16", 1, 32, 32), "has shape [1 32 32], want [32 32]"},
		"scalar":               {"model.norm.weight", reshaped("F32"), "has shape [], want [32]"},
		"empty":                {"model.norm.weight", reshaped("F32", 0), "has shape [0], want [32]"},
		"flat blocks":          {layer + "mlp.experts.gate_up_proj_blocks", reshaped("U8", 3, 64, 16), "has shape [3 64 16], want [3 64 1 16]"},
		"other number experts": {layer + "mlp.experts.gate_up_proj_bias", reshaped("BF16", 4, 64), "has shape [4 64], want [3 64]"},
		"biases like a linear": {layer + "mlp.experts.down_proj_bias", reshaped("BF16", 32), "has shape [32], want [3 32]"},
	} {
		d := writeModel(t, config, edited(tensors, tc.tensor, tc.change))
		_, err := Open(d)
		oneLine(t, name, err, "gptoss: "+d, `"`+tc.tensor+`"`, tc.want)
	}
	// Dequantized experts: [E, In, Out], and only bf16.
	for name, change := range map[string]func(stored) *stored{
		"experts as [E, Out, In]": reshaped("BF16", 3, 64, 32), "experts in F32": reshaped("F32", 3, 32, 64),
	} {
		d := edited(tensors, layer+"mlp.experts.gate_up_proj_blocks", func(x stored) *stored {
			x.Name = layer + "mlp.experts.gate_up_proj"
			return change(x)
		})
		_, err := Open(writeModel(t, config, d))
		oneLine(t, name, err, `"`+layer+`mlp.experts.gate_up_proj"`, "want")
	}
}

// A configuration of another model than the tensors'.
func TestOtherSizes(t *testing.T) {
	t.Parallel()
	dir := writeShape(t, small)
	for name, shape := range map[string]reference.Shape{
		"vocab":  {Hidden: 32, Intermediate: 32, Heads: 2, KVHeads: 1, HeadDim: 16, Experts: 3, Vocab: 64, Window: 8},
		"heads":  {Hidden: 32, Intermediate: 32, Heads: 4, KVHeads: 1, HeadDim: 16, Experts: 3, Vocab: 32, Window: 8},
		"layers": {Layers: 3, Hidden: 32, Intermediate: 32, Heads: 2, KVHeads: 1, HeadDim: 16, Experts: 3, Vocab: 32, Window: 8},
		"20b":    {Hidden: 2880 / 45, Experts: 32, TopK: 4},
	} {
		_, err := Open(writeModel(t, configOf(t, writeShape(t, shape)), tensorsOf(t, dir)))
		oneLine(t, name, err, "gptoss: ", `tensor "`)
	}
	odd := []byte(strings.Replace(string(configOf(t, dir)), `"intermediate_size": 32`, `"intermediate_size": 48`, 1))
	tensors := tensorsOf(t, dir)
	for layer := range 2 {
		p := LayerNames(layer).GateUp
		for suffix, change := range map[string]func(stored) *stored{
			"_blocks": reshaped("U8", 3, 96, 1, 16), "_scales": reshaped("U8", 3, 96, 1), "_bias": reshaped("BF16", 3, 96),
		} {
			tensors = edited(tensors, p+suffix, change)
		}
	}
	_, err := Open(writeModel(t, odd, tensors))
	oneLine(t, "no multiple of 32", err, "model.layers.0.mlp.experts.down_proj has 48 inputs; MXFP4 needs a multiple of 32")
}

// What OpenAI's names can have wrong beside that.
func TestBadOriginal(t *testing.T) {
	t.Parallel()
	s := small
	s.Naming = reference.Original
	dir := writeShape(t, s)
	config, tensors := configOf(t, dir), tensorsOf(t, dir)
	for name, tc := range map[string]struct {
		tensor string
		change func(stored) *stored
		want   string
	}{
		"qkv rows":     {"block.1.attn.qkv.weight", reshaped("BF16", 63, 32), "has shape [63 32], want 64 rows of q, k and v"},
		"qkv columns":  {"block.1.attn.qkv.weight", reshaped("BF16", 64, 16), `"model.layers.1.self_attn.q_proj.weight" has shape [32 16], want [32 32]`},
		"scalar qkv":   {"block.1.attn.qkv.bias", reshaped("BF16"), "has shape []"},
		"missing":      {"block.1.attn.qkv.bias", drop, `"model.layers.1.self_attn.q_proj.bias" is missing`},
		"missing gate": {"block.0.mlp.gate.weight", drop, `"model.layers.0.mlp.router.weight" is missing`},
		"two of a layer": {"block.1.attn.sinks", func(x stored) *stored {
			x.Name = "block.01.attn.sinks"
			return &x
		}, `"model.layers.1.self_attn.sinks" is missing`},
	} {
		_, err := Open(writeModel(t, config, edited(tensors, tc.tensor, tc.change)))
		oneLine(t, name, err, "gptoss: ", tc.want)
	}
}

// Files that are cut short, absent or of another kind.
func TestBadFiles(t *testing.T) {
	t.Parallel()
	dir := writeShape(t, small)
	whole, err := os.ReadFile(filepath.Join(dir, "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	cuts := []int{0, 1, 7, 8, 9, 100, len(whole) / 2, len(whole) - 1}
	for i := 1; i < 8; i++ {
		cuts = append(cuts, i*len(whole)/8)
	}
	for _, n := range cuts {
		for _, data := range [][]byte{whole[:n], append(slices.Clone(whole[:n]), make([]byte, 16)...)} {
			if _, err := OpenFS(fstest.MapFS{"config.json": {Data: configOf(t, dir)}, "model.safetensors": {Data: data}}); err == nil {
				t.Errorf("opened a file cut at %d of %d bytes", n, len(whole))
			}
			d := t.TempDir()
			if err := os.WriteFile(filepath.Join(d, "config.json"), configOf(t, dir), 0o644); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(d, "model.safetensors"), data, 0o644); err != nil {
				t.Fatal(err)
			}
			_, err := Open(d)
			oneLine(t, "cut", err, filepath.Join(d, "model.safetensors"))
		}
	}
	_, err = Open(filepath.Join(dir, "config.json"))
	oneLine(t, "a file", err, "config.json is a file; give the directory")
	_, err = Open(filepath.Join(dir, "absent"))
	oneLine(t, "absent", err, "gptoss: ", "absent")
	empty := t.TempDir()
	_, err = Open(empty)
	oneLine(t, "empty", err, "gptoss: "+filepath.Join(empty, "config.json"))
	if err := os.WriteFile(filepath.Join(empty, "config.json"), configOf(t, dir), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err = Open(empty)
	oneLine(t, "no tensors", err, empty, "model.safetensors")
	folder := t.TempDir()
	if err := os.Mkdir(filepath.Join(folder, "config.json"), 0o755); err != nil {
		t.Fatal(err)
	}
	_, err = Open(folder)
	oneLine(t, "config.json is a folder", err, "config.json", "not a regular file")
	large := t.TempDir()
	if err := os.WriteFile(filepath.Join(large, "config.json"), make([]byte, maxConfigBytes+1), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err = Open(large)
	oneLine(t, "large", err, "config.json", "larger than")
	for name, files := range map[string]fstest.MapFS{
		"nothing": {}, "only config": {"config.json": {Data: configOf(t, dir)}}, "only tensors": {"model.safetensors": {Data: whole}},
	} {
		_, err := OpenFS(files)
		oneLine(t, name, err, "gptoss: ")
	}
}

// What quantization_config and packed tensors can have wrong.
func TestBadQuantized(t *testing.T) {
	t.Parallel()
	dir := quantize(t, writeShape(t, small), twoBits).dir
	c := open(t, dir)
	tensors := tensorsOf(t, dir)
	const q, experts = "model.layers.0.self_attn.q_proj", "model.layers.1.mlp.experts.down_proj"
	for name, tc := range map[string]struct {
		tensor string
		change func(stored) *stored
		want   string
	}{
		"codes too short":   {q + ".codes", reshaped("U8", 255), "is 255 bytes of U8, want 256 bytes of U8"},
		"codes too long":    {q + ".codes", reshaped("U8", 257), "is 257 bytes"},
		"codes type":        {q + ".codes", reshaped("I8", 256), "of I8"},
		"codes missing":     {q + ".codes", drop, "is missing"},
		"scales too short":  {q + ".scales", reshaped("F16", 31), "is 62 bytes of F16, want 64"},
		"scales type":       {q + ".scales", reshaped("BF16", 32), "of BF16"},
		"scales missing":    {experts + ".scales", drop, "is missing"},
		"one expert's":      {experts + ".codes", reshaped("U8", 256), "is 256 bytes of U8, want 768"},
		"biases missing":    {experts + "_bias", drop, "is missing"},
		"int4 codes short":  {EmbeddingName + ".codes", reshaped("U8", 511), "is 511 bytes of U8, want 512"},
		"int4 scales short": {EmbeddingName + ".scales", reshaped("F16", 31), "is 62 bytes of F16, want 64"},
		"int8 codes type":   {HeadName + ".codes", reshaped("I8", 32, 32), "is 1024 bytes of I8, want 1024 bytes of U8"},
		"int8 scales type":  {HeadName + ".scales", reshaped("F32", 32), "is 128 bytes of F32, want 64 bytes of F16"},
	} {
		_, err := Open(writeModel(t, configOf(t, dir), edited(tensors, tc.tensor, tc.change)))
		oneLine(t, name, err, "gptoss: ", `"`+tc.tensor+`"`, tc.want)
	}
	for name, tc := range map[string]struct {
		projection string
		format     Format
		want       string
	}{
		"router":        {"model.layers.0.mlp.router", Format{Kind: FormatTernary, Group: 32}, "only attention and expert projections can be"},
		"head":          {HeadName, Format{Kind: FormatTernary, Group: 32}, "lm_head has format ternary"},
		"unknown":       {"model.layers.2.self_attn.q_proj", Format{Kind: FormatTernary, Group: 32}, "no projection of the model"},
		"group -16":     {q, Format{Kind: FormatTernary, Group: -16}, "groups of -16"},
		"group 24":      {q, Format{Kind: FormatTernary, Group: 24}, "groups of 24"},
		"group 64":      {q, Format{Kind: FormatTernary, Group: 64}, "groups of 64"},
		"group 16":      {q, Format{Kind: FormatTernary, Group: 16}, "want 128 bytes of F16"},
		"huge group":    {experts, Format{Kind: FormatTernary, Group: 1 << 62}, experts},
		"expert int8":   {experts, Format{Kind: FormatInt8}, "is 768 bytes of U8, want 3072"},
		"expert int4":   {experts, Format{Kind: FormatInt4, Group: 32}, "is 768 bytes of U8, want 1536"},
		"planes, head":  {HeadName, Format{Kind: FormatPlanes2, Group: 32}, "lm_head has format two-planes; only attention"},
		"planes, size":  {q, Format{Kind: FormatPlanes2, Group: 32}, "is 256 bytes of U8, want 512"},
		"planes, group": {q, Format{Kind: FormatPlanes5, Group: 32}, "take a multiple of 80 that divides 80"},
		"int4 group -1": {EmbeddingName, Format{Kind: FormatInt4, Group: -1}, "groups of -1"},
		"int4 group 8":  {EmbeddingName, Format{Kind: FormatInt4, Group: 8}, "groups of 8 do not fit 32 columns of int4"},
		"int4 group 64": {EmbeddingName, Format{Kind: FormatInt4, Group: 64}, "groups of 64"},
		"int4 group 16": {EmbeddingName, Format{Kind: FormatInt4, Group: 16}, "is 64 bytes of F16, want 128"},
		"int8 group 64": {HeadName, Format{Kind: FormatInt8, Group: 64}, "groups of 64"},
		"fives, router": {"model.layers.0.mlp.router", Format{Kind: FormatTernary5, Group: 80}, "has format ternary1.6; only attention and expert"},
		"fives, size":   {q, Format{Kind: FormatTernary5, Group: 80}, "is 256 bytes of U8, want 512"},
		"fives, group":  {experts, Format{Kind: FormatTernary5, Group: 32}, "take a multiple of 80 that divides 80"},
	} {
		changed := *c.config.Quantization
		changed.Tensors = maps.Clone(changed.Tensors)
		changed.Tensors[tc.projection] = tc.format
		config, err := c.config.WithQuantization(changed)
		if err != nil {
			t.Fatal(err)
		}
		_, err = Open(writeModel(t, config, tensors))
		oneLine(t, name, err, "gptoss: ", tc.want)
	}
}

// Weights that are no numbers: CheckFinite names the first, a run fails or
// gives logits that are no numbers, and nothing panics.
func TestNaNWeights(t *testing.T) {
	t.Parallel()
	dir := writeShape(t, small)
	packed := quantize(t, dir, twoBits).dir
	nan, inf := []byte{0xC0, 0x7F}, []byte{0x80, 0xFF} // bf16
	for name, tc := range map[string]struct {
		dir, tensor string
		at          int
		bytes       []byte
		want        string
		silent      bool // the prompt may not meet it
	}{
		"embedding":     {dir, "model.embed_tokens.weight", 5*64 + 6, nan, "element [5 3] is NaN", false},
		"norm":          {dir, "model.layers.0.input_layernorm.weight", 10, inf, "element [5] is -Inf", false},
		"q":             {dir, "model.layers.1.self_attn.q_proj.weight", 2*64 + 2, nan, "element [2 1] is NaN", false},
		"sink":          {dir, "model.layers.1.self_attn.sinks", 2, nan, "element [1] is NaN", false},
		"router":        {dir, "model.layers.0.mlp.router.weight", 0, nan, "element [0 0] is NaN", false},
		"router bias":   {dir, "model.layers.1.mlp.router.bias", 4, nan, "element [2] is NaN", false},
		"expert bias":   {dir, "model.layers.1.mlp.experts.down_proj_bias", 64, nan, "element [1 0] is NaN", true},
		"mxfp4 scale":   {dir, "model.layers.1.mlp.experts.gate_up_proj_scales", 64 + 7, []byte{255}, "element [1 7 0] is 255", true},
		"head":          {dir, "lm_head.weight", 31*64 + 62, inf, "element [31 31] is -Inf", false},
		"ternary code":  {packed, "model.layers.0.self_attn.k_proj.codes", 3, []byte{0xFF}, "byte 3 of the codes is 0xff", true},
		"expert's code": {packed, "model.layers.0.mlp.experts.down_proj.codes", 256 + 9, []byte{0x57 | 0x80}, "expert 1: ", true},
		"ternary scale": {packed, "model.layers.0.mlp.experts.down_proj.scales", 70, []byte{0, 0x7C}, "element [35] is +Inf", true},
		"int8 scale":    {packed, "lm_head.scales", 4, []byte{0, 0xFE}, "element [2] is NaN", false},
	} {
		t.Run(name, func(t *testing.T) {
			d := writeModel(t, configOf(t, tc.dir), edited(tensorsOf(t, tc.dir), tc.tensor, func(x stored) *stored {
				copy(x.data[tc.at:], tc.bytes)
				return &x
			}))
			c := open(t, d)
			cpu := newCPU(t, 2)
			oneLine(t, name, c.CheckFinite(cpu, nil), "gptoss: "+d, `"`+tc.tensor+`"`, tc.want)
			m := compile(t, c.Config(), c, cpu, 16)
			r := newRunner(t, m, 1)
			ids := tokens(16, 32)
			ids[0] = 5 // the embedding's bad row
			err := m.Append(r.batch, r.seqs[0], ids)
			finite := func(v float32) bool { return math.Abs(float64(v)) < math.Inf(1) }
			if err != nil {
				oneLine(t, name, err, "model.layers.")
			} else if !tc.silent && !slices.ContainsFunc(m.Logits(0), func(v float32) bool { return !finite(v) }) {
				t.Error("the logits are finite")
			}
		})
	}
}

func TestCheckFinite(t *testing.T) {
	t.Parallel()
	dir := writeShape(t, reference.Shape{Naming: reference.HFDequantized, Shards: 2})
	for name, d := range map[string]string{
		"dequantized": dir, "ternary": quantize(t, writeShape(t, reference.Shape{}), withInt8).dir,
		"ternary1.6": quantize(t, writeShape(t, reference.Shape{}), fives).dir,
		"original":   writeShape(t, reference.Shape{Naming: reference.Original}),
	} {
		c := open(t, d)
		var last, calls, total int64
		if err := c.CheckFinite(newCPU(t, 2), func(done, all int64) {
			if done <= last || done > all {
				t.Errorf("%s: progress went from %d to %d of %d", name, last, done, all)
			}
			last, total = done, all
			calls++
		}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if last != total || total != c.Bytes() || calls < 10 {
			t.Errorf("%s: progress ended at %d of %d after %d calls, want %d", name, last, total, calls, c.Bytes())
		}
	}
	// The first of several is named, wherever the pieces of work end.
	const elements = 3 * pieceBytes / 4
	x := safetensors.Tensor{Name: "x", Dtype: "F32", Shape: []int{elements}, Data: make([]byte, 4*elements)}
	for _, first := range []int{0, 1, pieceBytes/4 - 1, pieceBytes / 4, elements - 2} {
		clear(x.Data)
		for _, at := range []int{elements - 1, first} {
			x.Data[4*at+2], x.Data[4*at+3] = 0x80, 0x7F
		}
		err := scan(newCPU(t, 3), x, badValue(x, false), func(int) {})
		if want := fmt.Sprintf("element [%d] is +Inf", first); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}
