package fmapeak

import "testing"

func TestRun(t *testing.T) {
	if n := Run("none", 3); n != 0 {
		t.Errorf("an unknown instruction set did %d multiply-adds", n)
	}
	one, three := Best(1), Best(3)
	if one < 0 || three != 3*one {
		t.Errorf("1 round is %d multiply-adds, 3 are %d", one, three)
	}
	t.Logf("%d multiply-adds a round", one)
}
