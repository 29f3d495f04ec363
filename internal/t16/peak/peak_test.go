package peak

import "testing"

func TestRun(t *testing.T) {
	one, three := Run(1), Run(3)
	if one < 0 || three != 3*one {
		t.Errorf("1 round is %d multiply-accumulates, 3 are %d", one, three)
	}
	t.Logf("%d multiply-accumulates a round", one)
}
