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
	m.BitsPerWeight = 8 * float64(m.Bytes) / float64(m.Config.Parameters())
	return m
}
