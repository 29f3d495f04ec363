package quantize

import (
	"fmt"
	"math"

	"github.com/seed-796a8800/tritium/graph"
	"github.com/seed-796a8800/tritium/ops"
)

const (
	// momentTokens is how many tokens are multiplied in float32 before the
	// product is added to the float64 sum: few enough that the rounding of
	// one block stays near 1e-6, enough to keep the multiplication busy.
	momentTokens = 512
	// momentStride keeps the transposed rows off a power of two, which would
	// map them all to the same cache sets.
	momentStride = momentTokens + 16
	tileSize     = 128
)

// Moment gathers the second moment of a projection's input, the only thing
// the fits need to know about calibration data.
//
//	H = Σ x·xᵀ / n   over the n tokens that reached the projection
//
// Tokens are multiplied in blocks of a fixed size in the order they come, so
// H does not depend on how calls of Add split them, nor on the thread count.
// Memory is allocated with the first token: 4·In² bytes for the sum (lower
// triangle, float64) and 2 KB·In for the block being filled. A Moment is not
// safe for concurrent use.
type Moment struct {
	inputs  int
	tokens  int
	weight  float64   // divisor of sum: tokens, plus what Shrink and lend added
	sum     []float64 // lower triangle by rows; row i starts at i(i+1)/2
	pending []float32 // [In][momentStride], the block being filled, transposed
	filled  int       // tokens in pending
}

// NewMoment returns an empty moment of a projection with the given number of
// inputs.
func NewMoment(inputs int) *Moment { return &Moment{inputs: inputs} }

// Inputs returns the width of the projection's input.
func (m *Moment) Inputs() int { return m.inputs }

// Tokens returns how many tokens were added, not counting what Shrink lent.
func (m *Moment) Tokens() int { return m.tokens }

// Add adds tokens to the moment: the listed rows of x, or with nil all of
// them.
//
// Shapes: x [T, In] with the given row stride.
// Errors: a stride below In, x not whole rows, a row outside x.
func (m *Moment) Add(cpu *graph.CPU, x []float32, stride int, rows []int) error {
	if m.inputs <= 0 || stride < m.inputs {
		return fmt.Errorf("quantize: moment of %d inputs: activations have row stride %d", m.inputs, stride)
	}
	if len(x)%stride != 0 {
		return fmt.Errorf("quantize: moment of %d inputs: %d activations are not whole rows of %d", m.inputs, len(x), stride)
	}
	n := len(x) / stride
	for _, r := range rows {
		if r < 0 || r >= n {
			return fmt.Errorf("quantize: moment of %d inputs: row %d of %d activations rows", m.inputs, r, n)
		}
	}
	if rows != nil {
		n = len(rows)
	}
	for at := 0; at < n; {
		take := min(n-at, momentTokens-m.filled)
		m.gather(x, stride, rows, at, take)
		at += take
		if m.filled == momentTokens {
			m.multiply(cpu)
		}
	}
	m.tokens += n
	m.weight += float64(n)
	return nil
}

// gather transposes take rows, from the at-th of the list on, into pending.
func (m *Moment) gather(x []float32, stride int, rows []int, at, take int) {
	if m.pending == nil {
		m.pending = make([]float32, m.inputs*momentStride)
	}
	// A few rows at a time: their stretch of one input is a cache line.
	const lines = 16
	for t0 := 0; t0 < take; t0 += lines {
		n := min(lines, take-t0)
		var src [lines][]float32
		for t := range n {
			r := at + t0 + t
			if rows != nil {
				r = rows[r]
			}
			src[t] = x[r*stride : r*stride+m.inputs]
		}
		for i := range m.inputs {
			dst := m.pending[i*momentStride+m.filled+t0:][:n]
			for t := range dst {
				dst[t] = src[t][i]
			}
		}
	}
	m.filled += take
}

// multiply adds the product of the pending block with itself to the sum.
func (m *Moment) multiply(cpu *graph.CPU) {
	if m.filled == 0 {
		return
	}
	m.allocate()
	tiles := (m.inputs + tileSize - 1) / tileSize
	product := make([]float32, cpu.Threads()*tileSize*tileSize)
	cpu.Parallel(tiles*(tiles+1)/2, func(worker, t int) {
		ti, tj := lowerTile(t)
		i0, j0 := ti*tileSize, tj*tileSize
		i1, j1 := min(i0+tileSize, m.inputs), min(j0+tileSize, m.inputs)
		p := product[worker*tileSize*tileSize:][:tileSize*tileSize]
		ops.MatMulNT(p, tileSize, m.pending[i0*momentStride:], momentStride,
			m.pending[j0*momentStride:], momentStride, i1-i0, j1-j0, m.filled, false)
		for i := i0; i < i1; i++ {
			dst := m.sum[i*(i+1)/2+j0 : i*(i+1)/2+min(i+1, j1)]
			for j, v := range p[(i-i0)*tileSize:][:len(dst)] {
				dst[j] += float64(v)
			}
		}
	})
	m.filled = 0
}

