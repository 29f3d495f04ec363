package gptoss

import (
	"slices"
	"testing"

	"github.com/seed-796a8800/tritium/graph"
	"github.com/seed-796a8800/tritium/internal/reference"
	"github.com/seed-796a8800/tritium/ops"
)

// subject is a model that every bit-for-bit test runs.
type subject struct {
	name string
	*Checkpoint
}

// subjects are the nano model and odd shapes, dense and ternary. Their windows
// are passed by 100 tokens, but for nano's.
func subjects(t *testing.T) []subject {
	t.Helper()
	shapes := reference.Named()
	all := []subject{{"nano", openNano(t)}}
	for _, name := range []string{"window-16", "full-first", "one-kv-head", "top-3-of-5"} {
		s := shapes[name]
		s.Window = min(s.Window, 16)
		dir := writeShape(t, s)
		q := quantize(t, dir, map[string]recipe{"window-16": withInt8, "full-first": fives, "one-kv-head": planes, "top-3-of-5": twoBits}[name])
		all = append(all, subject{name, open(t, dir)}, subject{name + " ternary", open(t, q.dir)},
			subject{name + " int8", open(t, dir, WithInt8Activations())},
			subject{name + " int8 cache", open(t, dir, WithCache(ops.CacheInt8))})
		if testing.Short() {
			break
		}
	}
	return all
}

func ones(n int) []int { return slices.Repeat([]int{1}, n) }

// How a prompt is cut into batches, how large a batch may be and how many
// threads compute it changes no bit.
func TestChunksAndThreads(t *testing.T) {
	for _, s := range subjects(t) {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			ids := tokens(110, s.Config().Vocab)
			if s.name == "nano" {
				ids = tokens(40, s.Config().Vocab)
			}
			n := len(ids)
			want := alone(t, compile(t, s.Config(), s, newCPU(t, 1), n), ids, n)
			for _, threads := range []int{1, 2, 3} {
				m := compile(t, s.Config(), s, newCPU(t, threads), n)
				for name, chunks := range map[string][]int{
					"whole": {n}, "one by one": ones(n),
					"16+1+2+1": {16, 1, 2, 1, n - 20}, "across the window": {15, 2, 17, n - 34}, "halves": {n / 2, n - n/2},
				} {
					if err := sameBits(alone(t, m, ids, chunks...), want); err != nil {
						t.Errorf("%d threads, %s: %v", threads, name, err)
					}
				}
			}
			m := compile(t, s.Config(), s, newCPU(t, 2), 1)
			if err := sameBits(alone(t, m, ids[:20], ones(20)...), want[:20*s.Config().Vocab]); err != nil {
				t.Errorf("a plan for one row: %v", err)
			}
		})
	}
}

// Sequences in one batch do not see each other.
func TestBatchesOfSequences(t *testing.T) {
	for _, s := range subjects(t) {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			v := s.Config().Vocab
			ids := [][]int32{tokens(40, v), tokens(60, v)[20:], tokens(90, v)[50:]}
			m := compile(t, s.Config(), s, newCPU(t, 2), 64)
			for name, batches := range map[string][][]part{
				"two":         {{{0, 20}, {1, 20}}, {{1, 1}, {0, 1}}, {{0, 19}, {1, 19}}},
				"three":       {{{0, 10}, {1, 3}, {2, 7}}, {{2, 1}, {0, 1}}, {{1, 20}, {2, 5}, {0, 1}}, {{0, 28}, {1, 17}}, {{2, 27}}},
				"interleaved": {{{0, 16}}, {{1, 17}}, {{0, 1}}, {{2, 40}}, {{1, 1}}, {{0, 23}, {1, 22}}},
			} {
				r := newRunner(t, m, 3)
				for _, b := range batches {
					r.run(b, ids)
				}
				for i, seq := range r.seqs {
					if seq.Len() == 0 {
						continue
					}
					if err := sameBits(r.logits[i], alone(t, m, ids[i], 40)); err != nil {
						t.Errorf("%s: sequence %d: %v", name, i, err)
					}
				}
			}
		})
	}
}

// Logits exist for the wanted rows only, and are those of a run that wants all.
func TestOutputs(t *testing.T) {
	for _, s := range subjects(t) {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			v := s.Config().Vocab
			ids := tokens(24, v)
			m := compile(t, s.Config(), s, newCPU(t, 2), 24)
			want := alone(t, m, ids, 24)
			for _, rows := range [][]int{{23}, {0, 5, 23}, {7, 8}, {}} {
				r := newRunner(t, m, 1)
				r.batch.Add(r.seqs[0], 24)
				r.batch.Want(rows...)
				copy(m.Tokens(), ids)
				if err := m.Plan.Run(r.batch); err != nil {
					t.Fatal(err)
				}
				for i, row := range rows {
					if err := sameBits(m.Logits(i), want[row*v:(row+1)*v]); err != nil {
						t.Errorf("row %d of %v: %v", row, rows, err)
					}
				}
			}
			r := newRunner(t, m, 1)
			if err := m.Append(r.batch, r.seqs[0], ids); err != nil {
				t.Fatal(err)
			}
			if err := sameBits(m.Logits(0), want[23*v:]); err != nil {
				t.Errorf("Append: %v", err)
			}
		})
	}
}

