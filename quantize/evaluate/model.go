package evaluate

import "github.com/seed-796a8800/tritium/gptoss"

// Model is what is evaluated.
type Model struct {
	Name          string
	Config        gptoss.Config
	Weights       gptoss.Weights
	Bytes         int64   // of all tensors
	BitsPerWeight float64 // Bytes over all parameters, scales and vectors included
}

// FromCheckpoint returns an open checkpoint as a Model. The checkpoint must
// stay open while the model is in use.
func FromCheckpoint(name string, c *gptoss.Checkpoint) Model {
	m := Model{Name: name, Config: c.Config(), Weights: c, Bytes: c.Bytes()}
	m.BitsPerWeight = 8 * float64(m.Bytes) / float64(parameters(m.Config))
	return m
}

// parameters counts the weights, biases, norms and sinks.
func parameters(c gptoss.Config) int64 {
	var n int64
	for _, p := range c.ProjectionList() {
		n += p.Parameters()
		if p.Name != gptoss.EmbeddingName && p.Name != gptoss.HeadName {
			n += int64(max(1, p.Experts)) * int64(p.Out) // bias
		}
	}
	norms := (2*c.Layers + 1) * c.Hidden
	sinks := c.Layers * c.Heads
	return n + int64(norms+sinks)
}
