package units

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// victimDir in the environment makes the test binary a process that claims a unit, says so, and waits to be killed.
const victimDir = "UNITS_TEST_VICTIM"

func TestMain(m *testing.M) {
	if dir := os.Getenv(victimDir); dir != "" {
		s, err := Open(dir)
		if err != nil {
			panic(err)
		}
		_, err = s.Do(context.Background(), NewKey("test/1", "victim"), func(temporary string) error {
			if err := os.WriteFile(temporary, []byte("half"), 0o666); err != nil {
				return err
			}
			if err := os.WriteFile(s.Checkpoint(NewKey("test/1", "victim")), []byte("so far"), 0o666); err != nil {
				return err
			}
			fmt.Println("ready")
			time.Sleep(time.Hour) // not select {}, which the runtime ends as a deadlock
			return nil
		})
		panic(err)
	}
	os.Exit(m.Run())
}

func open(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func write(content string) func(string) error {
	return func(temporary string) error { return os.WriteFile(temporary, []byte(content), 0o666) }
}

func refuse(t *testing.T) func(string) error {
	return func(string) error { t.Error("made again"); return errors.New("made again") }
}

func content(t *testing.T, s *Store, k Key) string {
	t.Helper()
	b, err := os.ReadFile(s.Path(k))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestKey(t *testing.T) {
	type options struct {
		A int
		B float64
	}
	base := NewKey("fit/1", "weights", options{1, 0.1})
	if got := base.String(); len(got) != 64 || strings.ToLower(got) != got {
		t.Errorf("key %q is not SHA-256 in lower case", got)
	}
	if again := NewKey("fit/1", "weights", options{1, 0.1}); again != base {
		t.Error("the same parts give another key")
	}
	for name, k := range map[string]Key{
		"kind":     NewKey("fit/2", "weights", options{1, 0.1}),
		"option":   NewKey("fit/1", "weights", options{1, 0.2}),
		"order":    NewKey("fit/1", options{1, 0.1}, "weights"),
		"one part": NewKey("fit/1", "weights"),
		"chained":  NewKey("fit/1", base),
		"joined":   NewKey(`fit/1","weights`, options{1, 0.1}),
	} {
		if k == base {
			t.Errorf("%s: the key does not change", name)
		}
	}
	if NewKey("a", base) != NewKey("a", base.String()) {
		t.Error("a key as a part is not its text")
	}
}

func TestDo(t *testing.T) {
	ctx, dir := t.Context(), filepath.Join(t.TempDir(), "store")
	s := open(t, dir)
	k := NewKey("test/1", 1)
	if s.Has(k) {
		t.Fatal("a new store has a unit")
	}
	boom := errors.New("boom")
	if _, err := s.Do(ctx, k, func(temporary string) error {
		os.WriteFile(temporary, []byte("half"), 0o666)
		return boom
	}); err != boom {
		t.Fatalf("error %v, want make's", err)
	}
	if _, err := s.Do(ctx, k, func(string) error { return nil }); err == nil {
		t.Fatal("make that wrote nothing was believed")
	}
	func() {
		defer func() { recover() }()
		s.Do(ctx, k, func(temporary string) error { os.WriteFile(temporary, nil, 0o666); panic("in make") })
	}()
	if got, err := os.ReadDir(dir); err != nil || len(got) != 1 {
		t.Fatalf("failures left %v, %v", got, err)
	}
	path, err := s.Do(ctx, k, func(temporary string) error {
		if err := os.WriteFile(s.Checkpoint(k), []byte("so far"), 0o666); err != nil {
			return err
		}
		return write("whole")(temporary)
	})
	if err != nil || path != s.Path(k) || content(t, s, k) != "whole" {
		t.Fatalf("path %q, error %v", path, err)
	}
	for _, again := range []*Store{s, open(t, dir)} {
		if _, err := again.Do(ctx, k, refuse(t)); err != nil || !again.Has(k) {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(s.Checkpoint(k)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the checkpoint of a finished unit is still there: %v", err)
	}
	if err := errors.Join(s.Remove(k), s.Remove(k)); err != nil || s.Has(k) {
		t.Fatalf("Remove: %v, still there: %v", err, s.Has(k))
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := s.Do(cancelled, k, refuse(t)); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want the context's", err)
	}
}

// TestDamage: whatever happens to a file, its unit is made again, and a reader
// of the store is told.
func TestDamage(t *testing.T) {
	for name, spoil := range map[string]func(path string) error{
		"a bit":        func(p string) error { return os.WriteFile(p, []byte("whole contenT"), 0o666) },
		"truncated":    func(p string) error { return os.Truncate(p, 3) },
		"empty":        func(p string) error { return os.Truncate(p, 0) },
		"no checksum":  func(p string) error { return os.Remove(p + sumSuffix) },
		"bad checksum": func(p string) error { return os.Truncate(p+sumSuffix, 10) },
	} {
		t.Run(name, func(t *testing.T) {
			dir, k := t.TempDir(), NewKey("test/1")
			if _, err := open(t, dir).Do(t.Context(), k, write("whole content")); err != nil {
				t.Fatal(err)
			}
			if err := spoil(filepath.Join(dir, k.String())); err != nil {
				t.Fatal(err)
			}
			s := open(t, dir) // what one process has verified it does not read again
			var notices []error
			s.Notice = func(err error) { notices = append(notices, err) }
			if s.Has(k) {
				t.Fatal("damage is not noticed")
			}
			if _, err := s.Do(t.Context(), k, write("whole content")); err != nil {
				t.Fatal(err)
			}
			if content(t, s, k) != "whole content" || !open(t, dir).Has(k) {
				t.Error("not made again")
			}
			if len(notices) != 1 || !strings.Contains(notices[0].Error(), k.String()) {
				t.Errorf("notices %v, want one that names the unit", notices)
			}
		})
	}
}

// TestOnce: of many that ask at once, in one process and through two stores on
// one directory, one makes the unit.
func TestOnce(t *testing.T) {
	dir := t.TempDir()
	stores := []*Store{open(t, dir), open(t, dir)}
	var made [4]atomic.Int32
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			s, k := stores[i%2], NewKey("test/1", i/2%4)
			_, err := s.Do(t.Context(), k, func(temporary string) error {
				made[i/2%4].Add(1)
				time.Sleep(time.Millisecond)
				return write("x")(temporary)
			})
			if err != nil || !s.Has(k) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for i := range made {
		if n := made[i].Load(); n != 1 {
			t.Errorf("unit %d was made %d times", i, n)
		}
	}
}

// TestTry: Try does not wait; Do takes over when the one it waits for fails.
func TestTry(t *testing.T) {
	s, k := open(t, t.TempDir()), NewKey("test/1")
	claimed, fail := make(chan bool), make(chan bool)
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := s.Do(t.Context(), k, func(string) error { close(claimed); <-fail; return errors.New("no") }); err == nil {
			t.Error("no error")
		}
	})
	<-claimed
	if done, err := s.Try(t.Context(), k, refuse(t)); done || err != nil {
		t.Errorf("Try of a claimed unit: %v, %v", done, err)
	}
	short, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := s.Do(short, k, refuse(t)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waiting ended with %v", err)
	}
	wg.Go(func() {
		if _, err := s.Do(t.Context(), k, write("second")); err != nil {
			t.Error(err)
		}
	})
	close(fail)
	wg.Wait()
	if content(t, s, k) != "second" {
		t.Error("nobody took over")
	}
}

// victim starts a process that holds the claim on a unit.
func victim(t *testing.T, dir string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), victimDir+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("the child said %q, %v", line, err)
	}
	return cmd
}

