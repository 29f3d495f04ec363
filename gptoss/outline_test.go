package gptoss

import (
	"io/fs"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/seed-796a8800/tritium/internal/safetensors"
	"github.com/seed-796a8800/tritium/testdata"
)

// TestOutline: a model without its weights is checked like one with them, and has the same sizes.
func TestOutline(t *testing.T) {
	config, err := fs.ReadFile(testdata.Nano(), "config.json")
	if err != nil {
		t.Fatal(err)
	}
	whole, err := OpenFS(testdata.Nano())
	if err != nil {
		t.Fatal(err)
	}
	defer whole.Close()
	published, err := PublishedTensors(whole.Config())
	if err != nil {
		t.Fatal(err)
	}
	for name, tensors := range map[string][]safetensors.Tensor{"its headers": whole.Tensors(), "as published": published} {
		c, err := OpenOutline(config, tensors)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if c.Bytes() != whole.Bytes() || len(c.Tensors()) != len(whole.Tensors()) {
			t.Errorf("%s: %d bytes in %d tensors, want %d in %d", name, c.Bytes(), len(c.Tensors()), whole.Bytes(), len(whole.Tensors()))
		}
		for i, want := range whole.Tensors() {
			got := c.Tensors()[i]
			if got.Name != want.Name || got.Dtype != want.Dtype || !slices.Equal(got.Shape, want.Shape) || got.Data != nil {
				t.Errorf("%s: %s %s %v, want %s %s %v", name, got.Name, got.Dtype, got.Shape, want.Name, want.Dtype, want.Shape)
			}
			if a, b := c.StoredBytes(want.Name), c.ExpandedBytes(want.Name); a != int64(len(want.Data)) || b != a {
				t.Errorf("%s: %s takes %d and %d bytes, want %d", name, want.Name, a, b, len(want.Data))
			}
		}
		if !reflect.DeepEqual(c.Config(), whole.Config()) {
			t.Errorf("%s: the configuration is %+v", name, c.Config())
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	for name, e := range map[string]struct {
		config  string
		tensors []safetensors.Tensor
		want    string
	}{
		"none":     {string(config), nil, "is missing"},
		"one less": {string(config), published[1:], `tensor "` + published[0].Name + `" is missing`},
		"twice":    {string(config), append(slices.Clone(published), published[0]), "is in two files"},
		"llama":    {`{"model_type": "llama"}`, published, "llama"},
	} {
		if _, err := OpenOutline([]byte(e.config), e.tensors); err == nil || !strings.Contains(err.Error(), e.want) {
			t.Errorf("%s: error %v, want %q", name, err, e.want)
		}
	}
}
