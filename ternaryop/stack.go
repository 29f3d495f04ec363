package ternaryop

import (
	"errors"
	"fmt"
	"runtime"
	"sync"

	"github.com/seed-796a8800/tritium/internal/t16"
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

// expandBytes is about how many bytes of codes are rewritten by one goroutine at a time.
const expandBytes = 4 << 20

// ExpandedBytes is the size of the codes that Expand writes: a quarter more than s has.
func (s *Stack) ExpandedBytes() int { return len(s.Codes) / 4 * 5 }

// Expand returns the weights of s, which is in [Ternary5] or [Planes5], at 2 bits each, for processors whose kernels are not
// [Format.Native]; they give the same products bit for bit. The codes are written to the memory given, on all
// processors; the scales stay those of s. The result's format is none that files have.
//
// Shapes: codes [ExpandedBytes].
// Errors: s is in another format; other lengths.
func (s *Stack) Expand(codes []byte) (*Stack, error) {
	if !s.Format.Expands() {
		return nil, fmt.Errorf("ternaryop: %v weights to expand, want %v or %v", s.Format, Ternary5, Planes5)
	}
	as := map[Format]Format{Ternary5: expanded, Planes5: expandedPlanes}[s.Format]
	if _, err := StackFromBytes(s.Format, s.E, s.Out, s.In, s.Group, s.Codes, s.Scales); err != nil {
		return nil, err
	}
	x, err := StackFromBytes(as, s.E, s.Out, s.In, s.Group, codes, s.Scales)
	if err != nil {
		return nil, err
	}
	// Each plane of a tile is whole blocks of either format, so two are as good as one that is as long.
	from, to := s.Format.tileBytes(s.In), as.tileBytes(s.In)
	tiles, chunk := len(s.Codes)/from, max(1, expandBytes/to)
	limit := make(chan struct{}, runtime.GOMAXPROCS(0))
	var all sync.WaitGroup
	for first := 0; first < tiles; first += chunk {
		last := min(tiles, first+chunk)
		limit <- struct{}{}
		all.Go(func() {
			t16.ExpandTernary5(codes[first*to:last*to], s.Codes[first*from:last*from], s.Format.Planes()*s.Format.Cols(s.In))
			<-limit
		})
	}
	all.Wait()
	return x, nil
}
