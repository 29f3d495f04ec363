package gptoss

// Projection is one matrix product of the model, or one of every expert.
type Projection struct {
	Name        string
	Out, In     int
	Experts     int  // 0: not an expert's
	Quantizable bool // q, k, v, o and the experts: what may become ternary
}

// Parameters returns the number of weights.
func (p Projection) Parameters() int64 { return int64(max(1, p.Experts)) * int64(p.Out) * int64(p.In) }

// Projections returns the model's projections by canonical name: embedding and
// head, and q, k, v, o, router, gate_up and down of every layer.
func (c *Config) Projections() map[string]Projection {
	ps := make(map[string]Projection, 2+7*c.Layers)
	for _, p := range c.ProjectionList() {
		ps[p.Name] = p
	}
	return ps
}

// ProjectionList returns the projections in the order in which a token meets
// them.
func (c *Config) ProjectionList() []Projection {
	ps := []Projection{{Name: EmbeddingName, Out: c.Vocab, In: c.Hidden}}
	for layer := range c.Layers {
		ps = append(ps, c.LayerProjections(layer)...)
	}
	return append(ps, Projection{Name: HeadName, Out: c.Vocab, In: c.Hidden})
}

// LayerProjections returns the projections of one layer in order.
func (c *Config) LayerProjections(layer int) []Projection {
	n, h := LayerNames(layer), c.Hidden
	q, kv := c.Heads*c.HeadDim, c.KVHeads*c.HeadDim
	return []Projection{
		{Name: n.Q, Out: q, In: h, Quantizable: true},
		{Name: n.K, Out: kv, In: h, Quantizable: true},
		{Name: n.V, Out: kv, In: h, Quantizable: true},
		{Name: n.O, Out: h, In: q, Quantizable: true},
		{Name: n.Router, Out: c.Experts, In: h},
		{Name: n.GateUp, Out: 2 * c.Intermediate, In: h, Experts: c.Experts, Quantizable: true},
		{Name: n.Down, Out: h, In: c.Intermediate, Experts: c.Experts, Quantizable: true},
	}
}

// Parameters returns the number of parameters of the whole model: projections,
// their biases (embedding and head have none), norms and sinks.
func (c *Config) Parameters() int64 {
	n := c.VectorParameters()
	for _, p := range c.ProjectionList() {
		n += p.Parameters()
	}
	return n
}

// VectorParameters returns how many parameters are biases, norms and sinks,
// which no quantization changes.
func (c *Config) VectorParameters() (n int64) {
	for _, p := range c.ProjectionList() {
		if p.Name != EmbeddingName && p.Name != HeadName {
			n += int64(max(1, p.Experts)) * int64(p.Out)
		}
	}
	return n + int64((2*c.Layers+1)*c.Hidden) + int64(c.Layers*c.Heads)
}
