package safetensors

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"pgregory.net/rapid"
)

var dtypes = []Dtype{BF16, F16, F32, F64, U8, I8, I16, U16, I32, U32, I64, U64, Bool, F8E4M3, F8E5M2}

// content is the deterministic data of a tensor.
func content(s Spec) []byte {
	size, err := byteSize(s.Dtype, s.Shape)
	if err != nil {
		panic(err)
	}
	r := rand.NewChaCha8([32]byte([]byte(fmt.Sprintf("%-32.32s", s.Name))))
	b := make([]byte, size)
	r.Read(b)
	return b
}

func listing(t *testing.T, dir string) []string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

func mustCreate(t *testing.T, dir string, specs []Spec, o Options) *Writer {
	t.Helper()
	w, err := Create(dir, specs, o)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// TestRoundTrip writes random checkpoints, whole or streamed, in random order and concurrently, and reads them back.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "roundtrip")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		names := rapid.SliceOfNDistinct(rapid.StringN(1, 8, -1).Filter(func(s string) bool { return s != metadataKey }), 0, 12, rapid.ID).Draw(t, "names")
		var specs []Spec
		for _, name := range names {
			specs = append(specs, Spec{name, rapid.SampledFrom(dtypes).Draw(t, "dtype"),
				rapid.SliceOfN(rapid.IntRange(0, 9), 0, 3).Draw(t, "shape")})
		}
		o := Options{
			ShardBytes: rapid.SampledFrom([]int64{0, 1, 100, 1000}).Draw(t, "shard"),
			Align:      rapid.SampledFrom([]int{0, 1, 2, 64, 4096}).Draw(t, "align"),
			Metadata:   rapid.MapOfN(rapid.String(), rapid.String(), 0, 2).Draw(t, "metadata"),
		}
		w, err := Create(dir, specs, o)
		if err != nil {
			t.Fatal(err)
		}
		chunk := rapid.IntRange(1, 50).Draw(t, "chunk")
		var wg sync.WaitGroup
		for i, s := range specs {
			wg.Go(func() { writeTensor(t, w, s, i%2 == 0, chunk) })
		}
		wg.Wait()
		if err := w.Commit(); err != nil {
			t.Fatal(err)
		}
		checkArchive(t, dir, specs, o)
	})
}

func writeTensor(t *rapid.T, w *Writer, s Spec, whole bool, chunk int) {
	data := content(s)
	if whole {
		if err := w.Write(s.Name, data); err != nil {
			t.Error(err)
		}
		return
	}
	out, err := w.Tensor(s.Name)
	if err != nil {
		t.Error(err)
		return
	}
	for part := range slices.Chunk(data, chunk) {
		if n, err := out.Write(part); err != nil || n != len(part) {
			t.Error(n, err)
		}
	}
}

func checkArchive(t *rapid.T, dir string, specs []Spec, o Options) {
	a, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if len(a.Names()) != len(specs) || !maps.Equal(a.Metadata(), o.Metadata) {
		t.Fatalf("names %q, metadata %q", a.Names(), a.Metadata())
	}
	align := o.Align
	if align == 0 {
		align = 64
	}
	for _, s := range specs {
		x, err := a.Tensor(s.Name)
		if err != nil || x.Dtype != s.Dtype || !slices.Equal(x.Shape, s.Shape) || !bytes.Equal(x.Data, content(s)) {
			t.Fatalf("%q differs: %v %v, %v", s.Name, x.Dtype, x.Shape, err)
		}
		f := a.files[slices.Index(a.Files(), x.File)]
		if len(x.Data) == 0 {
			continue
		}
		// The promise of the package documentation: aligned to the largest power of two in the size, up to align.
		want := min(len(x.Data)&-len(x.Data), align)
		if off := uintptr(unsafe.Pointer(&x.Data[0])) - uintptr(unsafe.Pointer(&f.mapping[0])); off%uintptr(want) != 0 {
			t.Fatalf("%q of %d bytes at %d, not a multiple of %d", s.Name, len(x.Data), off, want)
		}
	}
	for _, f := range a.files {
		if n := 8 + binary.LittleEndian.Uint64(f.mapping); n%uint64(align) != 0 {
			t.Fatalf("%s: data section at %d, not a multiple of %d", f.path, n, align)
		}
		if o.ShardBytes > 0 && len(f.tensors) > 1 && sum(f.tensors) > o.ShardBytes {
			t.Fatalf("%s: %d bytes in %d tensors, limit %d", f.path, sum(f.tensors), len(f.tensors), o.ShardBytes)
		}
	}
}

