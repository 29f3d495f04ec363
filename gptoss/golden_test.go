package gptoss

import (
	"encoding/binary"
	"os"
	"testing"

	"github.com/seed-796a8800/tritium/graph"
	"github.com/seed-796a8800/tritium/internal/safetensors"
)

// TestGolden compares logits and hidden states with Transformers'.
func TestGolden(t *testing.T) {
	for _, dir := range []string{"../testdata/nano", "../../shared/models/small"} {
		t.Run(dir, func(t *testing.T) {
			if _, err := os.Stat(dir); err != nil {
				t.Skipf("%s is not there", dir)
			}
			c, err := Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			golden, err := safetensors.Open(dir + "/golden.safetensors")
			if err != nil {
				t.Fatal(err)
			}
			defer golden.Close()
			cpu := graph.NewCPU(0)
			defer cpu.Close()
			got, err := Compare(c.Config(), c, cpu, golden, 1e-4)
			if err != nil {
				t.Fatal(err)
			}
			if got.First != nil {
				t.Errorf("%s differs by %g", got.First.Tensor, got.First.MaxAbs)
			}
			if want := 4 + c.Config().Layers + 1; len(got.Tensors) != want {
				t.Errorf("%d tensors compared, want %d: %v", len(got.Tensors), want, got.Tensors)
			}
			t.Logf("logits differ by at most %.2g, hidden states by %.2g", got.MaxAbsLogitDiff, got.MaxAbsHiddenDiff)
		})
	}
}

// writeGolden writes a golden file of some tensors.
func writeGolden(t *testing.T, tensors ...stored) *safetensors.Archive {
	t.Helper()
	a, err := safetensors.Open(writeModel(t, []byte("{}"), tensors))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	return a
}

func golden32(name string, shape []int, values ...int32) stored {
	x := stored{safetensors.Spec{Name: name, Dtype: safetensors.I32, Shape: shape}, nil}
	for _, v := range values {
		x.data = binary.LittleEndian.AppendUint32(x.data, uint32(v))
	}
	return x
}

// What a golden file may lack, and what it may not have.
func TestCompareOddGolden(t *testing.T) {
	t.Parallel()
	c := open(t, writeShape(t, small))
	cpu := newCPU(t, 1)
	ids := golden32("ids0", []int{3}, 1, 2, 31)
	got, err := Compare(c.Config(), c, cpu, writeGolden(t, ids), 1e-4)
	if err != nil || len(got.Tensors) != 0 || got.First != nil {
		t.Errorf("ids alone: %+v, %v", got, err)
	}
	zeros := stored{safetensors.Spec{Name: "hidden0.1", Dtype: safetensors.F32, Shape: []int{2, 32}}, make([]byte, 256)}
	got, err = Compare(c.Config(), c, cpu, writeGolden(t, ids, zeros), 1e-4)
	if err != nil || got.First == nil || got.First.Tensor != "hidden0.1" || got.MaxAbsHiddenDiff == 0 || got.MaxAbsLogitDiff != 0 {
		t.Errorf("zeros: %+v, %v", got, err)
	}
	zeros.data[2], zeros.data[3] = 0xC0, 0x7F // NaN
	got, err = Compare(c.Config(), c, cpu, writeGolden(t, ids, zeros), 1e9)
	if err != nil || got.First == nil || got.MaxAbsHiddenDiff == got.MaxAbsHiddenDiff {
		t.Errorf("NaN: %+v, %v", got, err)
	}
	for name, tc := range map[string]struct {
		tensors []stored
		want    string
	}{
		"no ids":      {[]stored{golden32("ids1", []int{1}, 1)}, "no ids0"},
		"two axes":    {[]stored{golden32("ids0", []int{1, 1}, 1)}, "want a vector"},
		"no tokens":   {[]stored{golden32("ids0", []int{0}), ids.as("x")}, "want a vector"},
		"too many":    {[]stored{golden32("ids0", []int{maxGoldenTokens + 1}, make([]int32, maxGoldenTokens+1)...)}, "want a vector"},
		"bad id":      {[]stored{golden32("ids0", []int{1}, 32)}, "token id 32"},
		"other width": {[]stored{ids, zeros.as("logits0").with(1, 64)}, `"logits0" has shape [1 64]; it is of another model`},
		"more rows":   {[]stored{golden32("ids0", []int{1}, 1), zeros.as("hidden0.0")}, `"hidden0.0" has shape [2 32]`},
		"integers":    {[]stored{ids, ids.as("logits0")}, "I32"},
	} {
		_, err := Compare(c.Config(), c, cpu, writeGolden(t, tc.tensors...), 1e-4)
		oneLine(t, name, err, tc.want)
	}
}

func (s stored) with(shape ...int) stored {
	s.Shape = shape
	return s
}
