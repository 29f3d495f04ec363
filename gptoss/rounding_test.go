package gptoss

import (
	"math"
	"math/rand/v2"
	"testing"

	"gorgonia.org/tensor"

	"github.com/seed-796a8800/tritium/graph"
	"github.com/seed-796a8800/tritium/ops"
	"github.com/seed-796a8800/tritium/ternaryop"
)

// The dense projections round activations exactly as the ternary ones do: a
// projection by the identity shows how.
func TestRoundingsAgree(t *testing.T) {
	const n = 48
	identity := ops.F32{Out: n, In: n, Data: make([]float32, n*n)}
	for i := range n {
		identity.Data[i*n+i] = 1
	}
	random := rand.New(rand.NewPCG(1, 2))
	var rows [][]float32
	add := func(fill func(i int) float64) {
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(fill(i))
		}
		rows = append(rows, x)
	}
	for e := -140.0; e <= 127; e += 3 {
		add(func(int) float64 { return random.NormFloat64() * math.Exp2(e-3) })
	}
	add(func(i int) float64 { return []float64{float64(i) + 0.5, 127}[i/47] }) // ties, exactly
	add(func(i int) float64 { return []float64{-float64(i) - 0.5, -127}[i/47] / 1024 })
	add(func(i int) float64 { return float64(i)*2.5 - 47.5 })
	add(func(int) float64 { return 0 })
	add(func(i int) float64 { return math.Copysign(0, -1) })
	add(func(i int) float64 { return 0x1p-120 * (1 - 0x1p-23*float64(i/47)) })
	add(func(i int) float64 { return math.MaxFloat32 / 2 * float64(1-i%3) })
	add(func(i int) float64 { return math.SmallestNonzeroFloat32 * float64(i) })
	bad := len(rows)
	add(func(i int) float64 { return []float64{1, math.NaN()}[i/47] })
	add(func(i int) float64 { return []float64{1, math.Inf(-1)}[i/47] })

	b := graph.NewBuilder()
	in := b.Input("x", tensor.Float32, len(rows), n)
	out := ops.Dense{Name: "identity", Weight: identity, Int8Inputs: true}.Apply(b, in)
	plan, err := b.Compile(newCPU(t, 2), len(rows))
	if err != nil {
		t.Fatal(err)
	}
	x, _ := plan.Value(in)
	y, _ := plan.Value(out)
	for i, row := range rows {
		copy(x.Float32s()[i*n:], row)
	}
	if err := plan.RunAll(); err != nil {
		t.Fatal(err)
	}
	codes := make([]int8, n)
	for r, row := range rows {
		scale := ternaryop.QuantizeRow(codes, row)
		for i, c := range codes {
			got, want := y.Float32s()[r*n+i], float32(c)*scale
			if r >= bad && got == got || r < bad && got != want {
				t.Errorf("row %d, %g: %g, ternary %g", r, row[i], got, want)
			}
		}
	}
}
