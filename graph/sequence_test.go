package graph_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/seed-796a8800/tritium/graph"
	"gorgonia.org/tensor"
)

// adder is a plan with two stateful kernels, and what runs it.
type adder struct {
	t       testing.TB
	plan    *graph.Plan
	in, out []float32
	batch   *graph.Batch
}

// newAdder returns an adder; attributes tell plans apart.
func newAdder(t testing.TB, attributes string, rows int) *adder {
	b := graph.NewBuilder()
	x := b.Input("x", tensor.Float32, rows, 3)
	y := b.Apply("sum", newRunningSum(attributes), x)
	y = b.Apply("square", newToy("square", "", 1, 0, square), y)
	y = b.Apply("again", newRunningSum("again"), y)
	p := compile(t, b, graph.NewCPU(1), rows)
	return &adder{t, p, value(t, p, x), value(t, p, y), graph.NewBatch()}
}

// feed runs tokens one at a time and returns what comes out.
func (a *adder) feed(s *graph.Sequence, tokens ...float32) (out []float32) {
	a.t.Helper()
	for _, x := range tokens {
		a.batch.Reset()
		a.batch.Add(s, 1)
		copy(a.in, []float32{x, 0.5 * x, x * x})
		if err := a.plan.Run(a.batch); err != nil {
			a.t.Fatal(err)
		}
		out = append(out, a.out[:3]...)
	}
	return out
}

func (a *adder) saved(s *graph.Sequence) []byte {
	a.t.Helper()
	var buf bytes.Buffer
	if err := s.Save(&buf); err != nil {
		a.t.Fatal(err)
	}
	return buf.Bytes()
}

// Two sequences that part after some tokens give what each gives alone.
func TestFork(t *testing.T) {
	a := newAdder(t, "a", 4)
	fresh := func(tokens ...float32) []float32 { return a.feed(sequence(t, a.plan), tokens...) }
	one := sequence(t, a.plan)
	a.feed(one, 1.25, -3, 0.1)
	two, err := one.Fork()
	if err != nil {
		t.Fatal(err)
	}
	if two.Len() != 3 {
		t.Errorf("a fork of 3 tokens has %d", two.Len())
	}
	gotOne, gotTwo := a.feed(one, 7, 1e-3), a.feed(two, -0.7, 5)
	if want := fresh(1.25, -3, 0.1, 7, 1e-3)[9:]; !sameBits(gotOne, want) {
		t.Errorf("the original gives %v, alone %v", gotOne, want)
	}
	if want := fresh(1.25, -3, 0.1, -0.7, 5)[9:]; !sameBits(gotTwo, want) {
		t.Errorf("the fork gives %v, alone %v", gotTwo, want)
	}
	if err := one.Truncate(1); err != nil {
		t.Fatal(err)
	}
	if got, want := a.feed(one, 9), fresh(1.25, 9)[3:]; !sameBits(got, want) {
		t.Errorf("rewound, the original gives %v, alone %v", got, want)
	}
	if got, want := a.feed(two, 9), fresh(1.25, -3, 0.1, -0.7, 5, 9)[15:]; !sameBits(got, want) {
		t.Errorf("rewinding the original changed the fork: %v, alone %v", got, want)
	}
	empty, err := sequence(t, a.plan).Fork()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := a.feed(empty, 2), fresh(2); !sameBits(got, want) {
		t.Errorf("a fork of nothing gives %v, want %v", got, want)
	}
}

