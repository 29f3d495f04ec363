package gptoss

import (
	"testing"

	"github.com/seed-796a8800/tritium/graph"
)

// part is the next n tokens of a sequence.
type part struct{ seq, n int }

// runner runs batches of several sequences through a model and keeps the
// logits of every token.
type runner struct {
	t      testing.TB
	m      *Model
	batch  *graph.Batch
	seqs   []*graph.Sequence
	logits [][]float32 // [sequence][tokens so far · V]
}

func newRunner(t testing.TB, m *Model, sequences int) *runner {
	t.Helper()
	r := &runner{t: t, m: m, batch: graph.NewBatch(), logits: make([][]float32, sequences)}
	for range sequences {
		seq, err := m.Plan.NewSequence()
		if err != nil {
			t.Fatal(err)
		}
		r.seqs = append(r.seqs, seq)
	}
	return r
}

// run runs one batch: the next tokens of some sequences, whose whole prompts
// are ids.
func (r *runner) run(parts []part, ids [][]int32) {
	r.t.Helper()
	r.batch.Reset()
	for _, p := range parts {
		at := r.seqs[p.seq].Len()
		row := r.batch.Add(r.seqs[p.seq], p.n)
		copy(r.m.Tokens()[row:], ids[p.seq][at:at+p.n])
		for i := range p.n {
			r.batch.Want(row + i)
		}
	}
	if err := r.m.Plan.Run(r.batch); err != nil {
		r.t.Fatal(err)
	}
	row := 0
	for _, p := range parts {
		for range p.n {
			r.logits[p.seq] = append(r.logits[p.seq], r.m.Logits(row)...)
			row++
		}
	}
}

// alone returns the logits of every token of a sequence that is run in chunks.
func alone(t testing.TB, m *Model, ids []int32, chunks ...int) []float32 {
	t.Helper()
	r := newRunner(t, m, 1)
	for _, n := range chunks {
		r.run([]part{{0, n}}, [][]int32{ids})
	}
	if got := r.seqs[0].Len(); got != len(ids) {
		t.Fatalf("chunks %v hold %d tokens of %d", chunks, got, len(ids))
	}
	return r.logits[0]
}
