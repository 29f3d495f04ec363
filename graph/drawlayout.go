package graph

import (
	"fmt"
	"math"
	"slices"

	"gorgonia.org/gorgonia"
)

// The layout is layered, after Sugiyama: boxes go to layers by their longest
// path from above, edges that pass layers get a bend in each, barycenters
// order the layers, and least squares place the boxes. A frame is laid out by
// itself and is then one box of the frame around it.

// segment is the part of an edge between two layers next to each other. Edges
// of one signal share their segments as far as they go together.
type segment struct {
	from, to       *box
	signal         *gorgonia.Node
	weight         float64 // how much it wants to be straight
	fromOff, toOff float64 // where it ends, from the boxes' centres
}

// Sizes in pixels.
const (
	titleFont, subFont, labelFont = 12.0, 10.0, 10.0

	framePad    = 16.0
	frameTitle  = 24.0
	boxGap      = 26.0
	bendGap     = 16.0
	labelHeight = 18.0
)

// layout lays out a frame and the frames in it.
func (f *frame) layout(d *drawer) error {
	for _, x := range f.boxes {
		switch x.kind {
		case frameBox:
			if err := x.frame.layout(d); err != nil {
				return err
			}
			x.w, x.h = x.frame.w, x.frame.h
		case nodeBox, groupBox:
			d.size(x)
		}
	}
	if err := f.assignLayers(); err != nil {
		return err
	}
	f.route()
	f.order()
	f.place(d)
	f.stack(d)
	return nil
}

// size gives a box room for its text and for the labels below it.
func (d *drawer) size(x *box) {
	x.w = max(84, textWidth(x.title, titleFont)+24, textWidth(x.sub, subFont)+24)
	x.h = 30
	if x.sub != "" {
		x.h = 42
	}
	if x.kind == groupBox {
		labels := 0.0
		for _, s := range x.signals {
			labels += textWidth(d.shape(s), labelFont) + 24
		}
		x.w, x.h = max(x.w+24, labels), 54
	}
}

// exit returns where a signal leaves a box, from its centre.
func (x *box) exit(signal *gorgonia.Node) float64 {
	switch x.kind {
	case frameBox:
		return x.frame.out[signal].x - x.w/2
	case groupBox:
		n := len(x.signals)
		return (float64(slices.Index(x.signals, signal))+0.5)/float64(n)*x.w - x.w/2
	}
	return 0
}

// entry returns where a signal enters a box, from its centre, as far as the
// layout needs to know: boxes of nodes take it anywhere.
func (x *box) entry(signal *gorgonia.Node) float64 {
	if x.kind == frameBox {
		return x.frame.in[signal].x - x.w/2
	}
	return 0
}

// assignLayers puts every box one layer below the lowest it reads. Ports have
// the first and the last layer to themselves. What reads nothing goes right
// above its first reader.
func (f *frame) assignLayers() error {
	reads, readers := map[*box]int{}, map[*box][]*box{}
	for _, l := range f.links {
		reads[l.to]++
		readers[l.from] = append(readers[l.from], l.to)
	}
	first := 0
	if len(f.in) > 0 {
		first = 1
	}
	var queue []*box
	for _, x := range f.boxes {
		if x.layer = first; x.kind == inPort {
			x.layer = 0
		}
		if reads[x] == 0 {
			queue = append(queue, x)
		}
	}
	last, done := first, 0
	for ; len(queue) > 0; done++ {
		x := queue[0]
		queue = queue[1:]
		if x.kind != outPort {
			last = max(last, x.layer)
		}
		for _, y := range readers[x] {
			y.layer = max(y.layer, x.layer+1)
			if reads[y]--; reads[y] == 0 {
				queue = append(queue, y)
			}
		}
	}
	if done < len(f.boxes) {
		return fmt.Errorf("graph: drawing %q: collapsing scopes into one box makes a circle of edges", f.title)
	}
	sources := map[*box]bool{}
	for _, x := range f.boxes {
		sources[x] = x.kind != inPort
	}
	for _, l := range f.links {
		sources[l.to] = false
	}
	for _, x := range f.boxes {
		switch {
		case x.kind == outPort:
			x.layer = last + 1
		case sources[x] && len(readers[x]) > 0:
			low := last + 1
			for _, y := range readers[x] {
				if y.kind != outPort {
					low = min(low, y.layer)
				}
			}
			x.layer = max(first, low-1)
		}
	}
	return nil
}

