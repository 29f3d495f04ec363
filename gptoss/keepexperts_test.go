package gptoss

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/seed-796a8800/tritium/graph"
	"github.com/seed-796a8800/tritium/internal/reference"
	"github.com/seed-796a8800/tritium/internal/safetensors"
)

// pruned writes the model with some of its experts as files, row by row.
func pruned(t *testing.T, c *Checkpoint, kept [][]int) (dir string) {
	t.Helper()
	var fields map[string]json.RawMessage
	data, err := readSmall(c.Files(), "config.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &fields); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"num_local_experts", "num_experts"} {
		if _, ok := fields[key]; ok {
			fields[key] = json.RawMessage(fmt.Sprint(len(kept[0])))
		}
	}
	config, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	var tensors []stored
	for _, x := range c.Tensors() {
		s := stored{safetensors.Spec{Name: x.Name, Dtype: x.Dtype, Shape: slices.Clone(x.Shape)}, x.Data}
		var layer int
		if fmt.Sscanf(x.Name, "model.layers.%d.mlp.", &layer); strings.Contains(x.Name, ".mlp.") {
			row := len(x.Data) / x.Shape[0]
			s.Shape[0], s.data = len(kept[layer]), nil
			for _, e := range kept[layer] {
				s.data = append(s.data, x.Data[e*row:(e+1)*row]...)
			}
		}
		tensors = append(tensors, s)
	}
	return writeModel(t, config, tensors)
}

// A model of fewer experts is the model that its files would be: to the
// reference in float64, to the bit, and by name.
func TestKeepExperts(t *testing.T) {
	s := reference.Shape{Hidden: 64, Intermediate: 64, Heads: 2, KVHeads: 1, HeadDim: 32, Experts: 6, TopK: 2, Vocab: 64, Window: 8}
	kept := [][]int{{0, 2, 5}, {1, 2, 3}}
	dequantized, original := s, s
	dequantized.Naming, original.Naming = reference.HFDequantized, reference.Original
	for name, shape := range map[string]reference.Shape{"mxfp4": s, "dequantized": dequantized, "original": original} {
		t.Run(name, func(t *testing.T) {
			c := open(t, writeShape(t, shape))
			view, err := c.KeepExperts(kept)
			if err != nil {
				t.Fatal(err)
			}
			defer view.Close()
			dir, cpu, ids := pruned(t, c, kept), newCPU(t, 2), tokens(24, s.Vocab)
			files := open(t, dir)
			got := traced(t, view.Config(), view, ids)
			expect(t, got, loadReference(t, dir).Forward(ids), 1e-4)
			if !maps.EqualFunc(got, traced(t, files.Config(), files, ids), slices.Equal[[]float32]) {
				t.Error("the view computes something else than its files")
			}
			if view.Bytes() != files.Bytes() {
				t.Errorf("%d bytes, in files %d", view.Bytes(), files.Bytes())
			}
			a, errA := view.SHA256(t.Context())
			b, errB := files.SHA256(t.Context())
			if a != b || errA != nil || errB != nil {
				t.Errorf("SHA-256 %s (%v), of its files %s (%v)", a, errA, b, errB)
			}
			other, err := c.KeepExperts([][]int{{0, 2, 4}, {1, 2, 3}})
			if err != nil {
				t.Fatal(err)
			}
			if other.Fingerprint() == view.Fingerprint() || c.Fingerprint() == view.Fingerprint() {
				t.Error("models of other experts have the same fingerprint")
			}
			if err := view.CheckFinite(cpu, nil); err != nil {
				t.Error(err)
			}
			if got := view.Config(); got.Experts != 3 || !slices.EqualFunc(got.KeptExperts, kept, slices.Equal) {
				t.Errorf("%d experts, %v", got.Experts, got.KeptExperts)
			}
		})
	}
}

