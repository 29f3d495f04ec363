package graph

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

// A Sequence is a growing list of tokens and what the stateful kernels of one
// plan remember of them. Make one with Plan.NewSequence. It may be used by one
// goroutine at a time.
type Sequence struct {
	plan     *Plan
	states   []State
	length   int
	reserved int
	kept     int  // Truncate to this length succeeds
	torn     bool // a run, a truncation or a load stopped half way
}

// Len returns the number of tokens that runs have appended.
func (s *Sequence) Len() int { return s.length }

// State returns what the kernel prepared with Args.State = slot keeps.
func (s *Sequence) State(slot int) State { return s.states[slot] }

// Reserve makes room for n tokens in all, so that runs up to there do not
// allocate.
func (s *Sequence) Reserve(n int) error {
	if n <= s.reserved {
		return nil
	}
	for _, st := range s.states {
		if err := st.Reserve(n); err != nil {
			return err
		}
	}
	s.reserved = n
	return nil
}

// grow reserves half as much again where there is no room for n tokens, so
// that a sequence that grows token by token allocates rarely.
func (s *Sequence) grow(n int) error {
	if n <= s.reserved {
		return nil
	}
	return s.Reserve(max(n, s.reserved+s.reserved/2))
}

// errTorn is for what needs a sequence that is whole.
var errTorn = errors.New("a run, a truncation or a load of its sequence failed; truncate it first")

// Truncate forgets the tokens at positions n and later, and whatever a run
// that failed left behind. Where a kernel cannot forget exactly it fails, and
// the sequence is unusable until it is truncated to 0, which always succeeds.
func (s *Sequence) Truncate(n int) error {
	if n < 0 || n > s.length {
		return fmt.Errorf("graph: truncating a sequence of %d tokens to %d", s.length, n)
	}
	s.torn = true
	for _, st := range s.states {
		if err := st.Truncate(n); err != nil {
			return err
		}
	}
	s.length, s.torn = n, false
	s.kept = min(s.kept, n)
	return nil
}

// Keep makes Truncate to the present length succeed, whatever is appended
// behind it, until another Keep, or a Truncate to less. A fork and a load keep
// nothing.
func (s *Sequence) Keep() {
	if s.torn {
		return
	}
	for _, st := range s.states {
		if k, ok := st.(Keeper); ok {
			k.Keep()
		}
	}
	s.kept = s.length
}

// Kept returns the length that Keep was called at, or less where the sequence
// was truncated to less since: 0 if it never was.
func (s *Sequence) Kept() int { return s.kept }

// Fork returns a sequence of the same tokens that is independent of s: what is
// run on either changes nothing of the other.
//
// Errors: a sequence that must be truncated first.
func (s *Sequence) Fork() (*Sequence, error) {
	if s.torn {
		return nil, fmt.Errorf("graph: fork: %w", errTorn)
	}
	f := &Sequence{plan: s.plan, states: make([]State, len(s.states)), length: s.length, reserved: s.length}
	for i, st := range s.states {
		var err error
		if f.states[i], err = st.Fork(); err != nil {
			return nil, fmt.Errorf("graph: fork: %w", err)
		}
	}
	return f, nil
}

// savedMagic begins a saved sequence; its last byte is the version.
const savedMagic = "tritseq\x01"

// savedHeader follows the magic, little-endian.
type savedHeader struct {
	Plan   uint64 // Plan.Hash
	States uint32
	Length uint64 // tokens
}

// savedStates stands behind the states, so that one that reads less or more
// than it wrote is noticed.
const savedStates uint32 = 0x73746174

// Save writes the sequence so that Load continues it, here or on another
// machine, with the same bits: "tritseq" and a version byte; the plan's hash
// (8 bytes), the number of states (4) and of tokens (8), little-endian; what
// each state saves; a closing mark (4).
//
// Errors: a sequence that must be truncated first; the writer's.
func (s *Sequence) Save(w io.Writer) error {
	if s.torn {
		return fmt.Errorf("graph: save: %w", errTorn)
	}
	if _, err := io.WriteString(w, savedMagic); err != nil {
		return fmt.Errorf("graph: save: %w", err)
	}
	err := binary.Write(w, binary.LittleEndian, savedHeader{s.plan.hash, uint32(len(s.states)), uint64(s.length)})
	for i := 0; i < len(s.states) && err == nil; i++ {
		err = s.states[i].Save(w)
	}
	if err == nil {
		err = binary.Write(w, binary.LittleEndian, savedStates)
	}
	if err != nil {
		return fmt.Errorf("graph: save: %w", err)
	}
	return nil
}

// Load replaces the sequence by one that Save wrote for a plan of the same
// operators. It reads that and no more. Len is then what the stream says; who
// does not trust the stream compares it with the tokens known before running.
//
// Errors: a stream of something else, of another version or of a plan with
// other operators, one that is cut off or broken. After an error the sequence
// can only be truncated to 0.
func (s *Sequence) Load(r io.Reader) error {
	s.torn, s.length, s.reserved, s.kept = true, 0, 0, 0
	length, err := s.load(r)
	if errors.Is(err, io.EOF) { // wherever it ends, it ends too early
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return fmt.Errorf("graph: load: %w", err)
	}
	s.torn, s.length = false, length
	return nil
}

func (s *Sequence) load(r io.Reader) (length int, err error) {
	magic := make([]byte, len(savedMagic))
	if _, err := io.ReadFull(r, magic); err != nil {
		return 0, err
	}
	if string(magic) != savedMagic {
		return 0, fmt.Errorf("not a sequence that this version saved: it begins with %q", magic)
	}
	var h savedHeader
	if err := binary.Read(r, binary.LittleEndian, &h); err != nil {
		return 0, err
	}
	switch {
	case h.Plan != s.plan.hash || int(h.States) != len(s.states):
		return 0, errors.New("a sequence of a plan with other operators")
	case h.Length > math.MaxInt32:
		return 0, fmt.Errorf("a sequence of %d tokens", h.Length)
	}
	for i, st := range s.states {
		if err := st.Load(r, int(h.Length)); err != nil {
			return 0, fmt.Errorf("state %d of %d: %w", i+1, len(s.states), err)
		}
	}
	var mark uint32
	if err := binary.Read(r, binary.LittleEndian, &mark); err != nil {
		return 0, err
	}
	if mark != savedStates {
		return 0, errors.New("broken: the states end elsewhere than they should")
	}
	return int(h.Length), nil
}
