package gptoss

import (
	"context"
	"fmt"
	"testing"

	"github.com/seed-796a8800/tritium/graph"
)

// BenchmarkRows is what a batch of a few tokens costs beside one of one token,
// all logits wanted: what speculation pays for a draft.
func BenchmarkRows(b *testing.B) {
	for _, shape := range []struct {
		name   string
		config Config
	}{{"small", ShapeSmall()}, {"20b-2layers", Shape20B().WithLayers(2)}} {
		for _, format := range []string{FormatTernary, FormatMXFP4} {
			cpu := graph.NewCPU(0)
			c, err := Synthetic{Config: shape.config, Format: format}.Build(context.Background(), cpu, nil)
			if err != nil {
				b.Fatal(err)
			}
			m, err := c.Compile(cpu, 64)
			if err != nil {
				b.Fatal(err)
			}
			for _, rows := range []int{1, 2, 3, 4, 6, 8, 16} {
				b.Run(fmt.Sprintf("shape=%s/format=%s/rows=%d", shape.name, format, rows), func(b *testing.B) {
					benchmarkRows(b, m, rows)
				})
			}
			cpu.Close()
		}
	}
}

func benchmarkRows(b *testing.B, m *Model, rows int) {
	const context = 128
	seq, err := m.Plan.NewSequence()
	if err != nil {
		b.Fatal(err)
	}
	batch := graph.NewBatch()
	if err := m.Append(batch, seq, tokens(context, m.Config.Vocab)); err != nil {
		b.Fatal(err)
	}
	ids := tokens(5000, m.Config.Vocab)
	at := 0
	for b.Loop() {
		if seq.Len() > context+32 {
			if err := seq.Truncate(context); err != nil {
				b.Fatal(err)
			}
		}
		batch.Reset()
		row := batch.Add(seq, rows)
		for i := range rows {
			batch.Want(row + i)
		}
		at = (at + rows) % (len(ids) - rows)
		copy(m.Tokens(), ids[at:at+rows])
		if err := m.Plan.Run(batch); err != nil {
			b.Fatal(err)
		}
	}
}
