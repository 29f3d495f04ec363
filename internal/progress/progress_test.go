package progress

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestDescribe(t *testing.T) {
	s := state{step: "layer 1 of 4: fitting", done: 25e9, total: 100e9}
	if got, want := s.describe(10*time.Second, "MAC"), " 25 %, 2.50 GMAC/s, 30s left, layer 1 of 4: fitting"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := (state{step: "reading", done: 16640, total: 33280}).describe(10*time.Second, "tokens"), " 50 %, 1664 tokens/s, 10s left, reading"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := (state{step: "opening"}).describe(0, "MAC"); got != "opening" {
		t.Errorf("without numbers: %q", got)
	}
	if got, want := (state{step: "x", done: 1, total: 2, left: time.Minute}).describe(time.Second, "B"), " 50 %, 1 B/s, 1m0s left, x"; got != want {
		t.Errorf("with an estimate: %q, want %q", got, want)
	}
	// More done than was foreseen must not give a negative time.
	if got := (state{step: "x", done: 11, total: 10}).describe(time.Second, "B"); !strings.Contains(got, " 0s left") {
		t.Errorf("beyond the end: %q", got)
	}
}

func TestQuantity(t *testing.T) {
	for x, want := range map[float64]string{
		0: "0 B", 7: "7 B", 999: "999 B", 1000: "1.00 kB", 6262280: "6.26 MB", 38627376: "38.6 MB",
		999_600: "1.00 MB", 13.76e9: "13.8 GB", 0.5: "0.50 B", 123.4: "123 B", 2e18: "2000 PB",
	} {
		if got := Quantity(x, "B"); got != want {
			t.Errorf("%g: %q, want %q", x, got, want)
		}
	}
}

func TestLinesAreRare(t *testing.T) {
	var out bytes.Buffer
	d := New(&out, "quantize", "MAC")
	for i := range 1000 {
		d.Update("fitting", float64(i), 1000)
	}
	if out.Len() > 0 {
		t.Errorf("printed within %v: %q", interval, out.String())
	}
	d.shown = time.Now().Add(-interval)
	d.Update("fitting", 500, 1000)
	d.Update("fitting", 501, 1000)
	d.Close()
	if got := out.String(); strings.Count(got, "\n") != 1 || !strings.HasPrefix(got, "quantize:  50 %, ") {
		t.Errorf("after the interval: %q", got)
	}
}

func TestNilIsSilent(t *testing.T) {
	var d *Display
	d.Update("x", 1, 2)
	d.Close()
}

func TestTerminal(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if Terminal(f) || Terminal(&bytes.Buffer{}) {
		t.Error("a file or a buffer is no terminal")
	}
}
