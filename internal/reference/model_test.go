package reference

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-796a8800/tritium/internal/safetensors"
)

// The golden values are Transformers' in float32.
const goldenTolerance = 2e-5

func TestNano(t *testing.T) { testGolden(t, "../../testdata/nano") }

func TestSmall(t *testing.T) {
	const dir = "../../../shared/models/small"
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("the checkpoint %s is not on this machine", dir)
	}
	if testing.Short() {
		t.Skip("ten seconds of float64 arithmetic")
	}
	testGolden(t, dir)
}

func testGolden(t *testing.T, dir string) {
	m, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	golden, err := safetensors.Open(filepath.Join(dir, "golden.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { golden.Close() }) // after the parallel subtests
	for j := range 4 {
		t.Run(fmt.Sprintf("sequence=%d", j), func(t *testing.T) {
			t.Parallel()
			ids := goldenIDs(t, golden, fmt.Sprintf("ids%d", j))
			trace := m.Forward(ids)
			if j == 0 {
				for k, hidden := range trace.Hidden {
					compareGolden(t, golden, fmt.Sprintf("hidden0.%d", k), hidden)
				}
			}
			compareGolden(t, golden, fmt.Sprintf("logits%d", j), trace.Logits)
		})
	}
}

func goldenIDs(t *testing.T, golden *safetensors.Archive, name string) []int32 {
	t.Helper()
	tensor, err := golden.Tensor(name)
	if err != nil {
		t.Fatal(err)
	}
	var ids []int32
	for i := 0; i < len(tensor.Data); i += 4 {
		ids = append(ids, int32(binary.LittleEndian.Uint32(tensor.Data[i:])))
	}
	return ids
}

// compareGolden compares the last rows of got, as many as were recorded.
func compareGolden(t *testing.T, golden *safetensors.Archive, name string, got [][]float64) {
	t.Helper()
	tensor, err := golden.Tensor(name)
	if err != nil {
		t.Fatal(err)
	}
	values, err := tensor.Float32s()
	if err != nil {
		t.Fatal(err)
	}
	rows, columns := tensor.Shape[0], tensor.Shape[1]
	got = got[len(got)-rows:]
	if len(got[0]) != columns {
		t.Fatalf("%s: rows of %d, want %d", name, len(got[0]), columns)
	}
	worst := 0.0
	for i, want := range values {
		d := math.Abs(got[i/columns][i%columns] - float64(want))
		if !(d <= worst) { // a NaN counts as worse
			worst = d
		}
	}
	t.Logf("%s: largest difference %.2g", name, worst)
	if !(worst <= goldenTolerance) {
		t.Errorf("%s differs from Transformers by %g, want at most %g", name, worst, goldenTolerance)
	}
}

// A quantized input is a small but real deviation, and it leaves the embedding and the first router's input alone.
func TestInt8Activations(t *testing.T) {
	m, err := Load("../../testdata/nano")
	if err != nil {
		t.Fatal(err)
	}
	ids := []int32{5, 300, 17, 980, 44, 1501, 7}
	exact, rounded := m.Forward(ids), m.ForwardWith(Options{Int8Activations: true}, ids)
	difference, norm := 0.0, 0.0
	for p := range exact.Logits {
		for i, v := range exact.Logits[p] {
			difference += (rounded.Logits[p][i] - v) * (rounded.Logits[p][i] - v)
			norm += v * v
		}
	}
	if relative := math.Sqrt(difference / norm); relative < 1e-4 || relative > 0.1 {
		t.Errorf("int8 activations move the logits by %.2g of their norm, want between 1e-4 and 0.1", relative)
	}
}

func TestForwardRefusesUnknownID(t *testing.T) {
	m, err := Load("../../testdata/nano")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if r := recover(); r == nil || !strings.Contains(fmt.Sprint(r), "id 2048") {
			t.Errorf("Forward of an id beyond the vocabulary ended with %v, want a panic that names it", r)
		}
	}()
	m.Forward([]int32{1, 2048})
}

func TestLoadErrors(t *testing.T) {
	for _, c := range []struct{ name, old, new, want string }{
		{"no experts", `"num_local_experts": 8`, `"num_local_experts": 0`, "number of experts is 0"},
		{"heads", `"num_key_value_heads": 2`, `"num_key_value_heads": 3`, "4 heads do not divide"},
		{"shape", `"vocab_size": 256`, `"vocab_size": 257`, `"model.embed_tokens.weight" has shape [256 96], want [257 96]`},
		{"layers", `"num_hidden_layers": 2`, `"num_hidden_layers": 3`, "layer_types has 2 entries for 3 layers"},
		{"layer type", `"full_attention"`, `"linear_attention"`, `"linear_attention"`},
		{"rope", `"yarn"`, `"llama3"`, `rope_type is "llama3"`},
		{"syntax", `"hidden_size"`, `hidden_size`, "config.json"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := Write(dir, Shape{}, 1); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, "config.json")
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			changed := strings.Replace(string(text), c.old, c.new, 1)
			if changed == string(text) {
				t.Fatalf("config.json has no %s", c.old)
			}
			if err := os.WriteFile(path, []byte(changed), 0o644); err != nil {
				t.Fatal(err)
			}
			if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Load: %v, want an error with %q", err, c.want)
			}
		})
	}
}
