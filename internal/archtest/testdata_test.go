package archtest

import (
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/seed-796a8800/tritium/testdata"
)

var provenanceRow = regexp.MustCompile("(?m)^\\| `((?:nano|text)/[^`]+)` \\| ([0-9,]+) \\| `([0-9a-f]{64})` \\|$")

// TestProvenance: every embedded file is the one that testdata/README.md says
// it is, and none goes without an entry.
func TestProvenance(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join(root, "testdata", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]string{} // file -> hash
	for _, m := range provenanceRow.FindAllStringSubmatch(string(readme), -1) {
		rows[m[1]] = m[3]
	}
	check := func(file string, data []byte) {
		t.Helper()
		sum := sha256.Sum256(data)
		if got := hex.EncodeToString(sum[:]); got != rows[file] {
			t.Errorf("testdata/%s: SHA-256 %s, README.md says %q", file, got, rows[file])
		}
		delete(rows, file)
	}
	err = fs.WalkDir(testdata.Nano(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(testdata.Nano(), name)
		check("nano/"+name, data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	check("text/calibration.txt", []byte(testdata.Calibration()))
	check("text/heldout.txt", []byte(testdata.Heldout()))
	if len(rows) > 0 {
		t.Errorf("README.md lists files that are not embedded: %v", rows)
	}
}

// TestTextsApart: what is measured on is not what was calibrated on.
func TestTextsApart(t *testing.T) {
	seen := map[string]bool{}
	for p := range strings.SplitSeq(testdata.Calibration(), "\n\n") {
		seen[strings.TrimSpace(p)] = true
	}
	for p := range strings.SplitSeq(testdata.Heldout(), "\n\n") {
		if p = strings.TrimSpace(p); len(p) > 60 && seen[p] {
			t.Errorf("a held-out paragraph is in the calibration text: %.60q", p)
		}
	}
}