// A sequence that forgets its end continues as if that had never been.
func TestTruncate(t *testing.T) {
	t.Parallel()
	s := reference.Named()["window-16"]
	c := open(t, writeShape(t, s))
	m := compile(t, c.Config(), c, newCPU(t, 2), 40)
	ids, other, long := tokens(40, s.Vocab), tokens(80, s.Vocab)[40:], tokens(160, s.Vocab)
	want := alone(t, m, ids, 40)

	r := newRunner(t, m, 1)
	seq := r.seqs[0]
	r.run([]part{{0, 10}}, [][]int32{ids})
	r.run([]part{{0, 6}}, [][]int32{other}) // fills the window
	if err := seq.Truncate(10); err != nil {
		t.Fatal(err)
	}
	r.logits[0] = r.logits[0][:10*s.Vocab]
	r.run([]part{{0, 30}}, [][]int32{ids})
	if err := sameBits(r.logits[0], want); err != nil {
		t.Errorf("after truncating to 10: %v", err)
	}
	if err := seq.Truncate(33); err != nil {
		t.Fatal(err)
	}
	r.logits[0] = r.logits[0][:33*s.Vocab]
	r.run([]part{{0, 7}}, [][]int32{ids})
	if err := sameBits(r.logits[0], want); err != nil {
		t.Errorf("after truncating to 33: %v", err)
	}
	r.run([]part{{0, 40}}, [][]int32{long})
	r.run([]part{{0, 40}}, [][]int32{long})
	r.run([]part{{0, 40}}, [][]int32{long})
	if err := seq.Truncate(30); err == nil {
		t.Error("a ring of 16 was truncated from 160 tokens to 30, whose window it had forgotten")
	}
	r.batch.Reset()
	r.batch.Add(seq, 1)
	if err := m.Plan.Run(r.batch); err == nil {
		t.Error("a sequence whose truncation failed runs")
	}
	if err := seq.Truncate(0); err != nil {
		t.Fatal(err)
	}
	r.logits[0] = nil
	r.run([]part{{0, 40}}, [][]int32{ids})
	if err := sameBits(r.logits[0], want); err != nil {
		t.Errorf("after truncating to 0: %v", err)
	}
}

// A decoded token costs no allocation, once there is room for its sequence.
func TestDecodeAllocatesNothing(t *testing.T) {
	dir := writeShape(t, reference.Named()["window-16"])
	for _, s := range []subject{{"nano", openNano(t)}, {"ternary", open(t, quantize(t, dir, withInt8).dir)}, {"ternary1.6", open(t, quantize(t, dir, fives).dir)}, {"int8", open(t, dir, WithInt8Activations())},
		{"int8 cache", open(t, dir, WithCache(ops.CacheInt8))}} {
		t.Run(s.name, func(t *testing.T) {
			// The runtime allocates now and then, and is counted too: what the
			// model allocates for a token shows in every attempt.
			least := allocationsOf(t, s, 150)
			for range 4 {
				if slices.Max(least) == 0 {
					return
				}
				for i, n := range allocationsOf(t, s, 150) {
					least[i] = min(least[i], n)
				}
			}
			if slices.Max(least) > 0 {
				t.Errorf("allocations by token: %v", least)
			}
		})
	}
}

// allocationsOf counts the allocations of a new plan that decodes tokens, for
// each of them.
func allocationsOf(t *testing.T, s subject, decoded int) (counts []float64) {
	t.Helper()
	m := compile(t, s.Config(), s, newCPU(t, 2), 8)
	seq, err := m.Plan.NewSequence()
	if err != nil {
		t.Fatal(err)
	}
	if err := seq.Reserve(8 + 2*decoded); err != nil { // AllocsPerRun runs once more than it counts
		t.Fatal(err)
	}
	b, one := graph.NewBatch(), []int32{5}
	if err := m.Append(b, seq, tokens(8, 200)); err != nil {
		t.Fatal(err)
	}
	for range decoded { // one by one: an average would round a single one away
		counts = append(counts, testing.AllocsPerRun(1, func() {
			if err := m.Append(b, seq, one); err != nil {
				t.Error(err)
			}
		}))
	}
	return counts
}

// Weights at 1.6 bits give the same logits as stored, expanded to 2 bits, and
// stored at 2 bits. They are expanded once, and freed.
func TestExpandedAgree(t *testing.T) {
	t.Parallel()
	checkExpanded(t, fives, 6)
	checkExpanded(t, fives2, 3) // o and the experts; q, k and v have 2 bits
}

func checkExpanded(t *testing.T, r recipe, perLayer int) {
	shape := reference.Named()["window-16"]
	dir := quantize(t, writeShape(t, shape), r).dir
	ids := tokens(40, shape.Vocab)
	logits := map[bool][]float32{}
	for _, expands := range []bool{false, true} {
		c := open(t, dir, func(c *Checkpoint) { c.expands = expands })
		for range 2 {
			logits[expands] = alone(t, compile(t, c.Config(), c, newCPU(t, 2), len(ids)), ids, len(ids))
		}
		if err := c.CheckFinite(newCPU(t, 2), nil); err != nil {
			t.Error(err)
		}
		if got, want := len(c.expanded), map[bool]int{true: perLayer * c.config.Layers}[expands]; got != want || len(c.memory) != want {
			t.Errorf("expands %t: %d projections in %d pieces of memory, want %d", expands, got, len(c.memory), want)
		}
	}
	if err := sameBits(logits[true], logits[false]); err != nil {
		t.Error(err)
	}
}
