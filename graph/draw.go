package graph

import (
	"fmt"
	"slices"
	"strings"

	"gorgonia.org/gorgonia"
)

// DrawOptions says how WriteSVG and WriteDOT draw. The zero value draws
// everything.
type DrawOptions struct {
	// Title is written above the drawing.
	Title string
	// Rows is the size of a first axis that is printed as T: the graph's
	// maxRows, which is a limit and no property of the model.
	Rows int
	// Outputs leaves out what none of these nodes needs.
	Outputs []*gorgonia.Node
	// Collapse is asked about every scope, by its full name, the outer ones
	// first. Where it says ok, the scope is drawn as one box with that label.
	// Scopes with one label are one box: repeated layers, say.
	Collapse func(scope string) (label string, ok bool)
	// HoldsWeights tells which operators are drawn as holding weights. By
	// default those with a method CanonicalName() string.
	HoldsWeights func(gorgonia.Op) bool
}

// class is what a box stands for; it decides the colour.
type class int

const (
	classOp class = iota
	classInput
	classParameter
	classWeights
	classOutput
	classGroup
	classCount
)

// boxKind is what a box does in the layout.
type boxKind int

const (
	nodeBox  boxKind = iota // one node
	groupBox                // a collapsed scope
	frameBox                // a scope with its boxes in it
	inPort                  // where a signal crosses a frame's upper edge
	outPort                 // where a signal crosses a frame's lower edge
	bend                    // where a long edge passes a layer
)

// box is an element of a frame. Its position is relative to the frame.
type box struct {
	kind       boxKind
	class      class
	title, sub string
	frame      *frame           // of a frameBox
	signals    []*gorgonia.Node // of a groupBox: what leaves it
	layer      int
	x, y, w, h float64 // centre, top, size
	up, down   []*segment
}

// link is an edge within a frame: a signal (a node's value) from one box to
// another. An edge between boxes of different frames is a chain of links that
// meet at ports.
type link struct {
	from, to *box
	signal   *gorgonia.Node
	bends    []*box
	slot     float64 // where it enters its box, from the centre
}

// frame is a scope, or the whole drawing.
type frame struct {
	title   string
	parent  *frame
	own     *box // in the parent
	boxes   []*box
	links   []*link
	linked  map[linkKey]bool
	in, out map[*gorgonia.Node]*box
	groups  map[string]*box
	layers  [][]*box
	tops    []float64 // of the layers
	heights []float64
	stubs   []float64 // room for labels below each layer
	w, h    float64
}

// drawer builds the frames.
type drawer struct {
	b       *Builder
	opt     DrawOptions
	frames  map[*scope]*frame
	boxes   map[*gorgonia.Node]*box
	frameOf map[*box]*frame
}

// picture returns the frames and boxes of what was declared, not laid out yet.
func picture(b *Builder, opt DrawOptions) (*drawer, []*gorgonia.Node, error) {
	if b.err != nil {
		return nil, nil, b.err
	}
	if opt.HoldsWeights == nil {
		opt.HoldsWeights = func(op gorgonia.Op) bool {
			_, ok := op.(interface{ CanonicalName() string })
			return ok
		}
	}
	d := &drawer{b: b, opt: opt, frames: map[*scope]*frame{}, boxes: map[*gorgonia.Node]*box{}, frameOf: map[*box]*frame{}}
	d.frames[b.root] = newFrame("", nil)
	nodes, outputs, err := d.needed()
	if err != nil {
		return nil, nil, err
	}
	for _, n := range nodes {
		d.add(n, outputs[n])
	}
	for _, n := range nodes {
		for _, k := range childrenOf(n) {
			d.connect(k, n)
		}
	}
	return d, nodes, nil
}

// needed lists the nodes to draw as they were declared.
func (d *drawer) needed() (nodes []*gorgonia.Node, outputs map[*gorgonia.Node]bool, err error) {
	all := slices.Clone(d.b.g.AllNodes())
	slices.SortFunc(all, func(a, b *gorgonia.Node) int { return int(a.ID() - b.ID()) })
	outputs, need := map[*gorgonia.Node]bool{}, map[*gorgonia.Node]bool{}
	for i, n := range d.opt.Outputs {
		if n == nil || n.Graph() != d.b.g {
			return nil, nil, fmt.Errorf("graph: drawing: output %d is not a node of the graph", i)
		}
		outputs[n] = true
	}
	if len(outputs) == 0 {
		read := map[*gorgonia.Node]bool{}
		for _, n := range all {
			for _, k := range childrenOf(n) {
				read[k] = true
			}
		}
		for _, n := range all {
			outputs[n] = !read[n]
		}
	}
	for _, n := range slices.Backward(all) { // inputs are declared before what reads them
		need[n] = need[n] || outputs[n]
		for _, k := range childrenOf(n) {
			need[k] = need[k] || need[n]
		}
	}
	return slices.DeleteFunc(all, func(n *gorgonia.Node) bool { return !need[n] }), outputs, nil
}

