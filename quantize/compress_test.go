package quantize

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/seed-796a8800/tritium/gptoss"
	"github.com/seed-796a8800/tritium/graph"
)

// compress writes a copy of a model beside it.
func compress(t *testing.T, from string, expand bool) (dir string, r *Report) {
	t.Helper()
	c, err := gptoss.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	dir = filepath.Join(t.TempDir(), "copy")
	if r, err = Compress(t.Context(), c, dir, expand, nil); err != nil {
		t.Fatal(err)
	}
	return dir, r
}

// logits runs some tokens through the model in a directory.
func logits(t *testing.T, dir string, ids []int32) []float32 {
	t.Helper()
	c, err := gptoss.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	m, err := c.Compile(newCPU(t, 2), len(ids))
	if err != nil {
		t.Fatal(err)
	}
	seq, err := m.Plan.NewSequence()
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Append(&graph.Batch{}, seq, ids); err != nil {
		t.Fatal(err)
	}
	return slices.Clone(m.Logits(0))
}

// files reads a directory.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all[e.Name()] = string(data)
	}
	return all
}

// TestCompress: a compressed model is smaller, is the same model to whoever opens it, and gives the original back file by
// file; compressing at once gives the very same.
func TestCompress(t *testing.T) {
	for _, bits := range []float64{2, 1.6} {
		o := Options{Method: Stage1, Bits: bits, Embedding: StoreInt8, Head: StoreInt4}
		plain := quantizeNano(t, 2, o)
		small, report := compress(t, plain, false)
		again, _ := compress(t, small, true)
		o.Compress = true
		once := quantizeNano(t, 2, o)

		if err := VerifyFiles(t.Context(), small); err != nil {
			t.Error(err)
		}
		for name, data := range files(t, plain) {
			if files(t, again)[name] != data {
				t.Errorf("%v bits: %s came back otherwise", bits, name)
			}
		}
		for _, name := range []string{"model.safetensors", "config.json"} {
			if files(t, small)[name] != files(t, once)[name] {
				t.Errorf("%v bits: --compress writes another %s", bits, name)
			}
		}
		if len(files(t, once)) != len(files(t, plain)) {
			t.Errorf("%v bits: other files than without: %d and %d", bits, len(files(t, once)), len(files(t, plain)))
		}

		before, after := openDir(t, plain), openDir(t, small)
		if before.Bytes() <= after.Bytes() || report.Bytes >= int64(len(files(t, plain)["model.safetensors"])) {
			t.Errorf("%v bits: %d bytes became %d, %d in the report", bits, before.Bytes(), after.Bytes(), report.Bytes)
		}
		for i, x := range before.Tensors() {
			y := after.Tensors()[i]
			if x.Name != y.Name || x.Dtype != y.Dtype || !slices.Equal(x.Shape, y.Shape) || !bytes.Equal(x.Data, y.Data) {
				t.Errorf("%v bits: %s differs", bits, x.Name)
			}
			if strings.HasSuffix(x.Name, "experts.down_proj.codes") && after.StoredBytes(x.Name) >= after.ExpandedBytes(x.Name) {
				t.Errorf("%v bits: %s takes %d bytes of %d", bits, x.Name, after.StoredBytes(x.Name), after.ExpandedBytes(x.Name))
			}
		}
		ids := nanoTokens(t, before, 24)
		if !slices.Equal(logits(t, plain, ids), logits(t, small, ids)) {
			t.Errorf("%v bits: other logits", bits)
		}
	}
}

// Every format is compressed where that shortens it, and a model of several shards is one afterwards too.
func TestCompressChangesNothingElse(t *testing.T) {
	plain := quantizeNano(t, 2, Options{Method: Stage1, Attention: StoreInt8})
	small, _ := compress(t, plain, false)
	before, after := openDir(t, plain).Config().Quantization, openDir(t, small).Config().Quantization
	coded := 0
	for name, f := range after.Tensors {
		if f.Coding == gptoss.CodingRANS {
			coded++
		}
		f.Coding = ""
		if f != before.Tensors[name] {
			t.Errorf("%s: %+v became %+v", name, before.Tensors[name], f)
		}
	}
	if coded != len(before.Tensors) {
		t.Errorf("%d of %d projections are compressed", coded, len(before.Tensors))
	}
}

