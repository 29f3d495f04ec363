package atomicfile

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestMain lets the test binary be its own victim: with a destination in the environment it writes a partial, says so
// and waits to be killed.
func TestMain(m *testing.M) {
	if path := os.Getenv("ATOMICFILE_TEST_VICTIM"); path != "" {
		d, err := CreateDir(filepath.Join(path, "dir"))
		if err != nil {
			panic(err)
		}
		if err := os.WriteFile(filepath.Join(d.Path(), "half"), []byte("half"), 0o666); err != nil {
			panic(err)
		}
		err = WriteFile(filepath.Join(path, "file"), func(w io.Writer) error {
			fmt.Fprint(w, "half")
			fmt.Println("ready")
			time.Sleep(time.Hour) // not select {}, which the runtime ends as a deadlock
			return nil
		})
		runtime.KeepAlive(d)
		panic(err)
	}
	os.Exit(m.Run())
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range list {
		out = append(out, e.Name())
	}
	return out
}

func text(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestWriteFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.json")
	for _, want := range []string{"one", "two, longer", ""} {
		if err := WriteFile(path, func(w io.Writer) error { _, err := io.WriteString(w, want); return err }); err != nil {
			t.Fatal(err)
		}
		if got := text(t, path); got != want {
			t.Fatalf("content %q, want %q", got, want)
		}
	}
	boom := errors.New("boom")
	if err := WriteFile(path, func(w io.Writer) error { io.WriteString(w, "x"); return boom }); err != boom {
		t.Fatalf("error %v, want the callback's", err)
	}
	func() {
		defer func() { recover() }()
		WriteFile(path, func(w io.Writer) error { panic("in the callback") })
	}()
	if got := text(t, path); got != "" {
		t.Fatalf("content %q after failures, want the old one", got)
	}
	if got := names(t, dir); len(got) != 1 {
		t.Fatalf("left behind: %v", got)
	}
	if runtime.GOOS != "windows" {
		info, _ := os.Stat(path)
		plain := filepath.Join(dir, "plain")
		os.WriteFile(plain, nil, 0o666)
		want, _ := os.Stat(plain)
		if info.Mode() != want.Mode() {
			t.Fatalf("mode %v, want %v as any new file", info.Mode(), want.Mode())
		}
	}
}

func TestWriteFileRefuses(t *testing.T) {
	dir := t.TempDir()
	never := func(io.Writer) error { t.Error("callback ran"); return nil }
	for name, path := range map[string]string{
		"directory":      dir,
		"device":         os.DevNull,
		"missing parent": filepath.Join(dir, "no", "file"),
	} {
		if runtime.GOOS == "windows" && name == "device" {
			continue
		}
		if err := WriteFile(path, never); err == nil || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: error %v, want one line naming %s", name, err, path)
		}
	}
}

func TestFileWriteAt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	f, err := Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Reserve(6); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 3 {
		wg.Go(func() {
			if _, err := f.WriteAt([]byte{byte('a' + i), byte('A' + i)}, int64(2*i)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("visible before Commit: %v", err)
	}
	if err := errors.Join(f.Commit(), f.Commit(), f.Abort()); err != nil {
		t.Fatal(err)
	}
	if got := text(t, path); got != "aAbBcC" {
		t.Fatalf("content %q", got)
	}
}

func TestDir(t *testing.T) {
	parent := t.TempDir()
	path := filepath.Join(parent, "model")
	d, err := CreateDir(path)
	if err != nil {
		t.Fatal(err)
	}
	if filepath.Dir(d.Path()) != parent || !strings.HasPrefix(filepath.Base(d.Path()), ".model.partial-") {
		t.Fatalf("partial at %s", d.Path())
	}
	if err := os.MkdirAll(filepath.Join(d.Path(), "sub"), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(d.Path(), "sub", "f"), []byte("x"), 0o444); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(d.Commit(), d.Commit(), d.Abort()); err != nil {
		t.Fatal(err)
	}
	if got := text(t, filepath.Join(path, "sub", "f")); got != "x" {
		t.Fatalf("content %q", got)
	}
	if _, err := CreateDir(path); !errors.Is(err, os.ErrExist) {
		t.Fatalf("existing path: %v", err)
	}
	if _, err := CreateDir(filepath.Join(parent, "no", "model")); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("missing parent: %v", err)
	}
	if got := names(t, parent); len(got) != 1 {
		t.Fatalf("left behind: %v", got)
	}
}

func TestDirAbortAndRace(t *testing.T) {
	parent := t.TempDir()
	path := filepath.Join(parent, "model")
	d, err := CreateDir(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(d.Path(), "mine"), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := d.Commit(); !errors.Is(err, os.ErrExist) {
		t.Fatalf("Commit onto a path that appeared: %v", err)
	}
	if err := errors.Join(d.Abort(), d.Abort(), d.Commit()); err != nil {
		t.Fatal(err)
	}
	if got := names(t, parent); len(got) != 1 || len(names(t, path)) != 0 {
		t.Fatalf("left behind: %v", got)
	}
}

// TestConcurrentWriters has many writers of one path: none may remove another's partial, all must succeed.
func TestConcurrentWriters(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 10 {
				want := strings.Repeat(fmt.Sprint(i), 1000)
				if err := WriteFile(path, func(w io.Writer) error { _, err := io.WriteString(w, want); return err }); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got := text(t, path); len(got) != 1000 || strings.Trim(got, got[:1]) != "" {
		t.Fatalf("torn content of %d bytes", len(got))
	}
	if got := names(t, dir); len(got) != 1 {
		t.Fatalf("left behind: %v", got)
	}
}

func TestKilled(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "ATOMICFILE_TEST_VICTIM="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("victim said %q, %v", line, err)
	}
	rewrite := func() {
		t.Helper()
		d, err := CreateDir(filepath.Join(dir, "dir"))
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Abort(); err != nil {
			t.Fatal(err)
		}
		f, err := Create(filepath.Join(dir, "file"))
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Abort(); err != nil {
			t.Fatal(err)
		}
	}
	rewrite()
	if got := names(t, dir); len(got) != 2 {
		t.Fatalf("a living writer's partials were touched: %v", got)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	for _, name := range []string{"dir", "file"} {
		if _, err := os.Lstat(filepath.Join(dir, name)); !errors.Is(err, os.ErrNotExist) {
			t.Fatalf("%s exists after the kill: %v", name, err)
		}
	}
	rewrite()
	want := 0
	if !canLock {
		want = 2
	}
	if got := names(t, dir); len(got) != want {
		t.Fatalf("after the owner died: %v, want %d stale partials", got, want)
	}
}
