// Package graph declares a model as a gorgonia expression graph and runs it
// without gorgonia's machines: a Plan computes a declared graph in memory it
// has shared out beforehand, for batches of rows that belong to any number of
// sequences, and allocates nothing while it runs.
//
// # Declare
//
// A Builder takes inputs, parameters, operators and gorgonia's own functions.
// Errors stick to it, so a declaration reads like the model:
//
//	b := graph.NewBuilder()
//	tokens := b.Input("tokens", tensor.Int32, maxRows)
//	x := ops.Embedding(b, "embed_tokens", table, tokens)
//	b.Scope("model.layers.0", func() {
//		h := ops.RMSNorm(b, "input_layernorm", w, 1e-5, x)
//		x = b.Try(gorgonia.Add(x, h))
//	})
//	if err := graph.WriteSVG(file, b, graph.DrawOptions{Rows: maxRows}); err != nil { … }
//
// What is declared is an ordinary gorgonia.ExprGraph (Builder.Graph):
// gorgonia.Grad differentiates it, and gorgonia's machines run it and are what
// the tests compare a Plan with, bit for bit.
//
// Shapes are fixed. The first axis of what flows through a model has maxRows
// rows, and a batch says how many of them hold something. One plan so serves
// prompts in chunks and single tokens.
//
// # Run
//
//	plan, err := b.Compile(graph.NewCPU(0), maxRows)
//	seq, err := plan.NewSequence()
//	batch := graph.NewBatch()
//	batch.Add(seq, len(prompt))    // these rows are the sequence's next tokens
//	batch.Want(len(prompt) - 1)    // results for the last of them
//	in, err := plan.Value(tokens)  // the input's memory
//	copy(in.Int32s(), prompt)
//	err = plan.Run(batch)
//
// How a run goes: Run checks the batch and makes room in its sequences; then it
// calls one step per node, in the order of the graph, on one goroutine. A step
// computes the batch's active rows and may spread them over the device's
// threads with CPU.Parallel. Operators with a state, such as attention, read
// Batch.Segments to learn which rows belong to which sequence; all others just
// see rows. Behind a RowSelector only the rows in Batch.Outputs go on. At the
// end the sequences are that many tokens longer. A Probe sees inputs and output
// of the nodes it matches while they are there; the graph does not change for
// it.
//
// # Where memory lives
//
// Weights belong to their operators: fields, not nodes, so any format will do
// and files may be mapped. Parameters, which can be differentiated by, are
// nodes whose memory is the tensor given to Builder.Parameter. The values of
// all other nodes live in the plan's arena: a node's block is used again once
// the last reader has run. Inputs and outputs keep theirs, and Plan.Value gives
// access to it; name in WithOutputs what else you want to read. What must
// outlive a run (keys and values) is a State, one for every stateful node and
// Sequence. So the plan, its arena and its scratch memory serve one batch at a
// time, and sequences are independent of each other. A sequence can be forked,
// truncated where its states can do so exactly, saved, and loaded by a plan of
// the same operators; it goes on with the same bits.
//
// # Operators of one's own
//
// A Kernel is a gorgonia.Op with a Prepare method, which is called once per
// plan and returns the Step to call at every run. Embed Base, add InferShape,
// Prepare and a Do that calls the function Do; add NewState to keep something
// per sequence. The example "Kernel" is one in full. Base.Attributes must tell
// apart operators that compute different things: gorgonia makes one node of two
// whose operators hash alike.
//
// Operators that are no kernels run too, through their Do method: they compute
// all maxRows rows and allocate.
package graph
