package constrain

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"slices"
)

// Matcher walks an automaton along a text, token by token. It is what a
// gptoss.Chat takes as its constraint. It is for one text at a time.
type Matcher struct {
	a     *Automaton
	vocab *Vocabulary
	text  [][]byte // the bytes of tokens, by id

	frames  []frame
	framed  map[frame]int32
	states  []*state
	known   map[string]int32
	locals  map[string]*local
	current int32
	masks   int // how many states have one
	key     []byte
	sets    []config // scratch
	queue   []config
}

// frame is a call that has not returned: where it goes on, and what called
// the caller.
type frame struct{ node, parent int32 }

// Frames that no call made.
const (
	outside int32 = iota // a return to it ends the text
	beyond               // a return to it leaves what is known
)

// config is a place in the automaton.
type config struct{ node, frame int32 }

// state is all places that a text may have led to. Those that only lead on
// without a byte are left out.
type state struct {
	configs []config
	done    bool // the text is complete
	leaves  bool // it may have returned beyond
	next    [256]int32
	mask    []uint64
}

const (
	unknown = 0 // of state.next: not looked at
	dead    = 1 // the state without places
)

// Limits on what one matcher holds. When it has more it begins anew, which
// takes time and changes nothing.
const (
	maxStates  = 1 << 14 // 1.1 KB each, and their places
	maxMasks   = 512     // 25 KB each for 201,088 tokens
	maxConfigs = 1 << 12
)

var errAmbiguous = errors.New("constrain: the structure is too ambiguous: the text may be in more than 4096 places of it")

// NewMatcher returns a matcher at the beginning of a text.
func NewMatcher(a *Automaton, v *Vocabulary) *Matcher {
	m := &Matcher{a: a, vocab: v, text: make([][]byte, v.size)}
	m.spell(0, nil)
	m.forget()
	return m
}

// spell fills in the bytes of the tokens below a node.
func (m *Matcher) spell(at int32, prefix []byte) {
	n := &m.vocab.nodes[at]
	if n.token >= 0 {
		m.text[n.token] = slices.Clone(prefix)
	}
	for c := n.first; c < n.first+n.count; c++ {
		m.spell(c, append(prefix, m.vocab.nodes[c].b))
	}
}

// forget drops all states, and begins a text.
func (m *Matcher) forget() {
	m.frames = append(m.frames[:0], frame{-1, -1}, frame{-1, -2})
	m.framed = map[frame]int32{}
	m.known, m.locals, m.masks = map[string]int32{}, map[string]*local{}, 0
	m.states = append(m.states[:0], nil, &state{}) // unknown, dead
	m.Reset()
}

// Reset begins a text.
func (m *Matcher) Reset() {
	m.current, _ = m.close([]config{{m.a.starts[0], outside}})
}

// push returns the frame of a call.
func (m *Matcher) push(f frame) int32 {
	if i, ok := m.framed[f]; ok {
		return i
	}
	m.frames = append(m.frames, f)
	m.framed[f] = int32(len(m.frames) - 1)
	return int32(len(m.frames) - 1)
}

// close returns the state of all places that are reached from some without a
// byte.
func (m *Matcher) close(from []config) (int32, error) {
	s := state{}
	seen := map[config]bool{}
	m.queue = append(m.queue[:0], from...)
	for len(m.queue) > 0 {
		c := m.queue[len(m.queue)-1]
		m.queue = m.queue[:len(m.queue)-1]
		if seen[c] {
			continue
		}
		if len(seen) >= 4*maxConfigs || len(s.configs) >= maxConfigs {
			return dead, errAmbiguous
		}
		seen[c] = true
		reads := false
		for _, e := range m.a.edges[c.node] {
			switch {
			case e.rule == free:
				m.queue = append(m.queue, config{e.to, c.frame})
			case e.rule == noRule:
				reads = true
			default:
				m.queue = append(m.queue, config{m.a.starts[e.rule], m.enter(e.to, c.frame)})
			}
		}
		if reads {
			s.configs = append(s.configs, c)
		}
		if m.a.ended[c.node] {
			switch c.frame {
			case outside:
				s.done = true
			case beyond:
				s.leaves = true
			default:
				f := m.frames[c.frame]
				m.queue = append(m.queue, config{f.node, f.parent})
			}
		}
	}
	return m.intern(&s), nil
}

// enter returns the frame of a call that goes on at a node: the caller's own
// where nothing is left to do there.
func (m *Matcher) enter(node, caller int32) int32 {
	for len(m.a.edges[node]) == 1 && m.a.edges[node][0].rule == free && !m.a.ended[node] {
		node = m.a.edges[node][0].to
	}
	if m.a.ended[node] && len(m.a.edges[node]) == 0 {
		return caller
	}
	return m.push(frame{node, caller})
}

// intern returns the number of a state.
func (m *Matcher) intern(s *state) int32 {
	slices.SortFunc(s.configs, func(a, b config) int {
		if a.node != b.node {
			return int(a.node) - int(b.node)
		}
		return int(a.frame) - int(b.frame)
	})
	m.key = m.key[:0]
	for _, c := range s.configs {
		m.key = binary.LittleEndian.AppendUint32(m.key, uint32(c.node))
		m.key = binary.LittleEndian.AppendUint32(m.key, uint32(c.frame))
	}
	flags := byte(0)
	if s.done {
		flags |= 1
	}
	if s.leaves {
		flags |= 2
	}
	m.key = append(m.key, flags)
	if len(m.key) == 1 && flags == 0 {
		return dead
	}
	if i, ok := m.known[string(m.key)]; ok {
		return i
	}
	m.states = append(m.states, s)
	m.known[string(m.key)] = int32(len(m.states) - 1)
	return int32(len(m.states) - 1)
}

