package quantize

import (
	"slices"
	"testing"

	"github.com/seed-796a8800/tritium/graph"
	"github.com/seed-796a8800/tritium/ternaryop"
)

// momentOfRows sums over some rows of a node's values, as a quantized projection
// sees them; nil is all of them.
func momentOfRows(t *testing.T, cpu *graph.CPU, values []float32, width int, rows []int) *Moment {
	t.Helper()
	rounded := make([]float32, len(values))
	codes := make([]int8, width)
	for at := 0; at < len(values); at += width {
		scale := ternaryop.QuantizeRow(codes, values[at:at+width])
		for i, c := range codes {
			rounded[at+i] = scale * float32(c)
		}
	}
	m := NewMoment(width)
	if err := m.Add(cpu, rounded, width, rows); err != nil {
		t.Fatal(err)
	}
	return m
}

// TestRowsOf checks which rows belong to an expert, by hand.
func TestRowsOf(t *testing.T) {
	routing := []int32{2, 0, 1, -1, 0, 2} // 3 tokens, 2 slots
	for _, x := range []struct {
		place  inputPlace
		expert int
		want   []int
	}{
		{gateUpInput, 0, []int{0, 2}}, {gateUpInput, 1, []int{1}}, {gateUpInput, 3, nil}, {gateUpInput, -1, []int{0, 1, 2}},
		{downInput, 0, []int{1, 4}}, {downInput, 2, []int{0, 5}}, {downInput, -1, []int{0, 1, 2, 4, 5}},
	} {
		scales := 3
		if x.place == downInput {
			scales = 6
		}
		in := &inputsReader{place: x.place, active: 2, routing: routing, scales: make([]float32, scales)}
		if got := in.rowsOf(x.expert); !slices.Equal(got, x.want) {
			t.Errorf("%s of expert %d: rows %v, want %v", inputNames[x.place], x.expert, got, x.want)
		}
	}
}