func sum(tensors []Tensor) (n int64) {
	for _, t := range tensors {
		n += int64(len(t.Data))
	}
	return n
}

func TestShards(t *testing.T) {
	dir := t.TempDir()
	specs := []Spec{{"a", U8, []int{60}}, {"b", F32, []int{10}}, {"big", U8, []int{500}}, {"c", BF16, []int{4}}}
	w := mustCreate(t, dir, specs, Options{ShardBytes: 100, Metadata: map[string]string{"format": "pt"}})
	for _, s := range slices.Backward(specs) {
		if err := w.Write(s.Name, content(s)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range listing(t, dir) {
		if !strings.HasPrefix(name, ".") {
			t.Errorf("%s is visible before Commit", name)
		}
	}
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	want := []string{"model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors", "model-00003-of-00003.safetensors", indexName}
	if got := listing(t, dir); !slices.Equal(got, want) {
		t.Fatalf("files %v, want %v", got, want)
	}
	b, err := os.ReadFile(filepath.Join(dir, indexName))
	if err != nil {
		t.Fatal(err)
	}
	var index struct {
		Metadata  map[string]int64  `json:"metadata"`
		WeightMap map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(b, &index); err != nil {
		t.Fatal(err)
	}
	if index.Metadata["total_size"] != 60+40+500+8 || !maps.Equal(index.WeightMap, map[string]string{"a": want[0], "b": want[0], "big": want[1], "c": want[2]}) {
		t.Errorf("index %+v", index)
	}
	// A shard alone is a valid file too, with the metadata.
	a, err := Open(filepath.Join(dir, want[0]))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if got := a.Names(); !slices.Equal(got, []string{"a", "b"}) || a.Metadata()["format"] != "pt" {
		t.Errorf("first shard: %v %v", got, a.Metadata())
	}
	_, err = Create(dir, specs, Options{})
	oneLine(t, err, dir, "already holds "+want[0])
}

func TestCreateRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		specs []Spec
		o     Options
		want  string
	}{
		"dtype":          {[]Spec{{"a", "F4", nil}}, Options{}, `tensor "a": unknown dtype "F4"`},
		"negative dim":   {[]Spec{{"a", U8, []int{-1}}}, Options{}, "negative dimension"},
		"overflow":       {[]Spec{{"a", F64, []int{1 << 30, 1 << 30, 4}}}, Options{}, "overflows"},
		"total overflow": {[]Spec{{"a", U8, []int{1 << 30, 1 << 30, 3}}, {"b", U8, []int{1 << 30, 1 << 30, 3}}}, Options{}, `tensor "b": the checkpoint would exceed`},
		"rank":           {[]Spec{{"a", U8, make([]int, 65)}}, Options{}, "65 dimensions"},
		"empty name":     {[]Spec{{"", U8, nil}}, Options{}, "not a usable name"},
		"reserved name":  {[]Spec{{metadataKey, U8, nil}}, Options{}, "not a usable name"},
		"bad utf-8":      {[]Spec{{"a\xff", U8, nil}}, Options{}, "not a usable name"},
		"twice":          {[]Spec{{"a", U8, nil}, {"a", U8, nil}}, Options{}, "declared twice"},
		"align":          {nil, Options{Align: 48}, "Align: 48"},
		"align negative": {nil, Options{Align: -64}, "Align: -64"},
		"align large":    {nil, Options{Align: 8192}, "Align: 8192"},
		"shard bytes":    {nil, Options{ShardBytes: -1}, "ShardBytes: -1"},
		"metadata":       {nil, Options{Metadata: map[string]string{"k": "\xff"}}, `metadata "k"`},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			_, err := Create(dir, c.specs, c.o)
			oneLine(t, err, dir, c.want)
			if got := listing(t, dir); len(got) != 0 {
				t.Errorf("left behind: %v", got)
			}
		})
	}
	missing := filepath.Join(t.TempDir(), "missing")
	_, err := Create(missing, nil, Options{})
	oneLine(t, err, missing)
}

func TestHeaderLimit(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a header of 100 MB")
	}
	dir := t.TempDir()
	_, err := Create(dir, []Spec{{strings.Repeat("x", maxHeader), U8, nil}}, Options{})
	oneLine(t, err, dir, "use smaller shards")
}

