package quantize

import "github.com/seed-796a8800/tritium/ops"

const (
	panelSize = 128 // columns brought up to date by one multiplication over all before them
	stripSize = 16  // columns of a panel brought up to date at a time
)

// recursion runs, for a batch of independent rows, a recurrence over columns
//
//	x_j = base_j + Σ_{first ≤ k < j} y_k·tri[j, k]      y_j = decide(row, j, x_j)
//
// which is what both GPTQ's error feedback and coordinate descent are. Each
// column needs all those before it; taken in panels and strips, all but the
// last few columns' contributions are matrix products.
type recursion struct {
	tri  []float32 // [In, In], lower triangle read
	in   int
	base []float32 // [rows, last-first], stride ldBase
	y    []float32 // [rows, last-first], stride ldY, written
	ldBase,
	ldY int

	panel []float32 // scratch [rows, panelSize]
}

func (c *recursion) run(rows, first, last int, decide func(row, j int, x float32) float32) {
	for p0 := first; p0 < last; p0 += panelSize {
		p1 := min(p0+panelSize, last)
		if p0 == first {
			clear(c.panel[:rows*panelSize])
		} else {
			ops.MatMulNT(c.panel, panelSize, c.y, c.ldY, c.tri[p0*c.in+first:], c.in, rows, p1-p0, p0-first, false)
		}
		for s0 := p0; s0 < p1; s0 += stripSize {
			s1 := min(s0+stripSize, p1)
			if s0 > p0 {
				ops.MatMulNT(c.panel[s0-p0:], panelSize, c.y[p0-first:], c.ldY, c.tri[s0*c.in+p0:], c.in, rows, s1-s0, s0-p0, true)
			}
			c.strip(rows, first, p0, s0, s1, decide)
		}
	}
}

// strip decides columns [s0, s1) of all rows, column after column.
//
// Here and in this package's other inner loops a product is converted before it
// is added, which forbids the compiler to fuse the two as it would on arm64: a
// unit of work must come out the same on whatever machine picks it up.
func (c *recursion) strip(rows, first, p0, s0, s1 int, decide func(row, j int, x float32) float32) {
	n := s1 - s0
	var coef [stripSize][stripSize]float32 // [k][j]: what y_k adds to x_j
	for j := range n {
		for k := range j {
			coef[k][j] = c.tri[(s0+j)*c.in+s0+k]
		}
	}
	for row := range rows {
		var x [stripSize]float32
		base := c.base[row*c.ldBase+s0-first:][:n]
		panel := c.panel[row*panelSize+s0-p0:][:n]
		for j := range base {
			x[j] = base[j] + panel[j]
		}
		y := c.y[row*c.ldY+s0-first:][:n]
		for k := range y {
			v := decide(row, s0+k, x[k&(stripSize-1)])
			y[k] = v
			if v == 0 {
				continue
			}
			add := &coef[k&(stripSize-1)]
			for j := k + 1; j < stripSize; j++ {
				x[j] += float32(v * add[j])
			}
		}
	}
}
