package quantize

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/seed-796a8800/tritium/gptoss"
	"github.com/seed-796a8800/tritium/internal/safetensors"
)

// TestLarge quantizes two layers of gpt-oss-20b's shape with random weights:
//
//	go test ./quantize -run Large -v -timeout 0 -large DIR -large-method gptq+cd
//
// DIR gets the source (1 GB), the store and the result. The first call writes
// the source and ends; each further one works until it is through or until
// -large-time is over, and goes on where the last one was.
var (
	large       = flag.String("large", "", "directory for TestLarge")
	largeMethod = flag.String("large-method", string(PTBitNet), "method of TestLarge")
	largeTime   = flag.Duration("large-time", time.Hour, "how long a call of TestLarge works")
)

const largeTokens = 4096

func TestLarge(t *testing.T) {
	if *large == "" {
		t.Skip("give it a directory: -large DIR")
	}
	source := filepath.Join(*large, "source")
	if _, err := os.Stat(source); errors.Is(err, os.ErrNotExist) {
		writeLarge(t, source)
		return
	}
	c, err := gptoss.Open(source)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	tokens := make([]int32, largeTokens)
	r := randomSource(1)
	for i := range tokens {
		tokens[i] = int32(r.IntN(c.Config().Vocab))
	}
	cpu := newCPU(t, 0)
	peak := sgemmRate(cpu)
	o := Options{Method: Method(*largeMethod), Store: filepath.Join(*large, *largeMethod+StoreSuffix), KeepStore: true}
	forecast, err := NewForecast(c.Config(), o, len(tokens))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("MatMulNT %.0f GMAC/s; forecast: %.1f TMAC, %.2f GB of memory, %.1f GB of disk", peak/1e9, forecast.Work/1e12, float64(forecast.Memory)/1e9, float64(forecast.Disk)/1e9)

	start, foreseen := time.Now(), time.Duration(0)
	var first time.Time // that the second layer was reached
	o.Progress = func(p Progress) {
		if p.Layer == 1 && first.IsZero() && p.Left > 0 {
			first, foreseen = time.Now(), p.Left
			t.Logf("the first layer took %v; %v are left", time.Since(start).Round(time.Second), p.Left.Round(time.Second))
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), *largeTime)
	defer cancel()
	run, err := newRun(ctx, c, tokens, o)
	if err != nil {
		t.Fatal(err)
	}
	_, err = run.run(cpu, filepath.Join(*large, *largeMethod))
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	if err != nil {
		t.Logf("not through: the same call goes on")
	} else if !first.IsZero() {
		took := time.Since(first)
		t.Logf("%v were foreseen, it took %v", foreseen.Round(time.Second), took.Round(time.Second))
	}
	var work, seconds float64
	for _, p := range run.meter.phases() {
		work, seconds = work+p.Work, seconds+p.Seconds
		t.Logf("%-10s %6.1f s %8.2f TMAC, %5.1f GMAC/s, %3.0f %% of MatMulNT", p.Name, p.Seconds, p.Work/1e12, p.Work/p.Seconds/1e9, 100*p.Work/p.Seconds/peak)
	}
	t.Logf("%-10s %6.1f s %8.2f TMAC, %5.1f GMAC/s, %3.0f %% of MatMulNT", "in all", seconds, work/1e12, work/seconds/1e9, 100*work/seconds/peak)
	t.Logf("24 layers: %v", time.Duration(12*forecast.Work/(work/seconds)*float64(time.Second)).Round(time.Minute))
	t.Logf("%.2f GB of memory at the peak, mapped files included; the store takes %.1f GB", float64(peakRSS())/1e9, float64(run.store.Bytes())/1e9)
	if peakRSS() > 8<<30 {
		t.Error("that is more than 8 GiB")
	}
}

// writeLarge writes two layers of random MXFP4 and bf16 weights.
func writeLarge(t *testing.T, dir string) {
	t.Helper()
	config := gptoss.Shape20B().WithLayers(2)
	config.Vocab = 4096
	cpu := newCPU(t, 0)
	c, err := gptoss.Synthetic{Config: config, Format: gptoss.FormatMXFP4}.Build(t.Context(), cpu, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := os.MkdirAll(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	var specs []safetensors.Spec
	for _, x := range c.Tensors() {
		specs = append(specs, safetensors.Spec{Name: x.Name, Dtype: x.Dtype, Shape: x.Shape})
	}
	w, err := safetensors.Create(dir, specs, safetensors.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range c.Tensors() {
		if err := w.Write(x.Name, x.Data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	fields := map[string]any{}
	data, err := os.ReadFile(filepath.Join(nano, configName))
	if err == nil {
		err = json.Unmarshal(data, &fields)
	}
	if err != nil {
		t.Fatal(err)
	}
	for name, v := range map[string]any{"num_hidden_layers": 2, "layer_types": []string{"sliding_attention", "full_attention"},
		"hidden_size": config.Hidden, "intermediate_size": config.Intermediate, "vocab_size": config.Vocab,
		"num_attention_heads": config.Heads, "num_key_value_heads": config.KVHeads, "num_local_experts": config.Experts,
		"num_experts_per_tok": config.ActiveExperts, "experts_per_token": config.ActiveExperts} {
		fields[name] = v
	}
	if data, err = json.Marshal(fields); err == nil {
		err = os.WriteFile(filepath.Join(dir, configName), data, 0o666)
	}
	if err != nil {
		t.Fatal(err)
	}
}
