package quantize

import (
	"context"
	"fmt"

	"github.com/seed-796a8800/tritium/gptoss"
	"github.com/seed-796a8800/tritium/graph"
	"github.com/seed-796a8800/tritium/internal/routing"
	"github.com/seed-796a8800/tritium/ternaryop"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// layerRun runs one layer of the declared model over the calibration stream.
type layerRun struct {
	cpu     *graph.CPU
	config  gptoss.Config
	weights *overlay
	layer   int
	window  int
	rows    int // tokens a batch, a multiple of window
}

// observer looks at one batch's values of a node: [rows, ...], row-major.
type observer struct {
	node string // full name
	see  func(values []float32, rows int) error
}

// declare declares the layer on an input that the stream is copied to.
func (l *layerRun) declare() (b *graph.Builder, in *gorgonia.Node) {
	b = graph.NewBuilder()
	in = b.Input("stream", tensor.Float32, l.rows, l.config.Hidden)
	gptoss.DeclareLayer(b, l.config, l.weights, l.layer, in)
	return b, in
}

// run sends the stream x [tokens, H] through the layer as windows that each
// start a sequence. It computes only what the observed nodes need, and calls
// each observer with its node's values, batch by batch in the stream's order.
func (l *layerRun) run(ctx context.Context, x []float32, tick func(tokens int), observers ...observer) error {
	b, in := l.declare()
	h := l.config.Hidden
	var opts []graph.Option
	for _, o := range observers {
		node, ok := b.Lookup(o.node)
		if !ok {
			return fmt.Errorf("quantize: the declared layer has no node %q", o.node)
		}
		see := o.see
		opts = append(opts, graph.WithOutputs(node), graph.WithProbe(
			func(name string, _ gorgonia.Op) bool { return name == o.node },
			func(_ string, b *graph.Batch, _ []graph.Buffer, out graph.Buffer) error {
				width := out.Shape().TotalSize() / l.rows
				return see(out.Float32s()[:b.Rows()*width], b.Rows())
			}))
	}
	plan, err := b.Compile(l.cpu, l.rows, opts...)
	if err != nil {
		return err
	}
	buf, err := plan.Value(in)
	if err != nil {
		return err
	}
	batch := graph.NewBatch()
	for at := 0; at < len(x)/h; at += l.rows {
		if err := ctx.Err(); err != nil {
			return err
		}
		rows := min(l.rows, len(x)/h-at)
		batch.Reset()
		for r := 0; r < rows; r += l.window {
			seq, err := plan.NewSequence()
			if err != nil {
				return err
			}
			batch.Add(seq, l.window)
		}
		copy(buf.Float32s(), x[at*h:(at+rows)*h])
		if err := plan.Run(batch); err != nil {
			return err
		}
		tick(rows)
	}
	return nil
}

// roundInputs replaces rows of activations by what the int8 inputs of a
// quantized projection hold.
func roundInputs(cpu *graph.CPU, dst, x []float32, width int) {
	codes := make([][]int8, cpu.Threads())
	cpu.Parallel(len(x)/width, func(worker, r int) {
		if codes[worker] == nil {
			codes[worker] = make([]int8, width)
		}
		q := codes[worker]
		scale := ternaryop.QuantizeRow(q, x[r*width:(r+1)*width])
		row := dst[r*width : (r+1)*width]
		for i, c := range q {
			row[i] = scale * float32(c)
		}
	})
}

// linearMoment gathers the moment of a projection's input from the node that
// computes it.
type linearMoment struct {
	cpu     *graph.CPU
	moment  *Moment
	rounded []float32
}

func (m *linearMoment) see(values []float32, rows int) error {
	width := m.moment.Inputs()
	m.rounded = grow(m.rounded, len(values))
	roundInputs(m.cpu, m.rounded, values, width)
	return m.moment.Add(m.cpu, m.rounded, width, nil)
}

// expertMoments gathers the moments of an expert projection's input, each
// expert's over the tokens routed to it. The two nodes it observes may be
// computed in either order; their values stay until the end of the batch.
type expertMoments struct {
	cpu     *graph.CPU
	moments []*Moment
	active  int
	perSlot bool // inputs are [T, A, In], not [T, In]
	as      *routing.Assignment
	routed  bool      // as holds this batch's routing
	inputs  []float32 // this batch's inputs, if they came first
	rounded []float32
	list    []int
}

func newExpertMoments(cpu *graph.CPU, p gptoss.Projection, active, maxRows int, perSlot bool) *expertMoments {
	m := &expertMoments{cpu: cpu, active: active, perSlot: perSlot, as: routing.New(maxRows, p.Experts, active)}
	for range p.Experts {
		m.moments = append(m.moments, NewMoment(p.In))
	}
	return m
}

func (m *expertMoments) seeRouting(values []float32, rows int) error {
	if err := m.as.Build(values, rows); err != nil {
		return err
	}
	m.routed = true
	return m.gather()
}

func (m *expertMoments) seeInputs(values []float32, _ int) error {
	m.inputs = values
	return m.gather()
}

// gather adds the batch once both of its halves are there.
func (m *expertMoments) gather() error {
	if !m.routed || m.inputs == nil {
		return nil
	}
	width := m.moments[0].Inputs()
	m.rounded = grow(m.rounded, len(m.inputs))
	roundInputs(m.cpu, m.rounded, m.inputs, width)
	for e, moment := range m.moments {
		tokens, slots := m.as.Of(e)
		m.list = m.list[:0]
		for i, t := range tokens {
			row := int(t)
			if m.perSlot {
				row = row*m.active + int(slots[i])
			}
			m.list = append(m.list, row)
		}
		if len(m.list) == 0 {
			continue
		}
		if err := moment.Add(m.cpu, m.rounded, width, m.list); err != nil {
			return err
		}
	}
	m.routed, m.inputs = false, nil
	return nil
}

// shrink pulls every expert's moment towards the layer's.
func (m *expertMoments) shrink() error {
	layer := NewMoment(m.moments[0].Inputs())
	for _, e := range m.moments {
		if err := layer.Merge(m.cpu, e); err != nil {
			return err
		}
	}
	for _, e := range m.moments {
		if err := e.Shrink(m.cpu, layer, 2*float64(e.Inputs())); err != nil {
			return err
		}
	}
	return nil
}

// layerMoments are the statistics of one layer's projections.
type layerMoments struct {
	qkv, o       linearMoment
	gateUp, down *expertMoments
}

func newLayerMoments(cpu *graph.CPU, c gptoss.Config, ps map[string]gptoss.Projection, n gptoss.Names, maxRows int) *layerMoments {
	return &layerMoments{
		qkv:    linearMoment{cpu: cpu, moment: NewMoment(ps[n.Q].In)},
		o:      linearMoment{cpu: cpu, moment: NewMoment(ps[n.O].In)},
		gateUp: newExpertMoments(cpu, ps[n.GateUp], c.ActiveExperts, maxRows, false),
		down:   newExpertMoments(cpu, ps[n.Down], c.ActiveExperts, maxRows, true),
	}
}

// flush frees what only gathering needs: as much again as a fit takes.
func (m *layerMoments) flush() {
	for _, x := range append(append([]*Moment{m.qkv.moment, m.o.moment}, m.gateUp.moments...), m.down.moments...) {
		x.Flush(m.qkv.cpu)
	}
	m.qkv.rounded, m.o.rounded, m.gateUp.rounded, m.down.rounded = nil, nil, nil, nil
}

func (m *layerMoments) seeRouting(values []float32, rows int) error {
	if err := m.gateUp.seeRouting(values, rows); err != nil {
		return err
	}
	return m.down.seeRouting(values, rows)
}