// What is saved continues under another plan of the same operators, in pieces
// of any size, and leaves what follows in the stream alone.
func TestSaveLoad(t *testing.T) {
	a, other := newAdder(t, "a", 4), newAdder(t, "a", 9)
	if a.plan.Hash() != other.plan.Hash() || a.plan.Hash() == newAdder(t, "b", 4).plan.Hash() {
		t.Error("the hash of a plan is not its operators'")
	}
	one := sequence(t, a.plan)
	a.feed(one, 1.25, -3, 0.1)
	data := a.saved(one)
	stream := io.MultiReader(iotest.OneByteReader(bytes.NewReader(data)), strings.NewReader("rest"))
	two := sequence(t, other.plan)
	other.feed(two, 5, 6) // is replaced
	if err := two.Load(stream); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(stream); err != nil || string(rest) != "rest" {
		t.Errorf("after loading, the stream holds %q, %v", rest, err)
	}
	if two.Len() != 3 || !bytes.Equal(other.saved(two), data) {
		t.Errorf("%d tokens; saved again, the bytes differ", two.Len())
	}
	if got, want := other.feed(two, 7, 1e-3), a.feed(one, 7, 1e-3); !sameBits(got, want) {
		t.Errorf("loaded, it gives %v, want %v", got, want)
	}
	if err := one.Save(failingWriter{}); err == nil || !strings.Contains(err.Error(), "graph: save: disk full") {
		t.Error(err)
	}
}

type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestLoadRefuses(t *testing.T) {
	a := newAdder(t, "a", 4)
	one := sequence(t, a.plan)
	a.feed(one, 1.25, -3, 0.1)
	data := a.saved(one)
	edit := func(at int, to ...byte) []byte {
		d := bytes.Clone(data)
		copy(d[at:], to)
		return d
	}
	foreign := newAdder(t, "b", 4)
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"nothing":         {nil, "unexpected EOF"},
		"something":       {[]byte("GIF89a, not a sequence"), "not a sequence that this version saved"},
		"another version": {edit(7, 9), "not a sequence that this version saved"},
		"another plan":    {foreign.saved(sequence(t, foreign.plan)), "a plan with other operators"},
		"more states":     {edit(16, 3), "a plan with other operators"},
		"too long":        {edit(20, 0, 0, 0, 0, 1), "a sequence of 4294967296 tokens"},
		"a state's lie":   {edit(28, 255, 255, 255, 255), "unexpected EOF"},
		"a short state":   {edit(28, 2), "state 2 of 2"},
		"no end":          {data[:len(data)-1], "unexpected EOF"},
		"another end":     {edit(len(data)-1, 0), "the states end elsewhere"},
	} {
		if name == "a short state" { // its rest is taken for the next state's length
			binary.LittleEndian.PutUint32(c.data[28+4+2*12:], 1<<31)
			c.want = "unexpected EOF"
		}
		s := sequence(t, a.plan)
		a.feed(s, 4, 5)
		err := s.Load(bytes.NewReader(c.data))
		if err == nil || !strings.HasPrefix(err.Error(), "graph: load: ") || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		a.batch.Reset()
		a.batch.Add(s, 1)
		if err := a.plan.Run(a.batch); err == nil || !strings.Contains(err.Error(), "truncate it first") {
			t.Errorf("%s: a sequence that failed to load runs: %v", name, err)
		}
		_, fork := s.Fork()
		if fork == nil || s.Save(io.Discard) == nil || s.Truncate(1) == nil {
			t.Errorf("%s: a sequence that failed to load can be forked, saved or truncated to 1", name)
		}
		if err := s.Truncate(0); err != nil {
			t.Fatal(err)
		}
		if got, want := a.feed(s, 2, 3), a.feed(sequence(t, a.plan), 2, 3); !sameBits(got, want) {
			t.Errorf("%s: truncated to 0, it gives %v, want %v", name, got, want)
		}
	}
}

// Hostile bytes load, or are refused with one line and without much memory.
func FuzzLoad(f *testing.F) {
	a := newAdder(f, "a", 4)
	one := sequence(f, a.plan)
	f.Add(a.saved(one))
	a.feed(one, 1.25, -3, 0.1)
	data := a.saved(one)
	f.Add(data)
	f.Add(data[:40])
	f.Fuzz(func(t *testing.T, data []byte) {
		a.t = t
		s := sequence(t, a.plan)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := s.Load(bytes.NewReader(data))
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20+100*uint64(len(data)) {
			t.Errorf("%d bytes allocated for %d", n, len(data))
		}
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("%q is not one line", err)
			}
			return
		}
		if again := a.saved(s); !bytes.HasPrefix(data, again) {
			t.Error("what was loaded is saved as something else")
		}
	})
}
