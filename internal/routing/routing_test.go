package routing

import (
	"slices"
	"testing"
)

func TestBuild(t *testing.T) {
	a := New(3, 4, 2)
	routing := []float32{
		0, .5, 0, .5,
		1, 0, 0, 0,
		.3, 0, 0, .7,
	}
	if err := a.Build(routing, 3); err != nil {
		t.Fatal(err)
	}
	want := []struct{ tokens, slots []int32 }{
		{[]int32{1, 2}, []int32{0, 0}},
		{[]int32{0}, []int32{0}},
		{nil, nil},
		{[]int32{0, 2}, []int32{1, 1}},
	}
	for e, w := range want {
		tokens, slots := a.Of(e)
		if !slices.Equal(tokens, w.tokens) || !slices.Equal(slots, w.slots) {
			t.Errorf("expert %d: tokens %v slots %v, want %v %v", e, tokens, slots, w.tokens, w.slots)
		}
	}
	if !slices.Equal(a.Active, []int32{0, 1, 3}) {
		t.Errorf("active %v", a.Active)
	}
	if n := testing.AllocsPerRun(10, func() { a.Build(routing, 3) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestBuildRefusesTooManyExperts(t *testing.T) {
	if err := New(1, 4, 2).Build([]float32{.2, .3, 0, .5}, 1); err == nil {
		t.Fatal("three experts in two slots")
	}
}
