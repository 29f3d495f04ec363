package reference

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/seed-796a8800/tritium/internal/safetensors"
)

func write(t *testing.T, s Shape) string {
	t.Helper()
	dir := t.TempDir()
	if err := Write(dir, s, 7); err != nil {
		t.Fatal(err)
	}
	return dir
}

func load(t *testing.T, s Shape) *Model {
	t.Helper()
	m, err := Load(write(t, s))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// tokens is a sequence without a period.
func tokens(n, vocab int) []int32 {
	ids := make([]int32, n)
	for i := range ids {
		ids[i] = int32((i*i*7 + i*31 + 5) % vocab)
	}
	return ids
}

// Every named shape loads, and what it computes can tell a right implementation from a wrong one.
func TestNamedShapes(t *testing.T) {
	clipped := 0 // shapes in which some gate passed the limit
	for name, shape := range Named() {
		t.Run(name, func(t *testing.T) {
			m := load(t, shape)
			trace := m.Forward(tokens(24, m.Config.Vocab))
			if r := rms(trace.Logits); !(r > 1 && r < 10) {
				t.Errorf("the logits' root mean square is %.3g, want 1 to 10", r)
			}
			for i := range trace.MoE {
				if a, e := rms(trace.Attention[i]), rms(trace.MoE[i]); !(a > 0.1 && a < 5 && e > 0.1 && e < 10) {
					t.Errorf("layer %d adds %.3g by attention and %.3g by experts", i, a, e)
				}
			}
			if gap := narrowestChoice(trace, m.Config.TopK); gap < 1e-4 {
				t.Errorf("a router's choice hangs on %.2g", gap)
			}
			used := map[int]bool{}
			for _, experts := range slices.Concat(trace.Routing...) {
				for _, e := range experts {
					used[e] = true
				}
			}
			if len(used) < min(5, m.Config.Experts) {
				t.Errorf("only %d of %d experts are ever chosen", len(used), m.Config.Experts)
			}
			unlimited := *m
			unlimited.Config.SwigluLimit = math.Inf(1)
			if !slices.EqualFunc(unlimited.Forward(tokens(24, m.Config.Vocab)).Logits, trace.Logits, slices.Equal) {
				clipped++
			}
		})
	}
	if clipped != len(Named()) {
		t.Errorf("the SwiGLU limit matters in %d of %d shapes", clipped, len(Named()))
	}
}

func rms(x [][]float64) float64 {
	sum, n := 0.0, 0
	for _, row := range x {
		sum += dot(row, row)
		n += len(row)
	}
	return math.Sqrt(sum / float64(n))
}

// narrowestChoice is the smallest distance between the last chosen and the first refused router logit.
func narrowestChoice(trace Trace, k int) float64 {
	gap := math.Inf(1)
	for _, logits := range slices.Concat(trace.RouterLogits...) {
		sorted := slices.Sorted(slices.Values(logits))
		n := len(sorted)
		gap = min(gap, sorted[n-k]-sorted[n-k-1])
	}
	return gap
}

func TestWindowReachesExactlyItsWidth(t *testing.T) {
	const window, p = 16, 20
	for _, layers := range []struct {
		kind    string
		reaches bool // whether position p-window matters
	}{{slidingAttention, false}, {fullAttention, true}} {
		m := load(t, Shape{Layers: 1, Window: window, LayerTypes: []string{layers.kind}})
		ids := tokens(p+1, m.Config.Vocab)
		at := m.Forward(ids).Logits[p]
		changed := func(position int) []float64 {
			other := slices.Clone(ids)
			other[position] = (other[position] + 1) % int32(m.Config.Vocab)
			return m.Forward(other).Logits[p]
		}
		if slices.Equal(changed(p-window), at) == layers.reaches {
			t.Errorf("%s: a change at p-%d shows at p: %t, want %t", layers.kind, window, !layers.reaches, layers.reaches)
		}
		if slices.Equal(changed(p-window+1), at) {
			t.Errorf("%s: a change at p-%d does not show at p", layers.kind, window-1)
		}
	}
}

func TestNamingsAgree(t *testing.T) {
	ids := tokens(12, 256)
	want := load(t, Shape{Naming: HF}).Forward(ids).Logits
	for _, other := range []Shape{{Naming: HFDequantized}, {Naming: Original}, {RopeParameters: true}, {Shards: 3}} {
		if got := load(t, other).Forward(ids).Logits; !slices.EqualFunc(got, want, slices.Equal) {
			t.Errorf("naming %d, rope parameters %t, %d shards: other logits than the plain checkpoint's",
				other.Naming, other.RopeParameters, other.Shards)
		}
	}
}

func TestWriteShards(t *testing.T) {
	for _, shards := range []int{1, 2, 3} {
		files, err := filepath.Glob(filepath.Join(write(t, Shape{Shards: shards}), "*.safetensors"))
		if err != nil {
			t.Fatal(err)
		}
		if len(files) != shards {
			t.Errorf("%d files, want %d: %v", len(files), shards, files)
		}
	}
}

func TestWriteIsDeterministic(t *testing.T) {
	first, second := os.DirFS(write(t, Shape{Shards: 2})), write(t, Shape{Shards: 2})
	names, err := os.ReadDir(second)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		want, err := os.ReadFile(filepath.Join(second, name.Name()))
		if err != nil {
			t.Fatal(err)
		}
		file, err := first.Open(name.Name())
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		var got bytes.Buffer
		if _, err := got.ReadFrom(file); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Bytes(), want) {
			t.Errorf("%s differs between two runs", name.Name())
		}
	}
	other := t.TempDir()
	if err := Write(other, Shape{}, 8); err != nil {
		t.Fatal(err)
	}
	a, b := readTensor(t, write(t, Shape{}), "lm_head.weight"), readTensor(t, other, "lm_head.weight")
	if bytes.Equal(a, b) {
		t.Error("two seeds gave the same weights")
	}
}

