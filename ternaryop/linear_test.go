package ternaryop

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"gorgonia.org/gorgonia"

	"github.com/seed-796a8800/tritium/graph"
)

func project(l Linear) func(b *graph.Builder, in []*gorgonia.Node) *gorgonia.Node {
	return func(b *graph.Builder, in []*gorgonia.Node) *gorgonia.Node { return l.Apply(b, in[0]) }
}

func TestLinear(t *testing.T) {
	eachFormat(t, func(t *testing.T, f Format) {
		r := rand.New(rand.NewPCG(5, 6))
		for _, s := range []struct{ rows, out, in, group int }{
			{1, 1, 1, 16}, {1, 16, 16, 16}, {3, 17, 15, 16}, {5, 33, 100, 16}, {40, 70, 96, 32}, {26, 200, 96, 96}, {2, 64, 2880, 96},
			{130, 48, 192, 64}, {2, 16, 2880, 2880}, {3, 16, 4096, 320},
		} {
			m, dense := drawMatrix(t, r, f, s.out, s.in, f.Groups(s.in, s.group))
			x := random(r, s.rows*s.in)
			clear(x[:s.in/2])
			for _, bias := range [][]float32{nil, random(r, s.out)} {
				var want []float64
				for i := range s.rows {
					want = append(want, multiplied(dense, x[i*s.in:(i+1)*s.in], bias)...)
				}
				got := compute(t, []value{{[]int{s.rows, s.in}, x}}, project(Linear{Name: "q_proj", Weight: *m, Bias: bias}))
				near(t, fmt.Sprint(s), got, want, 2e-6)
			}
		}
	})
}

// Two planes are, bit for bit, one matrix of twice the columns on inputs that come twice: the order of the sum that the
// documentation of Matrix states.
func TestPlanesLieSideBySide(t *testing.T) {
	r := rand.New(rand.NewPCG(25, 26))
	for _, c := range []struct {
		planes, one          Format
		rows, out, in, group int
	}{
		{Planes2, Ternary2, 1, 33, 96, 32}, {Planes2, Ternary2, 29, 48, 2880, 96}, {Planes2, Ternary2, 5, 17, 16, 16},
		{Planes5, Ternary5, 1, 40, 160, 80}, {Planes5, Ternary5, 26, 16, 2880, 320},
	} {
		m := randomMatrix(t, r, c.planes, c.out, c.in, c.group)
		codes, scales := m.Unpack()
		wide, err := Pack(c.one, codes, scales, c.out, 2*c.in, c.group)
		if err != nil {
			t.Fatal(err)
		}
		x, twice := random(r, c.rows*c.in), []float32(nil)
		for row := range slices.Chunk(x, c.in) {
			twice = append(append(twice, row...), row...)
		}
		bias := random(r, c.out)
		got := compute(t, []value{{[]int{c.rows, c.in}, x}}, project(Linear{Name: "q_proj", Weight: *m, Bias: bias}))
		want := compute(t, []value{{[]int{c.rows, 2 * c.in}, twice}}, project(Linear{Name: "q_proj", Weight: *wide, Bias: bias}))
		if !slices.Equal(got, want) {
			t.Errorf("%+v: two planes are not their matrix side by side", c)
		}
	}
}

// The same codes and scales give the same bits in either ternary format, and expanded.
func TestTernaryFormatsAgree(t *testing.T) {
	for fives, twos := range map[Format]Format{Ternary5: Ternary2, Planes5: Planes2} {
		t.Run(fives.String(), func(t *testing.T) { checkAgreement(t, fives, twos) })
	}
}

func checkAgreement(t *testing.T, fives, twos Format) {
	r := rand.New(rand.NewPCG(15, 16))
	for _, s := range []struct{ rows, out, in, group int }{{1, 33, 80, 80}, {5, 48, 320, 80}, {26, 17, 2880, 320}, {3, 40, 150, 160}} {
		five := randomMatrix(t, r, fives, s.out, s.in, s.group)
		codes, scales := five.Unpack()
		two, err := Pack(twos, codes, scales, s.out, s.in, s.group)
		if err != nil {
			t.Fatal(err)
		}
		x, bias := value{[]int{s.rows, s.in}, random(r, s.rows*s.in)}, random(r, s.out)
		got := compute(t, []value{x}, project(Linear{Name: "q_proj", Weight: *five, Bias: bias}))
		want := compute(t, []value{x}, project(Linear{Name: "q_proj", Weight: *two, Bias: bias}))
		if !slices.Equal(got, want) {
			t.Errorf("%+v: five weights a byte give other results than two bits a weight", s)
		}
		stack, err := StackFromBytes(fives, 1, s.out, s.in, s.group, five.Codes, five.Scales)
		if err != nil {
			t.Fatal(err)
		}
		x2, err := stack.Expand(make([]byte, stack.ExpandedBytes()))
		if err != nil {
			t.Fatal(err)
		}
		if got := compute(t, []value{x}, project(Linear{Name: "q_proj", Weight: x2.At(0), Bias: bias})); !slices.Equal(got, want) {
			t.Errorf("%+v: expanded weights give other results than two bits a weight", s)
		}
	}
}

