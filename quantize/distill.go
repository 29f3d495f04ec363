package quantize

import (
	"fmt"

	"github.com/seed-796a8800/tritium/gptoss"
	"github.com/seed-796a8800/tritium/graph"
	"github.com/seed-796a8800/tritium/ops"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// teacher computes the logits of the original model for whole windows.
type teacher struct {
	model     *gptoss.Model
	batch     *graph.Batch
	sequences []*graph.Sequence
	window    int
}

func newTeacher(cpu *graph.CPU, source *gptoss.Checkpoint, window, windows int) (*teacher, error) {
	m, err := source.Compile(cpu, window*windows)
	if err != nil {
		return nil, err
	}
	t := &teacher{model: m, batch: graph.NewBatch(), window: window}
	for range windows {
		seq, err := m.Plan.NewSequence()
		if err != nil {
			return nil, err
		}
		t.sequences = append(t.sequences, seq)
	}
	return t, nil
}

// logits returns the logits of every token of the windows that tokens holds,
// [tokens, V]. The next call overwrites them.
func (t *teacher) logits(tokens []int32) ([]float32, error) {
	t.batch.Reset()
	for i := range len(tokens) / t.window {
		if err := t.sequences[i].Truncate(0); err != nil {
			return nil, err
		}
		row := t.batch.Add(t.sequences[i], t.window)
		for r := range t.window {
			t.batch.Want(row + r)
		}
	}
	copy(t.model.Tokens(), tokens)
	if err := t.model.Plan.Run(t.batch); err != nil {
		return nil, err
	}
	return t.model.AllLogits()[:len(tokens)*t.model.Config.Vocab], nil
}

// distillation is the goal for a whole model: the Kullback-Leibler divergence
// of its next-token distribution from the original's. It uses no labels: what
// the text goes on with is not looked at.
//
// Shapes: tokens [windows·window].
func distillation(model *trainable, t *teacher, p pool, tokens []int32) goal {
	c := model.config
	return goal{
		model: model, pool: p, window: t.window,
		declare: func(b *graph.Builder, rows int) (loss *gorgonia.Node, inputs gorgonia.Nodes, params []parameter, nodes gorgonia.Nodes, err error) {
			ids, want := b.Input("tokens", tensor.Int32, rows), b.Input("target", tensor.Float32, rows, c.Vocab)
			loss = ops.Divergence(b, "loss", gptoss.Declare(b, *c, model, ids), want)
			if params, nodes, err = model.parametersOf(b, 0, c.Layers); err != nil {
				return nil, nil, nil, nil, err
			}
			norm, ok := b.Lookup(gptoss.FinalNormName)
			if !ok {
				return nil, nil, nil, nil, fmt.Errorf("quantize: the declaration has no parameter %s", gptoss.FinalNormName)
			}
			params = append(params, parameter{name: gptoss.FinalNormName, value: model.Vector(gptoss.FinalNormName)})
			return loss, gorgonia.Nodes{ids, want}, params, append(nodes, norm), nil
		},
		load: func(in []graph.Buffer, windows []int) error {
			ids := in[0].Int32s()
			for i, w := range windows {
				copy(ids[i*t.window:(i+1)*t.window], tokens[w*t.window:(w+1)*t.window])
			}
			logits, err := t.logits(ids[:len(windows)*t.window])
			copy(in[1].Float32s(), logits)
			return err
		},
	}
}
