package gptoss

import (
	"fmt"

	"github.com/seed-796a8800/tritium/graph"
	"gorgonia.org/tensor"
)

// Model is a declared and compiled model: token ids in, logits out.
type Model struct {
	Plan   *graph.Plan
	Config Config

	tokens []int32
	logits []float32
	// weights says which weights they are; nil if they cannot say.
	weights fingerprinter
}

// Compile declares the model with the given weights and compiles it for
// batches of at most maxRows tokens.
func Compile(c Config, w Weights, dev graph.Device, maxRows int, opts ...graph.Option) (*Model, error) {
	b := graph.NewBuilder()
	tokens := b.Input("tokens", tensor.Int32, maxRows)
	logits := Declare(b, c, w, tokens)
	plan, err := b.Compile(dev, maxRows, append([]graph.Option{graph.WithOutputs(logits)}, opts...)...)
	if err != nil {
		return nil, err
	}
	in, err := plan.Value(tokens)
	if err != nil {
		return nil, err
	}
	out, err := plan.Value(logits)
	if err != nil {
		return nil, err
	}
	m := &Model{Plan: plan, Config: c, tokens: in.Int32s(), logits: out.Float32s()}
	m.weights, _ = w.(fingerprinter)
	return m, nil
}

// Compile compiles the checkpoint's own weights.
func (c *Checkpoint) Compile(dev graph.Device, maxRows int, opts ...graph.Option) (*Model, error) {
	return Compile(c.config, c, dev, maxRows, opts...)
}

// Tokens returns the input: row i of the next batch is token Tokens()[i].
func (m *Model) Tokens() []int32 { return m.tokens }

// Logits returns the logits of the i-th wanted row of the last batch, [V]. The
// next run overwrites them.
func (m *Model) Logits(i int) []float32 {
	v := m.Config.Vocab
	return m.logits[i*v : (i+1)*v]
}

// AllLogits returns the logits of all wanted rows of the last batch, [T, V].
// The next run overwrites them.
func (m *Model) AllLogits() []float32 { return m.logits }

// Append runs tokens through the model in chunks and leaves the logits of the
// last of them in Logits(0). b is the batch to use; it is reset.
func (m *Model) Append(b *graph.Batch, seq *graph.Sequence, ids []int32) error {
	return m.append(b, seq, ids, 1)
}

// append leaves the logits of the last wanted tokens, which must fit into one
// batch if they are more than one.
func (m *Model) append(b *graph.Batch, seq *graph.Sequence, ids []int32, wanted int) error {
	if len(ids) == 0 {
		return fmt.Errorf("gptoss: no tokens to append")
	}
	for len(ids) > 0 {
		n := min(len(ids), m.Plan.MaxRows())
		b.Reset()
		b.Add(seq, n)
		copy(m.tokens, ids[:n])
		if ids = ids[n:]; len(ids) == 0 {
			for i := n - wanted; i < n; i++ {
				b.Want(i)
			}
		}
		if err := m.Plan.Run(b); err != nil {
			return err
		}
	}
	return nil
}