// Rows that cannot be quantized: zeros give the bias, what is no number shows.
func TestLinearOddRows(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	m, _ := drawMatrix(t, r, Ternary2, 20, 32, 16)
	bias := random(r, 20)
	x := random(r, 5*32)
	clear(x[:32])
	x[32+3] = float32(math.NaN())
	x[64+31] = float32(math.Inf(1))
	for i := range 32 {
		x[96+i] = 0x1p-121
	}
	got := compute(t, []value{{[]int{5, 32}, x}}, project(Linear{Name: "q_proj", Weight: *m, Bias: bias}))
	for i, b := range bias {
		if got[i] != b || got[60+i] != b {
			t.Errorf("output %d of zeros is %v, of almost zeros %v, want the bias %v", i, got[i], got[60+i], b)
		}
		if got[20+i] == got[20+i] || got[40+i] == got[40+i] {
			t.Errorf("output %d of a NaN is %v, of an infinity %v", i, got[20+i], got[40+i])
		}
		if got[80+i] != got[80+i] {
			t.Errorf("output %d of the row after them is %v", i, got[80+i])
		}
	}
}

func TestLinearErrors(t *testing.T) {
	m, _ := drawMatrix(t, rand.New(rand.NewPCG(1, 1)), Ternary2, 20, 32, 16)
	x := []value{{[]int{2, 32}, make([]float32, 64)}}
	change := func(f func(*Linear)) Linear {
		l := Linear{Name: "layer.q_proj", Weight: *m}
		f(&l)
		return l
	}
	for name, l := range map[string]Linear{
		"layer.q_proj: ternaryop: groups of 0":             change(func(l *Linear) { l.Weight.Group = 0 }),
		"layer.q_proj: ternaryop: groups of 64":            change(func(l *Linear) { l.Weight.Group = 64 }),
		"layer.q_proj: ternaryop: ternary matrix [20, 32]": change(func(l *Linear) { l.Weight.Codes = l.Weight.Codes[1:] }),
		"layer.q_proj: ternaryop: unknown format 99":       change(func(l *Linear) { l.Weight.Format = 99 }),
		"layer.q_proj: ternaryop: matrix [-1, 32]":         change(func(l *Linear) { l.Weight.Out = -1 }),
		"layer.q_proj: 19 biases for 20 outputs":           change(func(l *Linear) { l.Bias = make([]float32, 19) }),
		"layer.q_proj: ternaryop: matrix [0, 0] is empty":  {Name: "layer.q_proj"},
	} {
		refused(t, x, project(l), name)
	}
	refused(t, []value{{[]int{2, 48}, make([]float32, 96)}}, project(change(func(*Linear) {})), "q_proj", "(2, 48)", "from 32 to 20")
}

// A decoded token allocates nothing, nor does a batch of a size seen before.
func TestRunsAllocateNothing(t *testing.T) {
	eachFormat(t, func(t *testing.T, f Format) {
		r := rand.New(rand.NewPCG(9, 9))
		m, _ := drawMatrix(t, r, f, 96, 96, f.Groups(96, 32))
		stack, _ := randomStack(t, r, f, 5, 40, 96, f.Groups(96, 32))
		d, err := declare(t, 2, []value{{[]int{30, 96}, random(r, 30*96)}, {[]int{30, 5}, routingOf(30, 5, 2)}}, func(b *graph.Builder, in []*gorgonia.Node) *gorgonia.Node {
			x := Linear{Name: "q_proj", Weight: *m}.Apply(b, in[0])
			return Experts{Name: "gate_up_proj", Weight: stack, Active: 2}.Apply(b, x, in[1])
		})
		if err != nil {
			t.Fatal(err)
		}
		seq, err := d.plan.NewSequence()
		if err != nil {
			t.Fatal(err)
		}
		b := graph.NewBatch()
		for _, rows := range []int{1, 30, 7} {
			run := func() {
				b.Reset()
				b.Add(seq, rows)
				if err := d.plan.Run(b); err != nil {
					t.Error(err)
				}
			}
			if rows > 1 {
				run()
			}
			if n := testing.AllocsPerRun(50, run); n != 0 {
				t.Errorf("%d rows: %g allocations a run", rows, n)
			}
		}
		row := make([]float32, 96)
		if n := testing.AllocsPerRun(10, func() { m.DecodeRows(row, 3, 1) }); n != 0 {
			t.Errorf("DecodeRows: %g allocations", n)
		}
	})
}
