package gptoss

import (
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/seed-796a8800/tritium/internal/safetensors"
	"github.com/seed-796a8800/tritium/testdata"
)

// An outline has the tensors and sizes of the model that it is of, from headers
// and from names alone.
func TestOutline(t *testing.T) {
	config, err := fs.ReadFile(testdata.Nano(), "config.json")
	if err != nil {
		t.Fatal(err)
	}
	c, err := OpenFS(testdata.Nano())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var tensors []safetensors.Tensor
	var names []string
	for _, x := range c.Tensors() {
		x.Data = nil
		tensors, names = append(tensors, x), append(names, x.Name)
	}
	byHeaders, err := NewOutline("nano", config, tensors)
	if err != nil {
		t.Fatal(err)
	}
	byNames, err := NewOutlineOfNames("nano", config, names)
	if err != nil {
		t.Fatal(err)
	}
	for what, o := range map[string]*Outline{"headers": byHeaders, "names": byNames} {
		got := o.Tensors()
		if len(got) != len(tensors) || o.Config().Hidden != c.Config().Hidden {
			t.Fatalf("%s: %d tensors, want %d", what, len(got), len(tensors))
		}
		for i, x := range tensors {
			if g := got[i]; g.Name != x.Name || g.Dtype != x.Dtype || !slices.Equal(g.Shape, x.Shape) {
				t.Errorf("%s: %s is %s %v, want %s %v", what, g.Name, g.Dtype, g.Shape, x.Dtype, x.Shape)
			}
			if o.StoredBytes(x.Name) != c.StoredBytes(x.Name) || o.ExpandedBytes(x.Name) != c.ExpandedBytes(x.Name) {
				t.Errorf("%s: %s takes %d bytes, want %d", what, x.Name, o.StoredBytes(x.Name), c.StoredBytes(x.Name))
			}
		}
	}
	if _, err := NewOutline("nano", config, tensors[1:]); err == nil || !strings.Contains(err.Error(), "is missing") {
		t.Errorf("without a tensor: %v", err)
	}
	for _, wrong := range []string{"model.layers.0.mystery", "", "model.layers.99.self_attn.sinks"} {
		if _, err := NewOutlineOfNames("nano", config, append(slices.Clone(names), wrong)); err == nil || !strings.Contains(err.Error(), "config.json") {
			t.Errorf("with a tensor %q: %v", wrong, err)
		}
	}
}

// An outline of a ternary model, whose sizes follow from its formats.
func TestOutlineOfTernary(t *testing.T) {
	data, err := fs.ReadFile(testdata.Nano(), "config.json")
	if err != nil {
		t.Fatal(err)
	}
	config, err := ParseConfig(data)
	if err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{FormatTernary, FormatTernary5} {
		s := Synthetic{Config: config, Format: format, Group: map[string]int{FormatTernary: 64, FormatTernary5: 80}[format]}
		planned, list, err := s.plan()
		if err != nil {
			t.Fatal(err)
		}
		text, err := config.WithQuantization(*planned.Quantization)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, m := range list {
			names = append(names, m.name)
		}
		o, err := NewOutlineOfNames(format, text, names)
		if err != nil {
			t.Fatal(err)
		}
		total := int64(0)
		for _, x := range o.Tensors() {
			total += o.StoredBytes(x.Name)
		}
		if want, err := s.Bytes(); err != nil || total != want {
			t.Errorf("%s: %d bytes, want %d: %v", format, total, want, err)
		}
		coded := *planned.Quantization
		name := LayerNames(0).GateUp
		f := coded.Tensors[name]
		f.Coding = CodingRANS
		coded.Tensors[name] = f
		if text, err = config.WithQuantization(coded); err != nil {
			t.Fatal(err)
		}
		if _, err := NewOutlineOfNames(format, text, names); err == nil || !strings.Contains(err.Error(), "compressed") {
			t.Errorf("%s, compressed: %v", format, err)
		}
	}
}