func (m *Moment) allocate() {
	if m.sum == nil {
		m.sum = make([]float64, m.inputs*(m.inputs+1)/2)
	}
}

// Flush adds what is still pending and frees the block's memory. Results do not
// need it; it is for moments that are kept while others are gathered.
func (m *Moment) Flush(cpu *graph.CPU) {
	m.multiply(cpu)
	m.pending = nil
}

// Merge adds the tokens of another moment, leaving that one's sums as they
// are.
//
// Errors: a different number of inputs.
func (m *Moment) Merge(cpu *graph.CPU, other *Moment) error {
	if other.inputs != m.inputs {
		return fmt.Errorf("quantize: moment of %d inputs: cannot merge one of %d", m.inputs, other.inputs)
	}
	m.accumulate(cpu, other, 1)
	m.tokens += other.tokens
	m.weight += other.weight
	return nil
}

// Shrink pulls an expert's moment towards the layer's, as much as k tokens of
// the layer would.
//
//	H ← (n·H + k·H_layer) / (n + k)
//
// The number of tokens reported stays n. A layer without tokens changes
// nothing.
//
// Errors: a different number of inputs, or k that is negative or not finite.
func (m *Moment) Shrink(cpu *graph.CPU, layer *Moment, k float64) error {
	if layer.inputs != m.inputs {
		return fmt.Errorf("quantize: moment of %d inputs: cannot shrink towards one of %d", m.inputs, layer.inputs)
	}
	if !(k >= 0) || math.IsInf(k, 0) {
		return fmt.Errorf("quantize: moment of %d inputs: cannot shrink by %v tokens", m.inputs, k)
	}
	if layer.weight == 0 || k == 0 {
		return nil
	}
	m.accumulate(cpu, layer, k/layer.weight)
	m.weight += k
	return nil
}

// lend adds another's tokens to H, not to Tokens.
func (m *Moment) lend(cpu *graph.CPU, other *Moment) {
	m.accumulate(cpu, other, 1)
	m.weight += other.weight
}

// accumulate adds f times the other's sum.
func (m *Moment) accumulate(cpu *graph.CPU, other *Moment, f float64) {
	m.multiply(cpu)
	other.multiply(cpu)
	if other.sum == nil {
		return
	}
	m.allocate()
	cpu.Parallel(m.inputs, func(_, i int) {
		start := i * (i + 1) / 2
		dst := m.sum[start : start+i+1]
		for j, v := range other.sum[start : start+i+1] {
			dst[j] += float64(f * v)
		}
	})
}

// Damped returns H scaled to a mean diagonal of 1, plus damp on its diagonal:
// the units of H do not matter to a fit, and float32 keeps its full range. It
// writes to h where that is large enough. Without tokens, or with inputs that
// were always zero, there is nothing to weigh by and the result is nil.
//
// Shapes: [In, In], both triangles.
// Errors: activations that were not finite.
func (m *Moment) Damped(cpu *graph.CPU, damp float64, h []float32) ([]float32, error) {
	m.multiply(cpu)
	var trace float64
	if m.sum != nil {
		for i := range m.inputs {
			// |H_ij|² ≤ H_ii·H_jj: a finite diagonal is a finite matrix.
			trace += m.sum[i*(i+1)/2+i]
		}
	}
	if math.IsNaN(trace) || math.IsInf(trace, 0) {
		return nil, fmt.Errorf("quantize: moment of %d inputs: the calibration activations hold NaN or infinite values", m.inputs)
	}
	mean := trace / float64(m.inputs)
	if trace == 0 || mean == 0 {
		return nil, nil
	}
	n := m.inputs
	h = grow(h, n*n)
	tiles := (n + tileSize - 1) / tileSize
	cpu.Parallel(tiles*(tiles+1)/2, func(_, t int) {
		ti, tj := lowerTile(t)
		for i := ti * tileSize; i < min((ti+1)*tileSize, n); i++ {
			row := m.sum[i*(i+1)/2:]
			for j := tj * tileSize; j < min((tj+1)*tileSize, i+1); j++ {
				v := row[j] / mean
				if i == j {
					v += damp
				}
				h[i*n+j], h[j*n+i] = float32(v), float32(v)
			}
		}
	})
	return h, nil
}

// lowerTile returns the t-th tile of a lower triangle, counted by rows.
func lowerTile(t int) (i, j int) {
	i = int((math.Sqrt(float64(8*t+1)) - 1) / 2)
	return i, t - i*(i+1)/2
}

// grow returns a slice of length n, in the memory of s where that suffices.
// Its contents are whatever they were.
func grow[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}