func openDir(t *testing.T, dir string, opts ...gptoss.OpenOption) *gptoss.Checkpoint {
	t.Helper()
	c, err := gptoss.Open(dir, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// TestCompressRefuses: what is not there to be compressed, and a directory that is taken.
func TestCompressRefuses(t *testing.T) {
	plain := quantizeNano(t, 2, Options{Method: AbsMean})
	for _, test := range []struct {
		what, from, to, want string
		prepare              func(dir string) error
	}{
		{"an original", nano, "new", "not quantized", nil},
		{"a directory that is there", plain, ".", "already exists", nil},
		{"no report", plain, "new", ReportName, func(dir string) error { return os.Remove(filepath.Join(dir, ReportName)) }},
	} {
		from, to := test.from, filepath.Join(t.TempDir(), test.to)
		if test.prepare != nil {
			from = t.TempDir()
			if err := os.CopyFS(from, os.DirFS(test.from)); err != nil {
				t.Fatal(err)
			}
			if err := test.prepare(from); err != nil {
				t.Fatal(err)
			}
		}
		_, err := Compress(t.Context(), openDir(t, from), to, false, nil)
		if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %v, want %q", test.what, err, test.want)
		}
		if _, err := os.Stat(to); err == nil && test.to == "new" {
			t.Errorf("%s: a directory was made", test.what)
		}
	}
}

// TestDamagedCodes: a container that is damaged, or is another's, is refused when the model is opened, by file and
// tensor, and AsStored still shows what the model is.
func TestDamagedCodes(t *testing.T) {
	small, _ := compress(t, quantizeNano(t, 2, Options{Method: AbsMean}), false)
	path := filepath.Join(small, "model.safetensors")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const name = "model.layers.3.mlp.experts.gate_up_proj.codes"
	stored := openDir(t, small, gptoss.AsStored())
	var box []byte
	for _, x := range stored.Tensors() {
		if x.Name == name {
			box = bytes.Clone(x.Data)
		}
	}
	at := bytes.Index(whole, box)
	refused := func(what, want string) {
		t.Helper()
		c, err := gptoss.Open(small)
		if err == nil {
			c.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %v, want %q", what, err, want)
		}
	}
	for _, damage := range []int{0, 9, 20, 600, len(box) / 2, len(box) - 1} {
		bad := bytes.Clone(whole)
		bad[at+damage] ^= 4
		if err := os.WriteFile(path, bad, 0o666); err != nil {
			t.Fatal(err)
		}
		refused("a changed byte", name)
	}
	if err := os.WriteFile(path, whole, 0o666); err != nil {
		t.Fatal(err)
	}

	config := filepath.Join(small, "config.json")
	data, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range []struct{ from, to, want string }{
		{`"coding": "rans"`, `"coding": "zip"`, `coding "zip"`},
		{`"coding": "rans"`, `"coding": ""`, "bytes of U8"},
	} {
		if err := os.WriteFile(config, bytes.Replace(data, []byte(change.from), []byte(change.to), 1), 0o666); err != nil {
			t.Fatal(err)
		}
		refused(change.to, change.want)
	}
}

// The report of a run says that it compressed.
func TestCompressReport(t *testing.T) {
	dir := quantizeNano(t, 2, Options{Method: AbsMean, Compress: true})
	var r Report
	if err := json.Unmarshal([]byte(files(t, dir)[ReportName]), &r); err != nil {
		t.Fatal(err)
	}
	if c := openDir(t, dir, gptoss.AsStored()); !r.Options.Compress || r.Bytes < c.Bytes() || r.Bytes > c.Bytes()+1<<16 {
		t.Errorf("report of %d bytes, compressed %v; the tensors have %d", r.Bytes, r.Options.Compress, c.Bytes())
	}
	if err := VerifyFiles(t.Context(), dir); err != nil {
		t.Error(err)
	}
}
