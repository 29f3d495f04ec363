package constrain

import (
	"errors"
	"fmt"
)

// Limits on an automaton. They keep a small description from becoming a large
// one: about 30 bytes a node and 12 an edge.
const (
	maxNodes  = 1 << 17
	maxEdges  = 1 << 19
	maxSource = 1 << 20 // bytes of a schema or a grammar
)

// edge is a step between two nodes of a rule: a byte in [lo, hi], or a call of a
// rule, or neither.
type edge struct {
	to     int32
	rule   int32 // free, or the byte edge's noRule, or a rule
	lo, hi byte
}

const (
	noRule = -1
	free   = -2 // an edge without a step
)

// Automaton is a compiled structure. It is immutable.
type Automaton struct {
	edges  [][]edge // by node
	starts []int32  // by rule
	ends   []int32  // by rule: the one node that a rule ends at
	names  []string // by rule
	ended  []bool   // by node: it is the end of its rule
}

// fragment adds nodes behind one and returns where they end.
type fragment func(b *builder, from int32) int32

// builder puts an automaton together. Rule 0 is the whole text.
type builder struct {
	Automaton
	count int // of edges
	err   error
}

func newBuilder() *builder { return &builder{} }

func (b *builder) fail(err error) {
	if b.err == nil {
		b.err = err
	}
}

var errLarge = errors.New("it becomes too large; lower what is counted, or say less")

// node adds a node. After an error it adds none.
func (b *builder) node() int32 {
	if len(b.edges) >= maxNodes {
		b.fail(errLarge)
	}
	if b.err != nil {
		return 0
	}
	b.edges = append(b.edges, nil)
	return int32(len(b.edges) - 1)
}

func (b *builder) edge(from int32, e edge) {
	if b.count++; b.count > maxEdges {
		b.fail(errLarge)
	}
	if b.err == nil {
		b.edges[from] = append(b.edges[from], e)
	}
}

func (b *builder) skip(from, to int32) { b.edge(from, edge{to: to, rule: free}) }

// declare adds a rule that define will fill.
func (b *builder) declare(name string) int32 {
	b.starts = append(b.starts, b.node())
	b.ends = append(b.ends, b.node())
	b.names = append(b.names, name)
	return int32(len(b.starts) - 1)
}

// define says what a rule is.
func (b *builder) define(rule int32, f fragment) {
	if b.err == nil {
		b.skip(f(b, b.starts[rule]), b.ends[rule])
	}
}

// call is a text of a rule.
func call(rule int32) fragment {
	return func(b *builder, from int32) int32 {
		to := b.node()
		b.edge(from, edge{to: to, rule: rule})
		return to
	}
}

// bytesIn is one byte in [lo, hi].
func bytesIn(lo, hi byte) fragment {
	return func(b *builder, from int32) int32 {
		to := b.node()
		b.edge(from, edge{to: to, rule: noRule, lo: lo, hi: hi})
		return to
	}
}

// literal is a text as it is.
func literal(text string) fragment {
	return func(b *builder, at int32) int32 {
		for i := 0; i < len(text) && b.err == nil; i++ {
			at = bytesIn(text[i], text[i])(b, at)
		}
		return at
	}
}

// sequence is one after the other.
func sequence(fs ...fragment) fragment {
	return func(b *builder, at int32) int32 {
		for _, f := range fs {
			if b.err != nil {
				break
			}
			at = f(b, at)
		}
		return at
	}
}

// choice is any of them; of none there is no text.
func choice(fs ...fragment) fragment {
	return func(b *builder, from int32) int32 {
		to := b.node()
		for _, f := range fs {
			if b.err != nil {
				break
			}
			b.skip(f(b, from), to)
		}
		return to
	}
}

// optional is f or nothing.
func optional(f fragment) fragment { return choice(sequence(), f) }

// repeated is f, at least and at most so many times; most < 0 is any number.
func repeated(f fragment, least, most int) fragment {
	return func(b *builder, at int32) int32 {
		for i := 0; i < least && b.err == nil; i++ {
			at = f(b, at)
		}
		if most < 0 {
			loop := b.node()
			b.skip(at, loop)
			b.skip(f(b, loop), loop)
			at = b.node()
			b.skip(loop, at)
			return at
		}
		to := b.node()
		b.skip(at, to)
		for i := least; i < most && b.err == nil; i++ {
			at = f(b, at)
			b.skip(at, to)
		}
		return to
	}
}