// route makes the bends and segments of all links and the lists of layers.
func (f *frame) route() {
	for _, x := range f.boxes {
		f.enter(x)
	}
	type at struct {
		from   *box
		signal *gorgonia.Node
		layer  int
	}
	trunk := map[at]*box{}
	longest := slices.Clone(f.links)
	slices.SortStableFunc(longest, func(a, b *link) int { return b.to.layer - a.to.layer })
	for _, l := range longest {
		prev := l.from
		for layer := l.from.layer + 1; layer < l.to.layer; layer++ {
			k := at{l.from, l.signal, layer}
			if trunk[k] == nil {
				trunk[k] = f.enter(&box{kind: bend, layer: layer})
				f.join(prev, trunk[k], l.signal)
			}
			prev = trunk[k]
			l.bends = append(l.bends, prev)
		}
		f.join(prev, l.to, l.signal)
	}
}

func (f *frame) enter(x *box) *box {
	for len(f.layers) <= x.layer {
		f.layers = append(f.layers, nil)
	}
	f.layers[x.layer] = append(f.layers[x.layer], x)
	return x
}

func (f *frame) join(from, to *box, signal *gorgonia.Node) {
	weight := 2.0
	switch {
	case from.kind == bend && to.kind == bend:
		weight = 8
	case from.kind == bend || to.kind == bend:
		weight = 0.4 // a detour may start and end with a curve
	case from.class == classParameter || from.class == classInput:
		weight = 0.5 // what a box computes from is above it, weights aside
	}
	s := &segment{from: from, to: to, signal: signal, weight: weight, fromOff: from.exit(signal), toOff: to.entry(signal)}
	from.down = append(from.down, s)
	to.up = append(to.up, s)
}

// order sorts every layer by the mean position of what its boxes are connected
// to, sweeping down and up, and keeps the order with the fewest crossings.
func (f *frame) order() {
	best, fewest := cloneLayers(f.layers), f.crossings()
	for sweep := 0; sweep < 16 && fewest > 0; sweep++ {
		for i := range f.layers {
			layer, down := f.layers[i], sweep%2 == 0
			if !down {
				layer = f.layers[len(f.layers)-1-i]
			}
			sortLayer(layer, f.positions(), down)
		}
		if c := f.crossings(); c < fewest {
			best, fewest = cloneLayers(f.layers), c
		}
	}
	f.layers = best
}

func cloneLayers(layers [][]*box) [][]*box {
	c := make([][]*box, len(layers))
	for i, l := range layers {
		c[i] = slices.Clone(l)
	}
	return c
}

func (f *frame) positions() map[*box]float64 {
	pos := map[*box]float64{}
	for _, l := range f.layers {
		for i, x := range l {
			pos[x] = float64(i)
		}
	}
	return pos
}

// within adds where on a box an edge ends to the box's position.
func within(pos, off float64, x *box) float64 { return pos + 0.8*off/max(1, x.w) }

func sortLayer(layer []*box, pos map[*box]float64, down bool) {
	mean := map[*box]float64{}
	for _, x := range layer {
		sum, n := 0.0, 0.0
		if down {
			for _, s := range x.up {
				sum, n = sum+within(pos[s.from], s.fromOff, s.from), n+1
			}
		} else {
			for _, s := range x.down {
				sum, n = sum+within(pos[s.to], s.toOff, s.to), n+1
			}
		}
		if mean[x] = pos[x]; n > 0 {
			mean[x] = sum / n
		}
	}
	slices.SortStableFunc(layer, func(a, b *box) int {
		switch {
		case mean[a] < mean[b]:
			return -1
		case mean[a] > mean[b]:
			return 1
		}
		return 0
	})
}

// crossings counts the pairs of segments that cross.
func (f *frame) crossings() int {
	pos, n := f.positions(), 0
	for _, layer := range f.layers {
		var segments []*segment
		for _, x := range layer {
			segments = append(segments, x.down...)
		}
		for i, s := range segments {
			for _, t := range segments[:i] {
				a := within(pos[s.from], s.fromOff, s.from) - within(pos[t.from], t.fromOff, t.from)
				b := within(pos[s.to], s.toOff, s.to) - within(pos[t.to], t.toOff, t.to)
				if a*b < 0 {
					n++
				}
			}
		}
	}
	return n
}

// textWidth estimates, rather too high, how wide a sans-serif text is: the
// reader's fonts are not known here.
func textWidth(s string, size float64) float64 {
	w := 0.0
	for _, r := range s {
		switch {
		case r == 'i' || r == 'j' || r == 'l' || r == '.' || r == ',' || r == ' ' || r == '[' || r == ']' || r == 't' || r == 'f' || r == ':':
			w += 0.38
		case r == 'm' || r == 'w' || r == 'M' || r == 'W' || r > math.MaxUint8:
			w += 0.98
		case r >= 'A' && r <= 'Z':
			w += 0.72
		default:
			w += 0.64
		}
	}
	return w * size
}
