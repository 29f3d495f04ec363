package quantize

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestCheckpoint: a training that goes on from a checkpoint ends in the same
// bits, and a damaged checkpoint is none.
func TestCheckpoint(t *testing.T) {
	const window, windows, steps, stop = 8, 12, 10, 6
	path := filepath.Join(t.TempDir(), "checkpoint")
	start := func() *trainer {
		r := rand.New(rand.NewPCG(7, 8))
		layer, c := randomLayer(r)
		x, target := gaussian(r, windows*window*c.Hidden, 1), gaussian(r, windows*window*c.Hidden, 1)
		goal, err := reconstruction(layer, 0, window, memoryStream{x, c.Hidden}, memoryStream{target, c.Hidden})
		if err != nil {
			t.Fatal(err)
		}
		tr, err := newTrainer(newCPU(t, 2), goal, TrainOptions{Steps: steps, Batch: 4, Seed: 3})
		if err != nil {
			t.Fatal(err)
		}
		tr.kept = newCheckpoint(path, tr, time.Nanosecond)
		if err := tr.kept.load(); err != nil {
			t.Fatal(err)
		}
		tr.kept.next = time.Time{}
		return tr
	}
	values := func(tr *trainer) (all []float32) {
		for _, x := range tr.kept.state() {
			all = append(all, x...)
		}
		return all
	}
	whole := start()
	if err := whole.train(t.Context(), func(int, float64) {}); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}

	half := start()
	ctx, cancel := context.WithCancel(t.Context())
	err := half.train(ctx, func(step int, _ float64) {
		half.kept.next = time.Time{} // it is time, whatever the last one took
		if step == stop-1 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	rest := start()
	if rest.steps() != stop {
		t.Fatalf("the checkpoint has %d steps, want %d", rest.steps(), stop)
	}
	taken := 0
	if err := rest.train(t.Context(), func(int, float64) { taken++ }); err != nil {
		t.Fatal(err)
	}
	if taken != steps-stop || !slices.Equal(values(rest), values(whole)) {
		t.Errorf("after %d steps more the bits are not those of one training", taken)
	}

	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	for name, bad := range map[string][]byte{"a flipped bit": data, "truncated": data[:len(data)-1], "empty": nil} {
		if err := os.WriteFile(path, bad, 0o666); err != nil {
			t.Fatal(err)
		}
		if n := start().steps(); n != 0 {
			t.Errorf("%s: %d steps were believed", name, n)
		}
	}
}

// TestUnitFile: what was written is read, and no other file is.
func TestUnitFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "unit")
	want := momentAbout{Tokens: 7}
	if err := writeUnit(path, want, part{"a", []byte("first")}, part{"none", nil}, part{"b", bytesOf(nil, []float64{1, -2})}); err != nil {
		t.Fatal(err)
	}
	u, err := openUnit(path)
	if err != nil {
		t.Fatal(err)
	}
	defer u.close()
	var about momentAbout
	var b []float64
	if err := errors.Join(u.tell(&about), readNumbers(u, "b", &b)); err != nil {
		t.Fatal(err)
	}
	a, err := u.bytes("a")
	if err != nil || string(a) != "first" || about != want || !slices.Equal(b, []float64{1, -2}) {
		t.Errorf("read %q, %v, %+v (%v)", a, b, about, err)
	}
	for name, err := range map[string]error{"unknown": u.read("c", 0, make([]byte, 1)), "beyond": u.read("a", 3, make([]byte, 3)), "before": u.read("a", -1, make([]byte, 1))} {
		if err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %v", name, err)
		}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for n := range len(data) {
		if err := os.WriteFile(path, data[n:], 0o666); n > 0 && err != nil {
			t.Fatal(err)
		}
		if u, err := openUnit(path); n > 0 && err == nil {
			u.close()
			t.Fatalf("a file without its first %d bytes was taken", n)
		}
	}
	if _, err := openUnit(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

// TestTimeLeft: each phase goes on at its own speed, and one that was not
// measured at that of all.
func TestTimeLeft(t *testing.T) {
	m := meter{workers: 2, begun: map[*unit]*course{}}
	if got := m.timeLeft(); got != 0 {
		t.Errorf("%v are left when nothing is known", got)
	}
	m.made[gathering], m.spent[gathering] = 100, 10*time.Second
	m.made[fitting], m.spent[fitting] = 300, 90*time.Second
	m.todo[gathering], m.todo[fitting], m.todo[training] = 50, 100, 40
	// 50/10 + 100/(10/3) + 40/4 seconds on two workers
	if got, want := m.timeLeft(), 22500*time.Millisecond; got.Round(time.Millisecond) != want {
		t.Errorf("%v are left, want %v", got, want)
	}
}
