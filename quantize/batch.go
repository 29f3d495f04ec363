package quantize

import "github.com/seed-796a8800/tritium/ops"

const (
	maxBatchRows = 128 // rows fitted together: amortises streaming H
	minBatchRows = 16
)

// batchRows returns how many rows to fit together: few enough to occupy all
// threads, enough to make matrix products of them. Rows are independent, so
// the choice changes no result.
func batchRows(out, threads int) int {
	per := (out + 2*threads - 1) / (2 * threads)
	return max(minBatchRows, min(maxBatchRows, (per+minBatchRows-1)/minBatchRows*minBatchRows))
}

// scratch is one thread's memory.
type scratch struct {
	errors  []float32 // [rows, In], w - ŵ
	base    []float32 // [rows, g]
	values  []float32 // [planes, rows, g]
	product []float32 // [planes, rows, g]
	delta   []float32 // [rows, g]
	panel   []float32 // [rows, panelSize]
	order   []uint32  // [g]
	sums    []float64 // [g+1]
}

func (s *scratch) resize(rows, in, group, planes int) {
	s.errors = grow(s.errors, rows*in)
	s.base = grow(s.base, rows*group)
	s.values = grow(s.values, planes*rows*group)
	s.product = grow(s.product, planes*rows*group)
	s.delta = grow(s.delta, rows*group)
	s.panel = grow(s.panel, rows*panelSize)
	s.order = grow(s.order, group)
	s.sums = grow(s.sums, group+1)
}

// batch is a set of rows being fitted by one thread.
type batch struct {
	*scratch
	levels
	rows, in, group, groups int
	h                       []float32 // [In, In], or nil for the identity
	inverse                 []float32 // [In], 1/H_jj
	w                       []float32 // [rows, In]
	codes                   []int8    // [rows, In], of the levels
	scales                  []float32 // [rows, groups, planes]
	prices                  []float64 // [rows, groups], of codes that are not 0; nil is free, see FitOptions.DeadZone
}

func (b *batch) fit(method Method, f *feedback, passes int) {
	switch method {
	case AbsMean:
		b.absmean()
	case Stage1:
		b.stage1()
	case PTBitNet:
		b.stage1()
		b.descend(passes)
	case GPTQ:
		b.gptq(f)
	case GPTQWithDescent:
		b.gptq(f)
		b.descend(passes)
	}
}

func (b *batch) absmean() {
	for row := range b.rows {
		w := b.w[row*b.in:][:b.in]
		a := absmeanScale(w)
		encodeTernary(b.codes[row*b.in:][:b.in], w, a)
		for g := range b.groups {
			b.scales[row*b.groups+g] = a
		}
	}
}

func (b *batch) stage1() {
	for row := range b.rows {
		for g := range b.groups {
			first, n := b.span(g)
			at := row*b.in + first
			b.leastSquares(b.codes[at:][:n], b.scalesOf(row, g), b.w[at:][:n], b.price(row, g), b.scratch)
		}
	}
}

// scalesOf are the scales of group g of a row.
func (b *batch) scalesOf(row, g int) []float32 {
	planes := b.planes()
	return b.scales[(row*b.groups+g)*planes:][:planes]
}

// span returns the first column of group g and how many it has.
func (b *batch) span(g int) (first, n int) {
	first = g * b.group
	return first, min(b.group, b.in-first)
}

// energies sets dst[row] = x·H·xᵀ. Of the off-diagonal panels only the lower
// ones are multiplied.
//
// Shapes: x [rows, In].
func (b *batch) energies(dst []float64, x []float32) {
	clear(dst)
	if b.h == nil {
		for row := range b.rows {
			r := x[row*b.in:][:b.in]
			dst[row] = dot(r, r)
		}
		return
	}
	for p0 := 0; p0 < b.in; p0 += panelSize {
		n := min(panelSize, b.in-p0)
		add := func(k0, k int, factor float64) {
			ops.MatMulNT(b.panel, panelSize, x[k0:], b.in, b.h[p0*b.in+k0:], b.in, b.rows, n, k, false)
			for row := range b.rows {
				dst[row] += factor * dot(x[row*b.in+p0:][:n], b.panel[row*panelSize:][:n])
			}
		}
		if p0 > 0 {
			add(0, p0, 2)
		}
		add(p0, n, 1)
	}
	for row, v := range dst {
		dst[row] = max(0, v) // rounding takes next to nothing below zero
	}
}

func dot(a, b []float32) float64 {
	var s float64
	for i, v := range a {
		s += float64(v) * float64(b[i])
	}
	return s
}

func sum(x []float64) float64 {
	var s float64
	for _, v := range x {
		s += v
	}
	return s
}

// ratio returns a/b, and 0 for a matrix of zeros, which every fit meets exactly.
func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}
