package quantize

import (
	"github.com/seed-796a8800/tritium/graph"
	"github.com/seed-796a8800/tritium/ops"
)

// pivotFloor bounds the pivots of a barely damped H from below, where float32
// cannot tell them from zero.
const pivotFloor = 1e-6

// feedback is H = Mᵀ·D·M, as GPTQ uses it.
//
// The factorisation runs from the last row to the first, so that row j of M
// holds what column j needs of the columns before it. It is in float32 with
// diagonal blocks in float64: Cholesky is backward stable, and the damping that
// H carries is orders above the error this leaves.
type feedback struct {
	m       []float32 // [In, In], unit lower triangular; above the diagonal undefined
	inverse []float32 // M_GG⁻¹ of each group [n, n], that of the group from column j on at j·g

	n     int
	group int
	floor float64
	// One block row of M, transposed: as is, and times -D.
	across, scaled []float32 // [In, tileSize]
	rhs            []float32 // [In, tileSize]
	blocks         []diagonal
}

// diagonal is the factorisation of one diagonal block.
type diagonal struct {
	m   []float64 // [b, b], unit lower triangular
	inv []float64 // [b, b], its inverse
	d   []float64 // [b]
}

func (d *diagonal) resize(b int) {
	d.m, d.inv, d.d = grow(d.m, b*b), grow(d.inv, b*b), grow(d.d, b)
}

// factorize sets f to the factors of h, whose diagonal was damped by damp.
//
// In exact arithmetic no pivot is below the damping, so one that comes out
// below it is rounding error and is raised to it.
func (f *feedback) factorize(cpu *graph.CPU, h []float32, n, group int, damp float64) {
	f.n, f.group, f.floor = n, group, max(damp, pivotFloor)
	f.m = grow(f.m, n*n)
	copy(f.m, h[:n*n])
	f.across, f.scaled, f.rhs = grow(f.across, n*tileSize), grow(f.scaled, n*tileSize), grow(f.rhs, n*tileSize)
	f.blocks = grow(f.blocks, max(1, cpu.Threads()))
	solve := make([]float32, tileSize*tileSize)
	for j0 := (n - 1) / tileSize * tileSize; j0 >= 0; j0 -= tileSize {
		b := min(tileSize, n-j0)
		block := &f.blocks[0]
		block.resize(b)
		f.loadDiagonal(block, j0, b)
		block.factorize(b, f.floor)
		block.invert(b)
		for i := range b {
			for j := range b {
				f.m[(j0+i)*n+j0+j] = float32(block.m[i*b+j])
				solve[i*b+j] = float32(block.inv[j*b+i] / block.d[i]) // D⁻¹·M⁻ᵀ
			}
		}
		f.blockRow(cpu, solve, block.d, j0, b)
		f.trailing(cpu, j0, b)
	}
	f.invertGroups(cpu)
}

func (f *feedback) loadDiagonal(block *diagonal, j0, b int) {
	for i := range b {
		for j := range i + 1 {
			block.m[i*b+j] = float64(f.m[(j0+i)*f.n+j0+j])
		}
	}
}

// blockRow solves for the rows [j0, j0+b) of M left of the diagonal block:
// M_J = D⁻¹·M_JJ⁻ᵀ·A_J.
func (f *feedback) blockRow(cpu *graph.CPU, solve []float32, d []float64, j0, b int) {
	n := f.n
	cpu.Parallel((j0+tileSize-1)/tileSize, func(_, t int) {
		k0 := t * tileSize
		k1 := min(k0+tileSize, j0)
		for k := k0; k < k1; k++ {
			for j := range b {
				f.rhs[k*b+j] = f.m[(j0+j)*n+k]
			}
		}
		ops.MatMulNT(f.across[k0*b:], b, f.rhs[k0*b:], b, solve, b, k1-k0, b, b, false)
		for k := k0; k < k1; k++ {
			for j := range b {
				v := f.across[k*b+j]
				f.m[(j0+j)*n+k] = v
				f.scaled[k*b+j] = -float32(d[j]) * v
			}
		}
	})
}

// trailing takes the block row's part out of all rows above it:
// A[i, k] -= Σ_j M[j, i]·D_j·M[j, k].
func (f *feedback) trailing(cpu *graph.CPU, j0, b int) {
	tiles := (j0 + tileSize - 1) / tileSize
	cpu.Parallel(tiles*(tiles+1)/2, func(_, t int) {
		ti, tk := lowerTile(t)
		i0, k0 := ti*tileSize, tk*tileSize
		i1, k1 := min(i0+tileSize, j0), min(k0+tileSize, j0)
		ops.MatMulNT(f.m[i0*f.n+k0:], f.n, f.scaled[i0*b:], b, f.across[k0*b:], b, i1-i0, k1-k0, b, true)
	})
}

// invertGroups sets f.inverse. The first group is never asked for.
func (f *feedback) invertGroups(cpu *graph.CPU) {
	g := f.group
	f.inverse = grow(f.inverse, f.n*g)
	cpu.Parallel(groupsOf(f.n, g)-1, func(worker, i int) {
		first := (i + 1) * g
		n := min(g, f.n-first)
		block := &f.blocks[worker]
		block.resize(n)
		f.loadDiagonal(block, first, n)
		block.invert(n)
		for j, v := range block.inv[:n*n] {
			f.inverse[first*g+j] = float32(v)
		}
	})
}

// factorize replaces the lower triangle of a symmetric m by its unit lower
// triangular factor, and clears the rest.
func (d *diagonal) factorize(b int, floor float64) {
	for j := b - 1; j >= 0; j-- {
		row := d.m[j*b : j*b+b]
		pivot := max(row[j], floor)
		d.d[j] = pivot
		for k := range j {
			row[k] /= pivot
		}
		row[j] = 1
		clear(row[j+1:])
		for i := range j {
			above := d.m[i*b : i*b+i+1]
			s := row[i] * pivot
			for k := range above {
				above[k] -= float64(s * row[k])
			}
		}
	}
}

// invert sets inv to the inverse of the unit lower triangular m.
func (d *diagonal) invert(b int) {
	for i := range b {
		row := d.inv[i*b : i*b+b]
		clear(row)
		row[i] = 1
		for k := range i {
			v := d.m[i*b+k]
			for j, x := range d.inv[k*b : k*b+k+1] {
				row[j] -= float64(v * x)
			}
		}
	}
}