// finish checks the automaton and takes out what leads nowhere.
func (b *builder) finish() (*Automaton, error) {
	if b.err != nil {
		return nil, b.err
	}
	b.ended = make([]bool, len(b.edges))
	for _, n := range b.ends {
		b.ended[n] = true
	}
	live := b.productive()
	if !live[b.starts[0]] {
		return nil, errors.New("no text can satisfy it")
	}
	for n := range b.edges {
		kept := b.edges[n][:0]
		for _, e := range b.edges[n] {
			if live[e.to] && (e.rule < 0 || live[b.starts[e.rule]]) {
				kept = append(kept, e)
			}
		}
		b.edges[n] = kept
	}
	if rule := b.leftRecursive(); rule >= 0 {
		return nil, fmt.Errorf("%s begins with itself, without a character in between", b.names[rule])
	}
	a := b.Automaton
	return &a, nil
}

// productive says of which nodes the end of their rule can be reached.
func (b *builder) productive() []bool {
	type source struct{ node, call int32 } // from where, and by a call of what
	into := make([][]source, len(b.edges)) // by the node that must be live first
	ruleOf := map[int32]int32{}
	for r, n := range b.starts {
		ruleOf[n] = int32(r)
	}
	callers := make([][]edge, len(b.starts)) // to: the caller's node, rule: where it goes on
	for n, edges := range b.edges {
		for _, e := range edges {
			into[e.to] = append(into[e.to], source{int32(n), e.rule})
			if e.rule >= 0 {
				callers[e.rule] = append(callers[e.rule], edge{to: int32(n), rule: e.to})
			}
		}
	}
	live := make([]bool, len(b.edges))
	var queue []int32
	mark := func(n int32) {
		if !live[n] {
			live[n] = true
			queue = append(queue, n)
		}
	}
	for _, n := range b.ends {
		mark(n)
	}
	for len(queue) > 0 {
		n := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		for _, s := range into[n] {
			if s.call < 0 || live[b.starts[s.call]] {
				mark(s.node)
			}
		}
		if r, ok := ruleOf[n]; ok {
			for _, c := range callers[r] {
				if live[c.rule] {
					mark(c.to)
				}
			}
		}
	}
	return live
}

// nullable says which rules have the empty text, by the nodes that are reached
// without a byte.
func (b *builder) nullable() []bool {
	empty := make([]bool, len(b.starts))
	for changed := true; changed; {
		changed = false
		for r := range b.starts {
			if !empty[r] && b.silent(int32(r), empty, nil) {
				empty[r], changed = true, true
			}
		}
	}
	return empty
}

// silent walks a rule without a byte, tells of every rule that it may call, and
// says whether it reaches the end.
func (b *builder) silent(rule int32, empty []bool, called func(int32)) (ends bool) {
	seen := map[int32]bool{}
	stack := []int32{b.starts[rule]}
	for len(stack) > 0 {
		n := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if seen[n] {
			continue
		}
		seen[n] = true
		ends = ends || n == b.ends[rule]
		for _, e := range b.edges[n] {
			if e.rule >= 0 && called != nil {
				called(e.rule)
			}
			if e.rule == free || e.rule >= 0 && empty[e.rule] {
				stack = append(stack, e.to)
			}
		}
	}
	return ends
}

// leftRecursive returns a rule that calls itself before any byte, or -1.
func (b *builder) leftRecursive() int32 {
	empty := b.nullable()
	calls := make([][]int32, len(b.starts))
	for r := range b.starts {
		b.silent(int32(r), empty, func(c int32) { calls[r] = append(calls[r], c) })
	}
	state := make([]uint8, len(b.starts)) // 1: open, 2: done
	var visit func(r int32) int32
	visit = func(r int32) int32 {
		state[r] = 1
		for _, c := range calls[r] {
			if state[c] == 1 {
				return c
			}
			if state[c] == 0 {
				if found := visit(c); found >= 0 {
					return found
				}
			}
		}
		state[r] = 2
		return -1
	}
	for r := range b.starts {
		if state[r] == 0 {
			if found := visit(int32(r)); found >= 0 {
				return found
			}
		}
	}
	return -1
}
