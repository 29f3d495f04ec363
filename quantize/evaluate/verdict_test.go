package evaluate

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"
)

func TestVerdict(t *testing.T) {
	r := &Report{Tokens: 4096, Window: 512, Windows: 8}
	for _, x := range []struct {
		kl, top1, ratio float64
		want            Grade
	}{
		{0, 1, 1, Good}, {.1, .8, 1.1, Good}, {.05, .9, .99, Good},
		{.101, .9, 1, Fair}, {.05, .79, 1, Fair}, {.05, .9, 1.11, Fair}, {.5, .6, 1.5, Fair},
		{.501, .7, 1.3, Poor}, {.3, .599, 1.3, Poor}, {.3, .7, 1.51, Poor}, {9, 0, math.MaxFloat64, Poor},
	} {
		if v := r.Verdict(Candidate{KLMean: x.kl, Top1: x.top1, PPLRatio: x.ratio}); v.Grade != x.want || v.Tokens != 4096 || v.Window != 512 {
			t.Errorf("KL %g, top-1 %g, ratio %g: %+v, want %s", x.kl, x.top1, x.ratio, v, x.want)
		}
	}
	v := r.Verdict(Candidate{KLMean: .4661, KLMeanCI95: .0304, Top1: .5871, Top1CI95: .01, PPLRatio: 1.4834, PPLRatioCI95: HalfWidth(math.NaN())})
	if got, want := v.String(), "poor: KL 0.466 ± 0.030, top-1 0.587 ± 0.010, ppl ratio 1.483"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	data, err := json.Marshal(v)
	const want = `{"grade":"poor","kl_mean":0.4661,"kl_mean_ci95":0.0304,"top1":0.5871,"top1_ci95":0.01,"ppl_ratio":1.4834,"ppl_ratio_ci95":null,"tokens":4096,"window":512,"text":""}`
	if err != nil || string(data) != want {
		t.Errorf("%s (%v), want %s", data, err, want)
	}
}

// TestOverlapOfFewerExperts: a model that dropped experts chooses by the
// numbers of the original.
func TestOverlapOfFewerExperts(t *testing.T) {
	const vocab, window = 16, 6
	kept := [][]int{{0, 2, 4}, {1, 2, 3}}
	ref := newTable(vocab).random(1, 2)
	cand := newTable(vocab).random(1, 2)
	cand.config.Experts, cand.config.KeptExperts = 3, kept
	cand.router = func(layer, token, e int) float32 { return ref.router(layer, token, kept[layer][e]) }
	tokens := []int32{3, 0, 7, 7, 1, 9, 15, 2, 4, 8, 0, 3, 11}
	r, err := Compare(t.Context(), newCPU(t, 2), ref.model("ref"), []Model{cand.model("cand")}, tokens, Options{Window: window})
	if err != nil {
		t.Fatal(err)
	}
	// What both choose is what the original chooses of what was kept.
	both := 0
	for _, token := range tokens[:2*window] {
		for layer := range kept {
			for e := range chosen(ref, layer, token) {
				if slices.Contains(kept[layer], e) {
					both++
				}
			}
		}
	}
	want := float64(both) / (2 * window * 2 * 2)
	if got := r.Candidates[0].RouterOverlap; got == nil || math.Abs(*got-want) > 1e-12 || want == 1 || want == 0 {
		t.Errorf("overlap %v, want %g", got, want)
	}
	other := newTable(vocab)
	other.config.Experts, other.config.KeptExperts = 3, [][]int{{0, 2, 4}, {1, 2, 4}}
	beyond := newTable(vocab)
	beyond.config.Experts, beyond.config.KeptExperts = 3, [][]int{{0, 2, 9}, {1, 2, 4}}
	for name, pair := range map[string][2]*table{"other": {cand, other}, "whole": {cand, ref}, "beyond": {ref, beyond}} {
		r, err := Compare(t.Context(), newCPU(t, 1), pair[0].model("ref"), []Model{pair[1].model("cand")}, tokens, Options{Window: window})
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		if err := r.Table(&b); err != nil || r.Candidates[0].RouterOverlap != nil {
			t.Errorf("%s: overlap %v (%v)", name, r.Candidates[0].RouterOverlap, err)
		}
	}
	if r, err = Compare(t.Context(), newCPU(t, 1), cand.model("ref"), []Model{cand.model("cand")}, tokens, Options{Window: window}); err != nil || *r.Candidates[0].RouterOverlap != 1 {
		t.Errorf("a model of fewer experts and itself: %v", err)
	}
}
