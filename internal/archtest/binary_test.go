package archtest

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestBinaryStarts builds the command and runs `tritium version`. It looks
// trivial and is not: gorgonia imports go4.org/unsafe/assume-no-moving-gc, and
// the versions that gorgonia itself asks for panic in an init function, before
// main, under every Go version that they do not know. Without the pin in go.mod
// the program still builds, and the tests of packages that do not import
// gorgonia still pass. See docs/adr/0005-dependency-pins.md.
func TestBinaryStarts(t *testing.T) {
	if testing.Short() {
		t.Skip("links the whole command")
	}
	binary := filepath.Join(t.TempDir(), "tritium.exe") // Windows wants the suffix, nobody else minds
	build := exec.Command("go", "build", "-buildvcs=false", "-o", binary, "./cmd/tritium")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build ./cmd/tritium: %v\n%s", err, out)
	}
	var stdout, stderr bytes.Buffer
	run := exec.Command(binary, "version")
	run.Dir = t.TempDir() // it must not need the source tree
	run.Stdout, run.Stderr = &stdout, &stderr
	if err := run.Run(); err != nil {
		t.Fatalf("tritium version: %v\n%s%s", err, stdout.Bytes(), stderr.Bytes())
	}
	if !bytes.Contains(stdout.Bytes(), []byte("tritium")) {
		t.Errorf("tritium version printed %q, which does not say what it is", stdout.Bytes())
	}
}
