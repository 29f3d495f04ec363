package ops

import (
	"github.com/seed-796a8800/tritium/graph"
	"github.com/seed-796a8800/tritium/internal/mxfp4"
	"github.com/seed-796a8800/tritium/internal/routing"
	"github.com/seed-796a8800/tritium/internal/t16"
)

// The products of this file are in whole numbers: MXFP4 weights, read as they
// are published, times rows of int8; see t16.MatMulMXFP4.

// wholeNumbers returns m as the kernels of whole numbers take it, or says that it
// is in a format for which they are not there.
func wholeNumbers(m Matrix, bias []float32) (t16.MXFP4Rows, bool) {
	w, ok := m.(MXFP4)
	if !ok || w.In > t16.MXFP4.MaxK() {
		return t16.MXFP4Rows{}, false
	}
	return t16.MXFP4Rows{Blocks: w.Blocks, Scales: w.Scales, Bias: bias, Out: w.Out, K: w.In}, true
}

// chunkTiles is how many 16-row tiles a call of a parallel region computes: an
// even number, since many tokens take tiles by two, small enough that the
// threads end together.
func chunkTiles(tiles, threads int) int { return 2 * max(1, min(4, tiles/(8*threads))) }

// newTurned returns the memory of the workers, each with room for in columns.
func newTurned(threads, in int) []t16.MXFP4Tile {
	turned := make([]t16.MXFP4Tile, threads)
	for i := range turned {
		turned[i].Reset(in)
	}
	return turned
}

// prepareInt8 is Prepare of a projection by weights in MXFP4.
func (o *dense) prepareInt8(a *graph.Args, cpu *graph.CPU, w t16.MXFP4Rows) graph.Step {
	x, out := a.In[0].Float32s(), a.Out.Float32s()
	tiles := w.Tiles()
	chunk := chunkTiles(tiles, cpu.Threads())
	turned := newTurned(cpu.Threads(), o.in)
	var panel t16.Panel
	panel.Reset(t16.MXFP4, o.in, mxfp4.BlockSize, a.MaxRows) // so that no run has to grow it
	quantize := func(_, t int) { panel.Set(t, x[t*o.in:(t+1)*o.in], t) }
	multiply := func(worker, i int) {
		t16.MatMulMXFP4(out, o.out, &w, i*chunk, min(tiles, (i+1)*chunk), &panel, &turned[worker])
	}
	return func(b *graph.Batch) error {
		rows := b.Active(a.Rows)
		if rows == 0 {
			return nil
		}
		panel.Reset(t16.MXFP4, o.in, mxfp4.BlockSize, rows)
		cpu.Parallel(rows, quantize)
		cpu.Parallel((tiles+chunk-1)/chunk, multiply)
		return nil
	}
}

// int8Experts is the memory of one prepared projection of experts in MXFP4.
// They run in waves of at most as many as a token has: a decoded token is one
// wave, and the panels' memory does not grow with the number of experts.
type int8Experts struct {
	*denseExperts
	as            *routing.Assignment
	x, dst        []float32
	perSlot       bool // x is [T, A, In], not [T, In]
	weights       []t16.MXFP4Rows
	panels        []t16.Panel
	turned        []t16.MXFP4Tile
	tiles         int
	chunk, chunks int
	wave          []int32 // the experts of the open wave, panel i holding expert wave[i]'s tokens
	base          int     // the wave's first entry in the assignment
}

// int8Weights returns the experts as the kernels of whole numbers take them, or
// nil if the inputs are not to be rounded or a matrix is in another format.
func (o *denseExperts) int8Weights() []t16.MXFP4Rows {
	if !o.Int8Inputs {
		return nil
	}
	weights := make([]t16.MXFP4Rows, len(o.Weights))
	for e, m := range o.Weights {
		var bias []float32
		if o.Bias != nil {
			bias = o.Bias[e*o.out : (e+1)*o.out]
		}
		var ok bool
		if weights[e], ok = wholeNumbers(m, bias); !ok {
			return nil
		}
	}
	return weights
}

// prepareInt8 is Prepare of experts in MXFP4.
func (o *denseExperts) prepareInt8(a *graph.Args, cpu *graph.CPU, weights []t16.MXFP4Rows) graph.Step {
	r := &int8Experts{
		denseExperts: o, as: routing.New(a.MaxRows, len(weights), o.Active),
		x: a.In[0].Float32s(), dst: a.Out.Float32s(), perSlot: len(a.In[0].Shape()) == 3,
		weights: weights, panels: make([]t16.Panel, o.Active), turned: newTurned(cpu.Threads(), o.in),
		tiles: weights[0].Tiles(),
	}
	for i := range r.panels {
		r.panels[i].Reset(t16.MXFP4, o.in, mxfp4.BlockSize, 1) // so that decoding never grows it
	}
	r.chunk = chunkTiles(r.tiles, cpu.Threads())
	r.chunks = (r.tiles + r.chunk - 1) / r.chunk
	quantize, multiply := r.quantize, r.multiply
	routed := a.In[1].Float32s()
	return func(b *graph.Batch) error {
		rows := b.Active(a.Rows)
		if err := r.as.Build(routed, rows); err != nil {
			return err
		}
		if int(r.as.Start[len(weights)]) < rows*o.Active {
			clear(r.dst[:rows*o.Active*o.out]) // slots without an expert
		}
		for at := 0; at < len(r.as.Active); at += o.Active {
			r.wave = r.as.Active[at:min(at+o.Active, len(r.as.Active))]
			n := 0
			for i, e := range r.wave {
				tokens, _ := r.as.Of(int(e))
				r.panels[i].Reset(t16.MXFP4, o.in, mxfp4.BlockSize, len(tokens))
				n += len(tokens)
			}
			r.base = int(r.as.Start[r.wave[0]])
			cpu.Parallel(n, quantize)
			cpu.Parallel(len(r.wave)*r.chunks, multiply)
		}
		return nil
	}
}

// quantize puts the i-th (token, expert) pair of the wave into its panel.
func (r *int8Experts) quantize(_, i int) {
	at := r.base + i
	p := 0
	for at >= int(r.as.Start[r.wave[p]+1]) {
		p++
	}
	row := int(r.as.Tokens[at])
	slot := row*r.Active + int(r.as.Slot[at])
	if r.perSlot {
		row = slot
	}
	r.panels[p].Set(at-int(r.as.Start[r.wave[p]]), r.x[row*r.in:(row+1)*r.in], slot)
}

// multiply computes some tiles of one of the wave's experts for all its tokens.
func (r *int8Experts) multiply(worker, i int) {
	p, c := i/r.chunks, i%r.chunks*r.chunk
	t16.MatMulMXFP4(r.dst, r.out, &r.weights[r.wave[p]], c, min(r.tiles, c+r.chunk), &r.panels[p], &r.turned[worker])
}
