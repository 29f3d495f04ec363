package ops

import (
	"slices"

	"github.com/seed-796a8800/tritium/graph"
	"github.com/seed-796a8800/tritium/internal/routing"
)

// expertScratch is what the steps of expert products share.
type expertScratch struct {
	products
	routes  []*routes
	workers []expertRoom
	list    []product
	cuts    []expertBlock
}

// expertRoom is one worker's: the rows of a block, and what becomes of them.
type expertRoom struct{ x, y []float32 }

// routes finds the rows of each expert: its entries, which are pairs of a token
// and one of its slots.
type routes struct {
	as      *routing.Assignment
	tokens  int
	routed  []float32 // that it was built from
	rowOf   []int32   // by entry: its row where there is one for each slot, [T, A]
	entryOf []int32   // by such a row: its entry, or -1
}

// expertRows is what one step works with.
type expertRows struct {
	*routes
	*expertScratch
}

// rows prepares scratch memory, also for blocks of rows of in elements that
// become rows of out.
func (s *expertShape) rows(a *graph.Args, cpu *graph.CPU, experts, in, out int) *expertRows {
	m := &expertRows{expertScratch: graph.Shared[expertScratch](a)}
	for _, r := range m.expertScratch.routes {
		if r.as.Experts == experts && r.as.Slots == s.active && len(r.rowOf) == a.MaxRows*s.active {
			m.routes = r
		}
	}
	if m.routes == nil {
		m.routes = &routes{as: routing.New(a.MaxRows, experts, s.active),
			rowOf: make([]int32, a.MaxRows*s.active), entryOf: make([]int32, a.MaxRows*s.active)}
		m.expertScratch.routes = append(m.expertScratch.routes, m.routes)
	}
	if m.workers == nil {
		m.workers = make([]expertRoom, cpu.Threads())
	}
	for i := range m.workers {
		w := &m.workers[i]
		w.x, w.y = grow(w.x, productRows*in), grow(w.y, productRows*min(out, expertCols))
	}
	return m
}

// build reads the routing of a batch. The products of a layer and their
// derivatives, one after the other, have the same, and it is read by one
// thread: comparing it with the last one is faster than reading it again.
func (r *routes) build(routed []float32, tokens int) error {
	routed = routed[:tokens*r.as.Experts]
	if tokens > 0 && slices.Equal(routed, r.routed) {
		return nil
	}
	r.routed = r.routed[:0]
	if err := r.as.Build(routed, tokens); err != nil {
		return err
	}
	r.tokens, r.routed = tokens, append(r.routed, routed...)
	if r.entries() < tokens*r.as.Slots {
		for i := range r.entryOf {
			r.entryOf[i] = -1
		}
	}
	for i := range r.entries() {
		row := r.as.Tokens[i]*int32(r.as.Slots) + r.as.Slot[i]
		r.rowOf[i], r.entryOf[row] = row, int32(i)
	}
	return nil
}

// entries is the number of (token, active expert) pairs.
func (r *routes) entries() int { return int(r.as.Start[r.as.Experts]) }

// groups calls f for one group of experts with tokens after the other, each as
// large as fits allows, but at least one.
func (m *expertRows) groups(fits func(experts, entries int) bool, f func(experts []int32)) {
	active := m.as.Active
	for len(active) > 0 {
		n := 1
		for n < len(active) && fits(n+1, int(m.as.Start[active[n]+1]-m.as.Start[active[0]])) {
			n++
		}
		f(active[:n])
		active = active[n:]
	}
}

// expertCols is the most columns of a block.
const expertCols = 768

// expertBlock is some entries of one expert, and some columns of its output.
type expertBlock struct {
	place, expert int // of the expert in its group, and among all
	lo, hi        int // entries
	left, right   int // columns
}

// cut lists the blocks of some experts. The list is valid until the next call.
func (m *expertRows) cut(experts []int32, width int) []expertBlock {
	m.cuts = m.cuts[:0]
	for place, e := range experts {
		last := int(m.as.Start[e+1])
		for left := 0; left < width; left += expertCols {
			for lo := int(m.as.Start[e]); lo < last; lo += productRows {
				m.cuts = append(m.cuts, expertBlock{place, int(e), lo, min(last, lo+productRows), left, min(width, left+expertCols)})
			}
		}
	}
	return m.cuts
}

// sources are the rows of a block's inputs: of its tokens, or of their slots.
func (m *expertRows) sources(k *expertBlock, perSlot bool) []int32 {
	if perSlot {
		return m.rowOf[k.lo:k.hi]
	}
	return m.as.Tokens[k.lo:k.hi]
}

// gather copies the inputs of a block, row by row.
func (m *expertRows) gather(dst, src []float32, width int, k *expertBlock, perSlot bool) {
	for i, row := range m.sources(k, perSlot) {
		copy(dst[i*width:(i+1)*width], src[int(row)*width:])
	}
}

// scatter copies the outputs of a block to where they belong.
//
// Shapes: dst [T, A, width], src [hi-lo, right-left].
func (m *expertRows) scatter(dst, src []float32, width int, k *expertBlock) {
	n := k.right - k.left
	for i, row := range m.rowOf[k.lo:k.hi] {
		copy(dst[int(row)*width+k.left:int(row)*width+k.right], src[i*n:])
	}
}

// clearIdle clears the slots that no expert fills.
//
// Shapes: dst [T, A, width].
func (m *expertRows) clearIdle(dst []float32, width int) {
	if m.entries() == m.tokens*m.as.Slots {
		return
	}
	for row, entry := range m.entryOf[:m.tokens*m.as.Slots] {
		if entry < 0 {
			clear(dst[row*width : (row+1)*width])
		}
	}
}
