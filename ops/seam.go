package ops

import (
	"github.com/seed-796a8800/tritium/graph"
	"gorgonia.org/gorgonia"
)

// Linear puts a projection y = W·x + b into a graph.
//
// Shapes: x [T, In] -> [T, Out].
type Linear interface {
	Apply(b *graph.Builder, x *gorgonia.Node) *gorgonia.Node
}

// ExpertLinear puts one projection of a mixture of experts into a graph: for
// each token and each of its active experts, in increasing order of expert,
// y = W[expert]·x + b[expert]. A token has an active expert where its routing
// weight is not zero; slots beyond them are zero.
//
// Shapes: x [T, In], the same for all active experts of a token, or [T, A, In],
// one for each; routing [T, E] -> [T, A, Out].
type ExpertLinear interface {
	Apply(b *graph.Builder, x, routing *gorgonia.Node) *gorgonia.Node
}
