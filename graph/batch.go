package graph

import "fmt"

// A Batch says what the rows of one run are: consecutive tokens of one or more
// sequences. Attention reads the segments; every other operator sees rows.
// Make one with NewBatch, fill it, run it, Reset it; a reused batch does not
// allocate.
type Batch struct {
	Segments []Segment
	// Outputs lists, in increasing order, the rows whose results are wanted
	// after a RowSelector (for a language model: the rows to give logits for).
	Outputs []int

	rows int
}

// A Segment is a run of consecutive tokens of one sequence.
type Segment struct {
	Sequence *Sequence
	Start    int // position of the first token in its sequence
	Row      int // row of the first token in the batch
	Len      int // number of tokens
}

// NewBatch returns an empty batch.
func NewBatch() *Batch { return &Batch{} }

// Reset empties the batch.
func (b *Batch) Reset() {
	clear(b.Segments)
	b.Segments, b.Outputs, b.rows = b.Segments[:0], b.Outputs[:0], 0
}

// Add appends the next tokens of a sequence and returns the row of the first.
// A sequence may be in a batch once.
func (b *Batch) Add(seq *Sequence, tokens int) (row int) {
	row = b.rows
	s := Segment{Sequence: seq, Row: row, Len: tokens}
	if seq != nil { // Run refuses it
		s.Start = seq.length
	}
	b.Segments = append(b.Segments, s)
	b.rows += tokens
	return row
}

// Want appends rows to Outputs.
func (b *Batch) Want(rows ...int) { b.Outputs = append(b.Outputs, rows...) }

// Rows returns the number of rows.
func (b *Batch) Rows() int { return b.rows }

// Active returns how many rows of a node hold something.
func (b *Batch) Active(rows RowSet) int {
	if rows == OutputRows {
		return len(b.Outputs)
	}
	return b.rows
}

// check refuses what a step could not survive.
func (b *Batch) check(p *Plan) error {
	if b.rows < 1 || b.rows > p.maxRows {
		return fmt.Errorf("graph: a batch of %d rows; the plan takes 1 to %d", b.rows, p.maxRows)
	}
	row := 0
	for i, s := range b.Segments {
		switch {
		case s.Sequence == nil || s.Sequence.plan != p:
			return fmt.Errorf("graph: segment %d: its sequence is not one of this plan", i)
		case s.Sequence.torn:
			return fmt.Errorf("graph: segment %d: %w", i, errTorn)
		case s.Len < 1 || s.Row != row:
			return fmt.Errorf("graph: segment %d: %d tokens at row %d, want at least one at row %d", i, s.Len, s.Row, row)
		case s.Start != s.Sequence.length:
			return fmt.Errorf("graph: segment %d starts at position %d of a sequence of %d tokens", i, s.Start, s.Sequence.length)
		}
		for _, t := range b.Segments[:i] {
			if t.Sequence == s.Sequence {
				return fmt.Errorf("graph: segment %d: its sequence is in the batch twice", i)
			}
		}
		row += s.Len
	}
	if row != b.rows {
		return fmt.Errorf("graph: segments hold %d rows of %d", row, b.rows)
	}
	last := -1
	for _, r := range b.Outputs {
		if r <= last || r >= b.rows {
			return fmt.Errorf("graph: output row %d after %d in a batch of %d rows", r, last, b.rows)
		}
		last = r
	}
	return nil
}

// wholeBatch is one new sequence that fills every row, all of them wanted.
func wholeBatch(rows int, seq *Sequence) *Batch {
	b := NewBatch()
	b.Add(seq, rows)
	for r := range rows {
		b.Want(r)
	}
	return b
}