// Keeping all changes nothing, and keeping twice is keeping what is in both.
func TestKeepExpertsAgain(t *testing.T) {
	c := openNano(t)
	var all, some, of [][]int
	for range c.Config().Layers {
		all, some, of = append(all, []int{0, 1, 2, 3, 4, 5, 6, 7}), append(some, []int{1, 3, 4, 6, 7}), append(of, []int{0, 2, 3})
	}
	keep := func(c *Checkpoint, kept [][]int) *Checkpoint {
		view, err := c.KeepExperts(kept)
		if err != nil {
			t.Fatal(err)
		}
		return view
	}
	ids := tokens(20, c.Config().Vocab)
	whole := keep(c, all)
	if !slices.Equal(traced(t, whole.Config(), whole, ids)[HeadName], traced(t, c.Config(), c, ids)[HeadName]) {
		t.Error("keeping all experts changes the logits")
	}
	twice := keep(keep(c, some), of)
	if got, want := twice.Config().KeptExperts[5], []int{1, 4, 6}; !slices.Equal(got, want) {
		t.Errorf("kept %v, want %v", got, want)
	}
	once := keep(c, twice.Config().KeptExperts)
	if !slices.Equal(traced(t, once.Config(), once, ids)[HeadName], traced(t, twice.Config(), twice, ids)[HeadName]) {
		t.Error("keeping twice is not keeping once")
	}
	config, err := twice.Config().WithQuantization(Quantization{QuantMethod: QuantMethod, Version: LayoutVersion, ActivationBits: 8})
	if err != nil {
		t.Fatal(err)
	}
	read, err := ParseConfig(config)
	if err != nil || read.Experts != 3 || !slices.EqualFunc(read.KeptExperts, twice.Config().KeptExperts, slices.Equal) {
		t.Errorf("config.json: %d experts, %v (%v)", read.Experts, read.KeptExperts, err)
	}
}

// What is broken in an expert is found where it is kept.
func TestKeepExpertsFinite(t *testing.T) {
	dir := writeShape(t, small)
	broken := edited(tensorsOf(t, dir), "model.layers.1.mlp.experts.down_proj_scales", func(x stored) *stored {
		x.data[len(x.data)-1] = 255 // of the last expert
		return &x
	})
	c := open(t, writeModel(t, configOf(t, dir), broken))
	for _, x := range []struct {
		kept []int
		want string
	}{{[]int{0, 1}, ""}, {[]int{0, 2}, "of kept expert 1\": element [31 0] is 255"}} {
		view, err := c.KeepExperts([][]int{{0, 1}, x.kept})
		if err != nil {
			t.Fatal(err)
		}
		err = view.CheckFinite(newCPU(t, 1), nil)
		if (err == nil) != (x.want == "") || err != nil && !strings.Contains(err.Error(), x.want) {
			t.Errorf("keeping %v: %v, want %q", x.kept, err, x.want)
		}
	}
}

func TestKeepExpertsRefuses(t *testing.T) {
	c := open(t, writeShape(t, reference.Shape{Hidden: 32, Intermediate: 32, Heads: 2, KVHeads: 1, HeadDim: 16, Experts: 4, TopK: 2, Vocab: 32}))
	for want, kept := range map[string][][]int{
		"experts of 1 layers are named, there are 2":     {{0, 1}},
		"experts of 3 layers":                            {{0, 1}, {0, 1}, {0, 1}},
		"a token needs 2":                                {{0}, {1}},
		"names 3 experts in layer 1, want 2":             {{0, 1}, {0, 1, 2}},
		"layer 1: expert 4 behind expert 0":              {{0, 1}, {0, 4}},
		"layer 0: expert 1 behind expert 1":              {{1, 1}, {0, 1}},
		"layer 0: expert -1":                             {{-1, 1}, {0, 1}},
		"layer 1: expert 0 behind expert 1: want ascend": {{0, 1}, {1, 0}},
	} {
		if _, err := c.KeepExperts(kept); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %q", kept, err, want)
		}
	}
	ternary, err := Synthetic{Config: ShapeSmall(), Format: FormatTernary, Head: FormatInt8}.Build(t.Context(), graph.NewCPU(1), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ternary.Close()
	if _, err := ternary.KeepExperts(nil); err == nil || !strings.Contains(err.Error(), "quantized already") {
		t.Errorf("experts of a ternary model: %v", err)
	}
	config := configOf(t, writeShape(t, small))
	for want, value := range map[string]string{
		"kept_experts has 1 layers of 2":    `[[0,1,2]]`,
		"names 2 experts in layer 1":        `[[0,1,2],[0,1]]`,
		"layer 0: expert 5 behind expert 7": `[[0,7,5],[0,1,2]]`,
		"layer 1: expert 99999999":          `[[0,1,2],[0,1,99999999]]`,
		"cannot unmarshal":                  `"all"`,
	} {
		edited := strings.Replace(string(config), "{", `{"kept_experts": `+value+",", 1)
		if _, err := ParseConfig([]byte(edited)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("kept_experts %s: %v, want %q", value, err, want)
		}
	}
}
