package tokenizer

// pair packs two adjacent token ids, the left one in the high half.
type pair uint64

func pairOf(left, right int32) pair { return pair(uint64(uint32(left))<<32 | uint64(uint32(right))) }

// merge is what a pair becomes. Of all the merges possible in a piece the one with the lowest rank is next, of those
// with equal rank the leftmost.
type merge struct{ rank, id int32 }

// noMerge ranks behind every merge.
var noMerge = merge{rank: maxMerges, id: -1}

func (t *Tokenizer) mergeOf(left, right int32) merge {
	if m, ok := t.merges[pairOf(left, right)]; ok {
		return m
	}
	return noMerge
}

// shortPiece is the longest piece, in bytes, that is merged by scanning. It is where the quadratic scan over a few cache
// lines stops to be cheaper than a heap.
const shortPiece = 64

// appendShort merges a piece of 2..shortPiece bytes, rescanning for the best pair after each merge.
func (t *Tokenizer) appendShort(dst []int32, piece string) []int32 {
	var ids [shortPiece]int32
	var next [shortPiece]merge // next[i] merges ids[i] with ids[i+1]
	n := len(piece)
	for i := range n {
		ids[i] = t.byteID[piece[i]]
	}
	for i := range n - 1 {
		next[i] = t.mergeOf(ids[i], ids[i+1])
	}
	for n > 1 {
		best := 0
		for i := 1; i < n-1; i++ {
			if next[i].rank < next[best].rank {
				best = i
			}
		}
		if next[best].rank == noMerge.rank {
			break
		}
		ids[best] = next[best].id
		copy(ids[best+1:n-1], ids[best+2:n])
		copy(next[best:n-2], next[best+1:n-1])
		n--
		if best > 0 {
			next[best-1] = t.mergeOf(ids[best-1], ids[best])
		}
		if best < n-1 {
			next[best] = t.mergeOf(ids[best], ids[best+1])
		}
	}
	return append(dst, ids[:n]...)
}

// appendLong merges a piece of any length in O(n log n).
func (t *Tokenizer) appendLong(dst []int32, piece string) []int32 {
	l := newMergeList(t, piece)
	for l.step() {
	}
	for i := 0; i < len(l.parts); i = l.parts[i].right {
		dst = append(dst, l.parts[i].id)
	}
	return dst
}

// mergeList is a doubly linked list of the tokens of one piece with a heap of its possible merges.
type mergeList struct {
	t     *Tokenizer
	parts []part
	heap  []candidate
}

// part is one token. Parts stay at the index of their first byte; a merge drops its right part from the list.
type part struct {
	left, right int // neighbours; -1 and len(parts) at the ends
	id          int32
	next        merge // with the right neighbour
}

// candidate is a merge, rank in the high 24 bits and index of its left part in the low 40, so that candidates compare in
// the order they are due. It is stale, and skipped, once that part's next merge has another rank.
type candidate uint64

const candidateIndexBits = 40

func newMergeList(t *Tokenizer, piece string) *mergeList {
	l := &mergeList{t: t, parts: make([]part, len(piece)), heap: make([]candidate, 0, len(piece))}
	for i := range l.parts {
		l.parts[i] = part{left: i - 1, right: i + 1, id: t.byteID[piece[i]], next: noMerge}
	}
	for i := range l.parts {
		l.refresh(i)
	}
	return l
}

// refresh looks up the merge of part i with its right neighbour and queues it.
func (l *mergeList) refresh(i int) {
	p := &l.parts[i]
	p.next = noMerge
	if p.right == len(l.parts) {
		return
	}
	p.next = l.t.mergeOf(p.id, l.parts[p.right].id)
	if p.next.rank != noMerge.rank {
		l.push(candidate(uint64(p.next.rank)<<candidateIndexBits | uint64(i)))
	}
}

// step handles the first candidate and returns false when there is none. A piece of n bytes takes fewer than 3n steps:
// n-1 candidates to start with and two for each of at most n-1 merges.
func (l *mergeList) step() bool {
	if len(l.heap) == 0 {
		return false
	}
	c := l.pop()
	i := int(c & (1<<candidateIndexBits - 1))
	p := &l.parts[i]
	if p.next.rank != int32(c>>candidateIndexBits) {
		return true
	}
	gone := p.right
	p.id = p.next.id
	p.right = l.parts[gone].right
	l.parts[gone].next = noMerge
	if p.right < len(l.parts) {
		l.parts[p.right].left = i
	}
	l.refresh(i)
	if p.left >= 0 {
		l.refresh(p.left)
	}
	return true
}

// push and pop are the usual binary heap; container/heap would box every candidate.
func (l *mergeList) push(c candidate) {
	h := append(l.heap, c)
	i := len(h) - 1
	for i > 0 {
		up := (i - 1) / 2
		if h[up] <= c {
			break
		}
		h[i] = h[up]
		i = up
	}
	h[i] = c
	l.heap = h
}

func (l *mergeList) pop() candidate {
	h := l.heap
	top, c := h[0], h[len(h)-1]
	h = h[:len(h)-1]
	l.heap = h
	i := 0
	for {
		down := 2*i + 1
		if down >= len(h) {
			break
		}
		if down+1 < len(h) && h[down+1] < h[down] {
			down++
		}
		if c <= h[down] {
			break
		}
		h[i] = h[down]
		i = down
	}
	if len(h) > 0 {
		h[i] = c
	}
	return top
}
