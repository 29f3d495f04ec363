package main

import (
	"slices"
	"testing"

	"github.com/seed-796a8800/tritium/gptoss"
)

func TestBudget(t *testing.T) {
	c := gptoss.Config{Vocab: 100, Hidden: 16}
	parameters := c.Parameters()
	for text, want := range map[string]int64{"1.9bpw": parameters * 19 / 80, " 32 bpw": 4 * parameters, "4.4GB": 4_400_000_000, "8GiB": 8 << 30, "12": 12} {
		var b budget
		if err := b.Set(text); err != nil || b.of(c) != want || !b.given() {
			t.Errorf("%q: %d bytes and %v, want %d", text, b.of(c), err, want)
		}
	}
	for _, text := range []string{"", "bpw", "0bpw", "-1bpw", "33bpw", "NaNbpw", "-4GB", "small"} {
		if b := (budget{}); b.Set(text) == nil {
			t.Errorf("%q is taken for %d bytes", text, b.of(c))
		}
	}
}

// TestProbeWindows: what a plan is measured on is never fitted to.
func TestProbeWindows(t *testing.T) {
	text := make([]int32, 1000)
	for i := range text {
		text[i] = int32(i)
	}
	for _, x := range []struct{ text, tokens, window, fit, probes int }{
		{1000, 640, 50, 600, 200},  // text enough for both
		{1000, 1000, 50, 800, 200}, // all of it was asked for
		{1000, 100, 64, 64, 192},
		{400, 400, 100, 300, 100}, // a quarter at most
		{200, 200, 100, 100, 100},
		{150, 150, 100, 150, 0}, // too short
	} {
		fit, probes := probeWindows(text[:x.text], x.tokens, x.window)
		if len(fit) != x.fit || len(probes) != x.probes {
			t.Errorf("%+v: %d and %d tokens", x, len(fit), len(probes))
		}
		if len(probes) > 0 && !slices.Equal(append(slices.Clone(fit), probes...), text[:len(fit)+len(probes)]) {
			t.Errorf("%+v: the windows do not follow what is fitted to", x)
		}
	}
}
