package gptoss

import (
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