// step returns the state behind one more byte.
func (m *Matcher) step(at int32, b byte) int32 {
	s := m.states[at]
	if next := s.next[b]; next != unknown {
		return next
	}
	m.sets = m.sets[:0]
	for _, c := range s.configs {
		for _, e := range m.a.edges[c.node] {
			if e.rule == noRule && e.lo <= b && b <= e.hi {
				m.sets = append(m.sets, config{e.to, c.frame})
			}
		}
	}
	next := int32(dead)
	if len(m.sets) > 0 {
		next, _ = m.close(m.sets) // what is too ambiguous is not allowed
	}
	s.next[b] = next
	return next
}

// Accept takes the token that follows.
//
// Errors: a token that is not allowed.
func (m *Matcher) Accept(id int32) error {
	if id < 0 || int(id) >= len(m.text) || m.text[id] == nil {
		return fmt.Errorf("constrain: token %d is not of text", id)
	}
	at := m.current
	for _, b := range m.text[id] {
		if at = m.step(at, b); at == dead {
			return fmt.Errorf("constrain: token %d (%q) is not allowed here", id, m.text[id])
		}
	}
	m.current = at
	if len(m.states) > maxStates || m.masks > maxMasks {
		m.compact()
	}
	return nil
}

// compact drops all states but the current one, and all frames but its own.
func (m *Matcher) compact() {
	s := m.states[m.current]
	old := m.frames
	m.frames = append([]frame(nil), frame{-1, -1}, frame{-1, -2})
	m.framed = map[frame]int32{}
	var move func(f int32) int32
	move = func(f int32) int32 {
		if f <= beyond {
			return f
		}
		return m.push(frame{old[f].node, move(old[f].parent)})
	}
	m.known, m.locals, m.masks = map[string]int32{}, map[string]*local{}, 0
	m.states = append(m.states[:0:0], nil, &state{})
	kept := &state{done: s.done}
	for _, c := range s.configs {
		kept.configs = append(kept.configs, config{c.node, move(c.frame)})
	}
	m.current = m.intern(kept)
}

// Allowed returns a bit for every token that may follow, and whether the text
// may end here. The slice is the matcher's.
func (m *Matcher) Allowed() (allowed []uint64, done bool) {
	s := m.states[m.current]
	if s.mask == nil {
		s.mask = m.mask(m.current)
		m.masks++
	}
	return s.mask, s.done
}

// Done says whether the text may end here.
func (m *Matcher) Done() bool { return m.states[m.current].done }

// local is what is allowed in some places, whoever called them.
type local struct {
	mask   []uint64
	leaves []int32 // nodes of the vocabulary at which the rule may have ended
}

// mask finds the tokens that a state allows.
func (m *Matcher) mask(at int32) []uint64 {
	mask := make([]uint64, (m.vocab.size+63)/64)
	s := m.states[at]
	caller, one := oneCaller(s.configs)
	if !one || caller <= beyond {
		m.walk(0, at, mask, nil)
		return mask
	}
	l := m.local(s.configs)
	copy(mask, l.mask)
	f := m.frames[caller]
	behind, _ := m.close([]config{{f.node, f.parent}})
	for _, n := range l.leaves {
		m.walk(n, behind, mask, nil)
	}
	return mask
}

// oneCaller returns the frame that all places have, if it is one.
func oneCaller(configs []config) (caller int32, one bool) {
	if len(configs) == 0 {
		return 0, false
	}
	for _, c := range configs {
		if c.frame != configs[0].frame {
			return 0, false
		}
	}
	return configs[0].frame, true
}

// local finds what is allowed before these places' rules return.
func (m *Matcher) local(configs []config) *local {
	s := state{}
	key := make([]byte, 0, 4*len(configs))
	for _, c := range configs {
		s.configs = append(s.configs, config{c.node, beyond})
		key = binary.LittleEndian.AppendUint32(key, uint32(c.node))
	}
	if l, ok := m.locals[string(key)]; ok {
		return l
	}
	l := &local{mask: make([]uint64, (m.vocab.size+63)/64)}
	m.walk(0, m.intern(&s), l.mask, &l.leaves)
	m.locals[string(key)] = l
	m.masks++
	return l
}

// walk sets the bits of the tokens below a node of the vocabulary that lead
// from a state to another, and notes at which nodes it may have left.
func (m *Matcher) walk(node, at int32, mask []uint64, leaves *[]int32) {
	n := &m.vocab.nodes[node]
	for c := n.first; c < n.first+n.count; c++ {
		child := &m.vocab.nodes[c]
		next := m.step(at, child.b)
		if next == dead {
			continue
		}
		if child.token >= 0 {
			mask[child.token/64] |= 1 << (child.token % 64)
		}
		s := m.states[next]
		if s.leaves && leaves != nil {
			*leaves = append(*leaves, c)
		}
		if child.count > 0 && len(s.configs) > 0 {
			m.walk(c, next, mask, leaves)
		}
	}
}

// count returns how many tokens a mask has.
func count(mask []uint64) (n int) {
	for _, w := range mask {
		n += bits.OnesCount64(w)
	}
	return n
}