func TestWriterMisuse(t *testing.T) {
	dir := t.TempDir()
	w := mustCreate(t, dir, []Spec{{"a", U8, []int{4}}, {"b", U8, []int{4}}, {"none", F32, []int{0}}}, Options{})
	oneLine(t, w.Write("zzz", nil), "zzz", "not declared")
	oneLine(t, w.Write("a", make([]byte, 3)), `"a"`, "got 3 bytes, want 4")
	out, err := w.Tensor("a")
	if err != nil {
		t.Fatal(err)
	}
	oneLine(t, w.Write("a", make([]byte, 4)), `"a"`, "already")
	if _, err := w.Tensor("a"); err == nil {
		t.Error("two writers of one tensor")
	}
	if _, err := out.Write([]byte{1, 2, 3}); err != nil {
		t.Fatal(err)
	}
	n, err := out.Write([]byte{4, 5})
	if oneLine(t, err, `"a"`, "more than the 1 that remain"); n != 0 {
		t.Errorf("wrote %d bytes past the tensor", n)
	}
	if err := w.Write("b", []byte("bbbb")); err != nil {
		t.Fatal(err)
	}
	oneLine(t, w.Commit(), dir, `"a"`, "3 of 4")
	if _, err := out.Write([]byte{4}); err != nil { // the failed Commit left the writer open
		t.Fatal(err)
	}
	if err := errors.Join(w.Commit(), w.Commit(), w.Abort()); err != nil {
		t.Fatal(err)
	}
	oneLine(t, w.Write("b", make([]byte, 4)), "already committed")
	if _, err := out.Write(nil); err == nil {
		t.Error("stream usable after Commit")
	}
	a, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if x, _ := a.Lookup("a"); !bytes.Equal(x.Data, []byte{1, 2, 3, 4}) {
		t.Errorf("a = %v", x.Data)
	}
}

func TestAbort(t *testing.T) {
	dir := t.TempDir()
	w := mustCreate(t, dir, []Spec{{"a", U8, []int{4}}, {"b", U8, []int{4}}}, Options{ShardBytes: 4})
	if err := w.Write("a", make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Abort(), w.Abort(), w.Commit()); err != nil {
		t.Fatal(err)
	}
	if got := listing(t, dir); len(got) != 0 {
		t.Errorf("left behind: %v", got)
	}
}

// TestCommitFails makes the last rename fail: files renamed before it must disappear again.
func TestCommitFails(t *testing.T) {
	dir := t.TempDir()
	w := mustCreate(t, dir, []Spec{{"a", U8, []int{4}}, {"b", U8, []int{4}}}, Options{ShardBytes: 4})
	for _, name := range []string{"a", "b"} {
		if err := w.Write(name, make([]byte, 4)); err != nil {
			t.Fatal(err)
		}
	}
	obstacle := filepath.Join(dir, indexName, "x")
	if err := os.MkdirAll(obstacle, 0o777); err != nil {
		t.Fatal(err)
	}
	oneLine(t, w.Commit(), indexName)
	if got := listing(t, dir); !slices.Equal(got, []string{indexName}) {
		t.Errorf("left behind: %v", got)
	}
}

// TestMain lets the test binary be its own victim: it writes half a checkpoint, says so and waits to be killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv("SAFETENSORS_TEST_VICTIM"); dir != "" {
		w, err := Create(dir, victim, Options{ShardBytes: 4})
		if err == nil {
			err = w.Write("a", make([]byte, 4))
		}
		if err != nil {
			panic(err)
		}
		fmt.Println("ready")
		time.Sleep(time.Hour) // not select {}, which the runtime ends as a deadlock
	}
	os.Exit(m.Run())
}

var victim = []Spec{{"a", U8, []int{4}}, {"b", U8, []int{4}}}

func TestKilled(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "SAFETENSORS_TEST_VICTIM="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("victim said %q, %v", line, err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, out)
	cmd.Wait()
	for _, name := range listing(t, dir) {
		if !strings.HasPrefix(name, ".") {
			t.Errorf("%s exists after the kill", name)
		}
	}
	_, err = Open(dir)
	oneLine(t, err, dir, "no model.safetensors.index.json")
	w := mustCreate(t, dir, victim, Options{ShardBytes: 4}) // the debris is no obstacle
	if err := w.Abort(); err != nil {
		t.Fatal(err)
	}
}