func readTensor(t *testing.T, dir, name string) []byte {
	t.Helper()
	archive, err := safetensors.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	tensor, err := archive.Tensor(name)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(tensor.Data)
}

func TestWriteRefusesImpossibleShapes(t *testing.T) {
	for _, c := range []struct {
		shape Shape
		want  string
	}{
		{Shape{Hidden: 100}, "multiples of MXFP4's 32"},
		{Shape{Heads: 3}, "3 heads do not divide over 2 kv heads"},
		{Shape{TopK: 9}, "9 experts per token of 8"},
		{Shape{HeadDim: 31}, "head size 31 is odd"},
		{Shape{Vocab: 20}, "no room for harmony's 21"},
		{Shape{Layers: 2, LayerTypes: []string{fullAttention}}, "1 entries for 2 layers"},
		{Shape{Naming: Original, FullFirst: true}, "cannot say"},
		{Shape{Layers: -1}, "number of layers is -1"},
	} {
		if err := Write(t.TempDir(), c.shape, 1); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("Write: %v, want an error with %q", err, c.want)
		}
	}
}

func TestWriteSparse20B(t *testing.T) {
	dir := t.TempDir()
	if err := WriteSparse20B(dir, 24); err != nil {
		t.Fatal(err)
	}
	archive, err := safetensors.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	// Both numbers are published: the real index's tensors and metadata.total_size.
	if n := len(archive.Names()); n != 459 {
		t.Errorf("%d tensors, want gpt-oss-20b's 459", n)
	}
	if n := archive.Bytes(); n != 13761264768 {
		t.Errorf("%d tensor bytes, want gpt-oss-20b's 13761264768", n)
	}
	last, err := archive.Tensor("lm_head.weight")
	if err != nil {
		t.Fatal(err)
	}
	if last.Data[len(last.Data)-1] != 0 {
		t.Error("the last byte of the data is not zero")
	}
	c, err := loadConfig(dir)
	if err != nil {
		t.Fatal(err)
	}
	if c.Layers != 24 || c.Rope != (Rope{Theta: 150000, Factor: 32, BetaFast: 32, BetaSlow: 1, OriginalContext: 4096}) {
		t.Errorf("unexpected config: %+v", c)
	}
	generation, err := os.ReadFile(filepath.Join(dir, "generation_config.json"))
	if err != nil {
		t.Fatal(err)
	}
	if ids := regexp.MustCompile(`\d+`).FindAllString(string(generation), -1); !slices.Equal(ids,
		[]string{"199998", "200002", "199999", "200012", "199999"}) {
		t.Errorf("generation_config.json has bos, eos and pad %v, not gpt-oss-20b's", ids)
	}
	for _, layers := range []int{0, 25} {
		if err := WriteSparse20B(t.TempDir(), layers); err == nil {
			t.Errorf("%d layers were written", layers)
		}
	}
}
