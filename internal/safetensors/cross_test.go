package safetensors

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	oracle "github.com/nlpodyssey/safetensors"
)

// sameAsOracle compares this package's view of a single file with another implementation's.
func sameAsOracle(t *testing.T, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want, err := oracle.Deserialize(b)
	if err != nil {
		t.Fatal(err)
	}
	a, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if names := want.Names(); len(names) != len(a.Names()) {
		t.Fatalf("%d tensors, want %d", len(a.Names()), len(names))
	}
	for _, name := range a.Names() {
		got, _ := a.Lookup(name)
		w, ok := want.Tensor(name)
		if !ok {
			t.Fatalf("%q is unknown to the other implementation", name)
		}
		shape := make([]int, 0, 4)
		for _, d := range w.Shape() {
			shape = append(shape, int(d))
		}
		if string(got.Dtype) != w.DType().String() || !slices.Equal(got.Shape, shape) || !bytes.Equal(got.Data, w.Data()) {
			t.Errorf("%q: %s %v differs from %s %v", name, got.Dtype, got.Shape, w.DType(), shape)
		}
	}
	_, meta, err := oracle.ReadMetadata(b)
	if err != nil || !maps.Equal(meta.Metadata(), a.Metadata()) {
		t.Errorf("metadata %v, want %v (%v)", a.Metadata(), meta.Metadata(), err)
	}
}

// TestCrossRead has the other implementation read what Create wrote, for every dtype it knows.
func TestCrossRead(t *testing.T) {
	dir := t.TempDir()
	var specs []Spec
	for _, d := range dtypes {
		if d != F8E4M3 && d != F8E5M2 {
			specs = append(specs, Spec{"odd." + string(d), d, []int{3, 1, 5}}, Spec{"even." + string(d), d, []int{64, 2}})
		}
	}
	specs = append(specs, Spec{"scalar", F32, nil}, Spec{"none", BF16, []int{2, 0}}, Spec{`quote"<é>`, U8, []int{1}})
	w := mustCreate(t, dir, specs, Options{Metadata: map[string]string{"format": "pt"}})
	for _, s := range specs {
		if err := w.Write(s.Name, content(s)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	sameAsOracle(t, filepath.Join(dir, singleName))
}

// TestNano reads the repository's test checkpoint, written by Hugging Face's implementation.
func TestNano(t *testing.T) {
	for _, name := range []string{"model.safetensors", "golden.safetensors"} {
		path := filepath.Join("..", "..", "testdata", "nano", name)
		if _, err := os.Stat(path); err != nil {
			t.Skip("no nano checkpoint: ", err)
		}
		sameAsOracle(t, path)
	}
}
