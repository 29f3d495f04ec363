package ternaryop

import (
	"errors"
	"fmt"
)

// Stack is the matrices of E experts, all of one shape, one after the other in memory.
type Stack struct {
	Format  Format
	E       int
	Out, In int
	Group   int
	Codes   []byte // [E][codes of a Matrix]
	Scales  []byte // [E][scales of a Matrix]
}

// StackFromBytes makes a stack of bytes that were packed before; it keeps codes and scales and copies nothing.
//
// Errors: those of [Layout]; e below 1; lengths that are not e times a matrix'.
func StackFromBytes(f Format, e, out, in, group int, codes, scales []byte) (*Stack, error) {
	nc, ns, err := Layout(f, out, in, group)
	if err != nil {
		return nil, err
	}
	if e < 1 {
		return nil, errors.New("ternaryop: a stack of no matrices")
	}
	if len(codes)%e != 0 || len(codes)/e != nc || len(scales)%e != 0 || len(scales)/e != ns {
		return nil, fmt.Errorf("ternaryop: %d %v matrices [%d, %d] in groups of %d take %d bytes of codes and %d of scales each, got %d and %d for all",
			e, f, out, in, group, nc, ns, len(codes), len(scales))
	}
	return &Stack{Format: f, E: e, Out: out, In: in, Group: group, Codes: codes, Scales: scales}, nil
}

// At is expert e's matrix, aliasing the stack. Panics unless 0 <= e < E.
func (s *Stack) At(e int) Matrix {
	if e < 0 || e >= s.E {
		panic(fmt.Sprintf("ternaryop: expert %d of %d", e, s.E))
	}
	nc, ns := len(s.Codes)/s.E, len(s.Scales)/s.E
	return Matrix{
		Format: s.Format, Out: s.Out, In: s.In, Group: s.Group,
		Codes:  s.Codes[e*nc : (e+1)*nc : (e+1)*nc],
		Scales: s.Scales[e*ns : (e+1)*ns : (e+1)*ns],
	}
}
