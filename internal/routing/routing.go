// Package routing groups the tokens of a batch by the experts they are routed
// to. The dense and the ternary experts and the quantizer's statistics all see
// a routing matrix through it.
package routing

import "fmt"

// Assignment lists, expert by expert, which tokens of a batch it is given and
// which of the token's slots it fills. An expert is active for a token where
// its routing weight is not zero; a token's active experts fill its slots in
// increasing order of expert.
type Assignment struct {
	Experts, Slots int
	// Tokens and Slot hold one entry per (token, active expert), grouped by
	// expert and in order of token within an expert: entries
	// [Start[e], Start[e+1]) are expert e's.
	Tokens, Slot []int32
	Start        []int32
	// Active lists the experts that have tokens.
	Active []int32

	next []int32
}

// New returns an assignment for up to maxRows tokens, each with at most slots
// active experts. Build allocates nothing.
func New(maxRows, experts, slots int) *Assignment {
	return &Assignment{
		Experts: experts, Slots: slots,
		Tokens: make([]int32, maxRows*slots), Slot: make([]int32, maxRows*slots),
		Start: make([]int32, experts+1), Active: make([]int32, 0, experts),
		next: make([]int32, experts),
	}
}

// Build reads a routing matrix [rows, Experts].
//
// Errors: a token with more active experts than slots, a NaN.
func (a *Assignment) Build(routing []float32, rows int) error {
	e := a.Experts
	clear(a.next)
	for t := range rows {
		n := 0
		for i, w := range routing[t*e : (t+1)*e] {
			if w != w {
				return fmt.Errorf("token %d: the routing weight of expert %d is not a number", t, i)
			}
			if w != 0 {
				a.next[i]++
				n++
			}
		}
		if n > a.Slots {
			return fmt.Errorf("token %d is routed to %d experts, at most %d are expected", t, n, a.Slots)
		}
	}
	a.Active = a.Active[:0]
	sum := int32(0)
	for i, n := range a.next {
		a.Start[i], a.next[i] = sum, sum
		sum += n
		if n > 0 {
			a.Active = append(a.Active, int32(i))
		}
	}
	a.Start[e] = sum
	for t := range rows {
		slot := int32(0)
		for i, w := range routing[t*e : (t+1)*e] {
			if w != 0 {
				at := a.next[i]
				a.Tokens[at], a.Slot[at] = int32(t), slot
				a.next[i]++
				slot++
			}
		}
	}
	return nil
}

// Of returns the tokens of an expert and the slot it fills for each.
func (a *Assignment) Of(expert int) (tokens, slots []int32) {
	lo, hi := a.Start[expert], a.Start[expert+1]
	return a.Tokens[lo:hi], a.Slot[lo:hi]
}
