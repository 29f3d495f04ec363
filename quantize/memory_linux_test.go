package quantize

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/seed-796a8800/tritium/gptoss"
	"github.com/seed-796a8800/tritium/internal/reference"
)

// anonymousBytes is the memory of the process that no file backs.
func anonymousBytes(t *testing.T) int64 {
	t.Helper()
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip(err)
	}
	_, rest, ok := strings.Cut(string(data), "RssAnon:")
	var kb int64
	if _, err := fmt.Sscan(rest, &kb); !ok || err != nil {
		t.Skip("the system does not tell RssAnon")
	}
	return kb << 10
}

// TestStreams quantizes a model of 400 million weights, 1.6 GB as float32, and
// watches the memory: one expert is decoded at a time.
func TestStreams(t *testing.T) {
	if testing.Short() {
		t.Skip("takes several seconds")
	}
	dir := t.TempDir()
	source := filepath.Join(dir, "source")
	s := reference.Shape{Layers: 2, Hidden: 1024, Intermediate: 1024, Heads: 4, KVHeads: 2, HeadDim: 64, Experts: 64, TopK: 4, Vocab: 4096}
	if err := reference.WriteSparse(source, s); err != nil {
		t.Fatal(err)
	}
	c, err := gptoss.Open(source)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	before, peak := anonymousBytes(t), int64(0)
	o := Options{Method: AbsMean, Embedding: StoreInt8, Head: StoreInt4,
		Progress: func(Progress) { peak = max(peak, anonymousBytes(t)) }}
	r, err := Run(t.Context(), newCPU(t, 2), c, nil, filepath.Join(dir, "q"), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d MB written, %d MB of memory at the peak", r.Bytes>>20, (peak-before)>>20)
	if peak-before > 200<<20 {
		t.Errorf("quantizing took %d MB of memory", (peak-before)>>20)
	}
}

// TestMemoryForecast calibrates, which takes the most memory - the moments of
// every expert of a layer - and compares the peak with the forecast that
// --memory relies on.
func TestMemoryForecast(t *testing.T) {
	if testing.Short() {
		t.Skip("takes several seconds")
	}
	dir := t.TempDir()
	source := filepath.Join(dir, "source")
	s := reference.Shape{Layers: 1, Hidden: 640, Intermediate: 640, Heads: 4, KVHeads: 2, HeadDim: 64, Experts: 32, TopK: 4, Vocab: 1024}
	if err := reference.Write(source, s, 1); err != nil {
		t.Fatal(err)
	}
	c, err := gptoss.Open(source)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	tokens := make([]int32, 16*128)
	for i := range tokens {
		tokens[i] = int32(i * 7 % 1000)
	}
	for _, x := range []struct {
		name string
		o    Options
	}{
		{"pt-bitnet", Options{Method: PTBitNet}},
		{"gptq+cd", Options{Method: GPTQWithDescent, Workers: 2}},
		{"reconstruct", Options{Method: Reconstruct}},
		{"distill", Options{Method: Distill, SelfText: 8}},
		{"frozen", Options{Method: Distill, Distill: DistillOptions{FreezeCodes: true}}},
		{"window", Options{Method: Distill, Distill: DistillOptions{WindowBlocks: 1}}},
	} {
		t.Run(x.name, func(t *testing.T) {
			debug.FreeOSMemory()
			before, peak := anonymousBytes(t), int64(0)
			o := x.o
			o.shardTokens, o.Train, o.Window, o.Rows = 512, TrainOptions{Steps: 2, Batch: 8}, 128, 512
			o.Distill.Steps, o.Distill.Batch = 2, 8
			o.Progress = func(Progress) { peak = max(peak, anonymousBytes(t)) }
			f, err := NewForecast(c.Config(), o, len(tokens))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := Run(t.Context(), newCPU(t, 2), c, tokens, filepath.Join(dir, x.name), o); err != nil {
				t.Fatal(err)
			}
			t.Logf("%d MB at the peak, %d MB forecast", (peak-before)>>20, f.Memory>>20)
			if peak-before > f.Memory {
				t.Errorf("quantizing took %d MB of memory, %d MB were forecast", (peak-before)>>20, f.Memory>>20)
			}
		})
	}
}