// TestKilled: a claim ends with its process, its half-written unit is gone, its
// checkpoint is there.
func TestKilled(t *testing.T) {
	dir, k := filepath.Join(t.TempDir(), "store"), NewKey("test/1", "victim")
	child := victim(t, dir)
	s := open(t, dir)
	if _, err := os.Stat(s.Path(k) + partialSuffix); err != nil {
		t.Fatalf("opening a store removed what a live process writes: %v", err)
	}
	if done, err := s.Try(t.Context(), k, refuse(t)); done || err != nil {
		t.Fatalf("Try of a unit that another process makes: %v, %v", done, err)
	}
	if err := s.Discard(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); err != nil {
		t.Fatalf("a store in use was removed: %v", err)
	}
	s = open(t, dir)
	result := make(chan error)
	go func() {
		_, err := s.Do(t.Context(), k, func(temporary string) error {
			if got, err := os.ReadFile(s.Checkpoint(k)); err != nil || string(got) != "so far" {
				t.Errorf("checkpoint %q, %v", got, err)
			}
			return write("whole")(temporary)
		})
		result <- err
	}()
	time.Sleep(20 * time.Millisecond) // let it wait
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	child.Wait()
	if err := <-result; err != nil || content(t, s, k) != "whole" {
		t.Fatal(err)
	}

	if err := s.Remove(k); err != nil {
		t.Fatal(err)
	}
	child = victim(t, dir)
	child.Process.Kill()
	child.Wait()
	s.Close()
	s = open(t, dir)
	if _, err := os.Stat(s.Path(k) + partialSuffix); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what a dead process left is still there: %v", err)
	}
	if err := s.Discard(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the store is still there: %v", err)
	}
}

// TestDiscardUnits: what belongs to others stays, and the last takes the store
// with it.
func TestDiscardUnits(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	mine, others := NewKey("test/1", "mine"), NewKey("test/1", "others")
	s := open(t, dir)
	for _, k := range []Key{mine, others} {
		if _, err := s.Do(t.Context(), k, write("x")); err != nil {
			t.Fatal(err)
		}
	}
	if n := s.Bytes(); n != 2*(1+64+2+64+1) {
		t.Errorf("%d bytes", n)
	}
	if err := s.DiscardUnits([]Key{mine}); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	if s.Has(mine) || !s.Has(others) || s.Empty() {
		t.Errorf("mine %v, others' %v", s.Has(mine), s.Has(others))
	}
	if err := s.DiscardUnits([]Key{others}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an empty store is still there: %v", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "thesis.tex"), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, filepath.Join(dir, "thesis.tex")} {
		if _, err := Open(path); err == nil || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %v, want one line that names it", path, err)
		}
	}
	if got, err := os.ReadDir(dir); err != nil || !slices.ContainsFunc(got, func(e os.DirEntry) bool { return e.Name() == "thesis.tex" }) || len(got) != 1 {
		t.Errorf("a refused directory was changed: %v, %v", got, err)
	}
}
