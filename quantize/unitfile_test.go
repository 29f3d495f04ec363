package quantize

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

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
