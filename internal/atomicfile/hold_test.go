package atomicfile

import (
	"errors"
	"path/filepath"
	"testing"
)

func TestHold(t *testing.T) {
	path := filepath.Join(t.TempDir(), "growing")
	f, release, err := Hold(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("some"); err != nil {
		t.Fatal(err)
	}
	if canLock {
		if _, _, err := Hold(path); !errors.Is(err, ErrHeld) {
			t.Errorf("held twice: %v", err)
		}
	}
	f.Close()
	release()
	f, release, err = Hold(path)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	defer f.Close()
	if got := text(t, path); got != "some" {
		t.Errorf("the content is %q after a second Hold, want what was there", got)
	}
	if _, _, err := Hold(filepath.Join(path, "below")); err == nil {
		t.Error("held a file below a file")
	}
}
