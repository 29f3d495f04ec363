package largepages

import "testing"

// What no system has is an error, not a crash.
func TestAllocRefuses(t *testing.T) {
	if words, err := Alloc(1 << 58); err == nil {
		t.Errorf("%d words were allocated", len(words))
	}
}

// A double Free is found by the system.
func TestFreeTwice(t *testing.T) {
	words, err := Alloc(least)
	if err != nil {
		t.Fatal(err)
	}
	if err := Free(words); err != nil {
		t.Fatal(err)
	}
	if Free(words) == nil {
		t.Error("the second Free passes")
	}
}
