package main

import (
	"bytes"
	"errors"
	"reflect"
	"slices"
	"testing"

	"github.com/spf13/pflag"
)

func TestCount(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 20914757184: "20,914,757,184", -1: "-1", -123: "-123", -1234: "-1,234"} {
		if got := count(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}

func TestWrap(t *testing.T) {
	for _, c := range []struct {
		text string
		want []string
	}{
		{"", []string{""}},
		{"one two three", []string{"one two", "three"}},
		{" a\n\nb ", []string{"a", "", "b"}},
		{"abcdefghijklmnop q", []string{"abcdefgh", "ijklmnop", "q"}},
		{"x abcdefghij", []string{"x", "abcdefgh", "ij"}},
		{"ääääöööö üüü", []string{"ääääöööö", "üüü"}},
	} {
		if got := wrap(c.text, 8); !slices.Equal(got, c.want) {
			t.Errorf("%q: %q, want %q", c.text, got, c.want)
		}
	}
}

func TestTable(t *testing.T) {
	var x table
	x.row("name", "bytes", "kind")
	x.row("é", "1", "a")
	x.row("long one", "1,000")
	var out bytes.Buffer
	if err := x.write(&out, 2); err != nil {
		t.Fatal(err)
	}
	if want := "name      bytes  kind\né             1  a\nlong one  1,000\n"; out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}

func TestByteSize(t *testing.T) {
	for s, want := range map[string]byteSize{
		"1": 1, "512B": 512, "8GiB": 8 << 30, "8 GiB": 8 << 30, "1.5GB": 1500000000, "64M": 64 << 20, "2kB": 2000, "1TiB": 1 << 40,
	} {
		var b byteSize
		if err := b.Set(s); err != nil || b != want {
			t.Errorf("%q: %d, %v; want %d", s, b, err, want)
		}
	}
	for _, s := range []string{"", "0", "-1GB", "GiB", "8 GiBs", "NaN", "Inf", "1e300", "1e18TB", "eight"} {
		var b byteSize
		if err := b.Set(s); err == nil {
			t.Errorf("%q is taken as %d", s, b)
		}
	}
}

func TestParseIDs(t *testing.T) {
	if got, err := parseIDs("[1, 2,\n 3]", 4); err != nil || !slices.Equal(got, []int32{1, 2, 3}) {
		t.Errorf("got %v, %v", got, err)
	}
	for _, s := range []string{"4", "-1", "x", "1.5", "99999999999999999999"} {
		var usage usageError
		if _, err := parseIDs(s, 4); !errors.As(err, &usage) {
			t.Errorf("%q: %v, want a usage error", s, err)
		}
	}
}

func TestFlagsFromEnvironment(t *testing.T) {
	set := func() (*pflag.FlagSet, *int, *float64) {
		f := pflag.NewFlagSet("", pflag.ContinueOnError)
		return f, f.Int("max-tokens", 1, ""), f.Float64("min-p", 0, "")
	}
	lookup := func(env map[string]string) func(string) (string, bool) {
		return func(name string) (string, bool) { v, ok := env[name]; return v, ok }
	}
	f, n, p := set()
	if err := f.Parse([]string{"--max-tokens", "5"}); err != nil {
		t.Fatal(err)
	}
	env := lookup(map[string]string{"TRITIUM_MAX_TOKENS": "7", "TRITIUM_MIN_P": "0.25"})
	if err := flagsFromEnvironment(f, env); err != nil || *n != 5 || *p != 0.25 || !f.Changed("min-p") {
		t.Errorf("max-tokens %d, min-p %g, %v; want the flag's 5 and the environment's 0.25", *n, *p, err)
	}
	f, _, _ = set()
	var usage usageError
	if err := flagsFromEnvironment(f, lookup(map[string]string{"TRITIUM_MIN_P": "a"})); !errors.As(err, &usage) {
		t.Errorf("a bad value: %v, want a usage error", err)
	}
}

func TestSeries(t *testing.T) {
	if got := [3]float64{series{3, 1, 2}.median(), series{4, 1, 2, 3}.median(), series{1, 3, 2}.spread()}; !reflect.DeepEqual(got, [3]float64{2, 2.5, 1}) {
		t.Errorf("got %v", got)
	}
}