func newFrame(title string, parent *frame) *frame {
	return &frame{title: title, parent: parent, linked: map[linkKey]bool{}, groups: map[string]*box{},
		in: map[*gorgonia.Node]*box{}, out: map[*gorgonia.Node]*box{}}
}

// frameFor returns a scope's frame, or the box it is collapsed into.
func (d *drawer) frameFor(s *scope) (*frame, *box) {
	if f, ok := d.frames[s]; ok {
		return f, nil
	}
	parent, group := d.frameFor(s.parent)
	if group != nil {
		return parent, group
	}
	if d.opt.Collapse != nil {
		if label, ok := d.opt.Collapse(s.path()); ok {
			if parent.groups[label] == nil {
				parent.groups[label] = d.put(parent, &box{kind: groupBox, class: classGroup, title: label})
			}
			return parent, parent.groups[label]
		}
	}
	f := newFrame(s.name, parent)
	f.own = d.put(parent, &box{kind: frameBox, frame: f})
	d.frames[s] = f
	return f, nil
}

func (d *drawer) put(f *frame, x *box) *box {
	f.boxes = append(f.boxes, x)
	d.frameOf[x] = f
	return x
}

// add makes a node's box.
func (d *drawer) add(n *gorgonia.Node, output bool) {
	s := d.b.root.of(n.ID())
	f, group := d.frameFor(s)
	if group != nil {
		d.boxes[n] = group
		return
	}
	x := &box{}
	x.title = strings.TrimPrefix(strings.TrimPrefix(d.b.Name(n), s.path()), ".")
	switch {
	case n.Op() == nil:
		x.class = classInput
		if d.b.parameters[n] {
			x.class = classParameter
		}
		if x.sub = "input"; x.class == classParameter {
			x.sub = "parameter"
		}
	default:
		x.sub = kindOf(n.Op())
		if _, named := d.b.names[n]; !named {
			x.title, x.sub = x.sub, ""
		}
		if d.opt.HoldsWeights(n.Op()) {
			x.class = classWeights
		}
		if _, ok := constantOf(n); ok {
			x.class = classParameter
		}
	}
	if x.sub == x.title {
		x.sub = ""
	}
	if output {
		x.class = classOutput
		x.sub = strings.TrimSpace(x.sub + "  " + d.shape(n))
	}
	d.boxes[n] = d.put(f, x)
}

// kindOf returns an operator's name without what gorgonia adds to it.
func kindOf(op gorgonia.Op) string {
	s := strings.TrimSuffix(strings.TrimSuffix(fmt.Sprint(op), " true"), " false")
	return strings.TrimSuffix(s, "()")
}

// shape returns a node's shape as it labels edges: [T, 2880].
func (d *drawer) shape(n *gorgonia.Node) string {
	shape := n.Shape()
	if len(shape) == 0 {
		return "scalar"
	}
	parts := make([]string, len(shape))
	for i, size := range shape {
		parts[i] = fmt.Sprint(size)
	}
	if d.opt.Rows > 0 && shape[0] == d.opt.Rows {
		parts[0] = "T"
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

// connect links the boxes of two nodes, through ports where they are in
// different frames.
func (d *drawer) connect(signal, reader *gorgonia.Node) {
	from, to := d.boxes[signal], d.boxes[reader]
	if from == to {
		return // within a collapsed scope
	}
	if from.kind == groupBox && !slices.Contains(from.signals, signal) {
		from.signals = append(from.signals, signal)
	}
	above := map[*frame]bool{}
	for f := d.frameOf[to]; f != nil; f = f.parent {
		above[f] = true
	}
	f := d.frameOf[from]
	for ; !above[f]; f = f.parent {
		if f.out[signal] == nil {
			f.out[signal] = d.put(f, &box{kind: outPort})
		}
		f.link(from, f.out[signal], signal)
		from = f.own
	}
	for g := d.frameOf[to]; g != f; g = g.parent {
		if g.in[signal] == nil {
			g.in[signal] = d.put(g, &box{kind: inPort})
		}
		g.link(g.in[signal], to, signal)
		to = g.own
	}
	f.link(from, to, signal)
}

// linkKey tells links apart: a node that reads another twice has one link.
type linkKey struct {
	from, to *box
	signal   *gorgonia.Node
}

func (f *frame) link(from, to *box, signal *gorgonia.Node) {
	if key := (linkKey{from, to, signal}); !f.linked[key] {
		f.linked[key] = true
		f.links = append(f.links, &link{from: from, to: to, signal: signal})
	}
}
