package graph_test

import (
	"strings"
	"testing"

	"github.com/seed-796a8800/tritium/graph"
	"gorgonia.org/tensor"
)

func TestBatchesThatCannotRun(t *testing.T) {
	b := graph.NewBuilder()
	b.Apply("y", newToy("square", "", 1, 0, square), b.Input("x", tensor.Float32, 4, 3))
	p, other := compile(t, b, graph.NewCPU(1), 4), compile(t, b, graph.NewCPU(1), 4)
	for name, c := range map[string]struct {
		fill func(batch *graph.Batch, s *graph.Sequence)
		want string
	}{
		"empty":            {func(*graph.Batch, *graph.Sequence) {}, "a batch of 0 rows; the plan takes 1 to 4"},
		"too long":         {func(b *graph.Batch, s *graph.Sequence) { b.Add(s, 5) }, "a batch of 5 rows"},
		"no sequence":      {func(b *graph.Batch, _ *graph.Sequence) { b.Add(nil, 1) }, "not one of this plan"},
		"a foreign one":    {func(b *graph.Batch, _ *graph.Sequence) { b.Add(sequence(t, other), 1) }, "not one of this plan"},
		"twice":            {func(b *graph.Batch, s *graph.Sequence) { b.Add(s, 1); b.Add(s, 1) }, "twice"},
		"no tokens":        {func(b *graph.Batch, s *graph.Sequence) { b.Add(s, 0); b.Add(sequence(t, p), 1) }, "0 tokens at row 0"},
		"negative":         {func(b *graph.Batch, s *graph.Sequence) { b.Add(s, 3); b.Add(sequence(t, p), -1) }, "-1 tokens"},
		"a hole":           {func(b *graph.Batch, s *graph.Sequence) { b.Add(s, 2); b.Segments[0].Row = 1 }, "at row 1, want at least one at row 0"},
		"a wrong start":    {func(b *graph.Batch, s *graph.Sequence) { b.Add(s, 2); b.Segments[0].Start = 3 }, "starts at position 3 of a sequence of 0"},
		"fewer segments":   {func(b *graph.Batch, s *graph.Sequence) { b.Add(s, 2); b.Segments = nil }, "segments hold 0 rows of 2"},
		"an output beyond": {func(b *graph.Batch, s *graph.Sequence) { b.Add(s, 2); b.Want(2) }, "output row 2"},
		"outputs unsorted": {func(b *graph.Batch, s *graph.Sequence) { b.Add(s, 2); b.Want(1, 0) }, "output row 0 after 1"},
		"an output twice":  {func(b *graph.Batch, s *graph.Sequence) { b.Add(s, 2); b.Want(1, 1) }, "output row 1 after 1"},
		"output below 0":   {func(b *graph.Batch, s *graph.Sequence) { b.Add(s, 2); b.Want(-1) }, "output row -1"},
	} {
		batch, s := graph.NewBatch(), sequence(t, p)
		c.fill(batch, s)
		if err := p.Run(batch); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if s.Len() != 0 {
			t.Errorf("%s: a refused batch changed its sequence", name)
		}
	}
}

func TestBatchReuse(t *testing.T) {
	b := graph.NewBuilder()
	b.Apply("y", newToy("square", "", 1, 0, square), b.Input("x", tensor.Float32, 4, 3))
	p := compile(t, b, graph.NewCPU(1), 4)
	batch, one, two := graph.NewBatch(), sequence(t, p), sequence(t, p)
	for range 3 {
		batch.Reset()
		if r := batch.Add(one, 3); r != 0 {
			t.Error(r)
		}
		if r := batch.Add(two, 1); r != 3 {
			t.Error(r)
		}
		batch.Want(0, 3)
		if batch.Rows() != 4 || batch.Active(graph.TokenRows) != 4 || batch.Active(graph.OutputRows) != 2 {
			t.Error(batch)
		}
		if err := p.Run(batch); err != nil {
			t.Fatal(err)
		}
	}
	if one.Len() != 9 || two.Len() != 3 {
		t.Error(one.Len(), two.Len())
	}
}
