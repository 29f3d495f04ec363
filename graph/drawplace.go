package graph

import (
	"cmp"
	"math"
	"slices"

	"gorgonia.org/gorgonia"
)

// place finds the boxes' horizontal positions: each wants to be where its
// edges are straight, and keeps its place in its layer.
func (f *frame) place(d *drawer) {
	for _, layer := range f.layers {
		at := 0.0
		for _, x := range layer {
			l, r := d.sides(x)
			x.x = at + l
			at += l + r + boxGap
		}
		for _, x := range layer {
			x.x -= at / 2
		}
	}
	const rough, fine = 40, 160
	for sweep := range rough + fine {
		// First squares, which bring everything near its place; then sums of
		// lengths, which would rather have one edge slanted than two.
		power := 2.0
		if sweep >= rough {
			power = 1
		}
		for i := range f.layers {
			if sweep%2 == 1 {
				i = len(f.layers) - 1 - i
			}
			d.align(f.layers[i], power)
		}
	}
	left := math.Inf(1)
	for _, layer := range f.layers {
		for _, x := range layer {
			l, _ := d.sides(x)
			left = min(left, x.x-l)
		}
	}
	// Nothing enters a frame through its title.
	shift := framePad - left
	if f.title != "" {
		for _, port := range f.in {
			shift = max(shift, textWidth(f.title, titleFont)+2*framePad-port.x)
		}
	}
	f.w = textWidth(f.title, titleFont) + 2*framePad
	for _, layer := range f.layers {
		for _, x := range layer {
			x.x = math.Round(x.x + shift)
			_, r := d.sides(x)
			f.w = max(f.w, x.x+r+framePad)
		}
	}
	f.w = math.Ceil(f.w)
}

// sides returns the room a box takes left and right of its centre. An edge's
// label is to the right of the edge.
func (d *drawer) sides(x *box) (left, right float64) {
	left, right = x.w/2, x.w/2
	if x.kind == nodeBox && len(x.down) > 0 {
		right = max(right, 8+textWidth(d.shape(x.down[0].signal), labelFont))
	}
	if x.kind == groupBox && len(x.signals) > 0 {
		last := x.signals[len(x.signals)-1]
		right = max(right, x.exit(last)+8+textWidth(d.shape(last), labelFont))
	}
	return left, right
}

// align moves the boxes of a layer to where the weighted powers of their
// segments' slants are least, in order and with room between them: isotonic
// regression by pooling adjacent violators, the first power by reweighting.
func (d *drawer) align(layer []*box, power float64) {
	type pool struct {
		first, last int
		sum, weight float64
	}
	pools := make([]pool, 0, len(layer))
	offsets := make([]float64, len(layer)) // of each box if all stood as close as they may
	for i, x := range layer {
		if i > 0 {
			_, r := d.sides(layer[i-1])
			l, _ := d.sides(x)
			gap := boxGap
			if x.kind == bend || layer[i-1].kind == bend || x.kind == inPort || x.kind == outPort {
				gap = bendGap
			}
			offsets[i] = offsets[i-1] + r + gap + l
		}
		want, weight := x.x*0.001, 0.001
		pull := func(to, w float64) {
			if power == 1 {
				w /= max(1, math.Abs(to-x.x))
			}
			want, weight = want+w*to, weight+w
		}
		for _, s := range x.up {
			pull(s.from.x+s.fromOff-s.toOff, s.weight)
		}
		for _, s := range x.down {
			pull(s.to.x+s.toOff-s.fromOff, s.weight)
		}
		p := pool{i, i, want - weight*offsets[i], weight}
		for len(pools) > 0 {
			q := pools[len(pools)-1]
			if q.sum/q.weight <= p.sum/p.weight {
				break
			}
			p = pool{q.first, p.last, p.sum + q.sum, p.weight + q.weight}
			pools = pools[:len(pools)-1]
		}
		pools = append(pools, p)
	}
	for _, p := range pools {
		for i := p.first; i <= p.last; i++ {
			layer[i].x = p.sum/p.weight + offsets[i]
		}
	}
}

// stack finds the vertical positions.
func (f *frame) stack(d *drawer) {
	n := len(f.layers)
	f.tops, f.heights, f.stubs = make([]float64, n), make([]float64, n), make([]float64, n)
	y := framePad
	if f.title != "" {
		y = frameTitle + 8
	}
	for i, layer := range f.layers {
		ports, slant := false, 0.0
		for _, x := range layer {
			f.heights[i] = max(f.heights[i], x.h)
			ports = ports || x.kind == inPort || x.kind == outPort
			for _, s := range x.down {
				slant = max(slant, math.Abs(s.from.x+s.fromOff-s.to.x-s.toOff))
				if x.kind == nodeBox || x.kind == groupBox {
					f.stubs[i] = labelHeight
				}
			}
		}
		if ports && i == 0 {
			f.stubs[i] = y - 8 // past the title
			y = 0
		}
		f.tops[i] = y
		for _, x := range layer {
			x.y = y + f.heights[i] - x.h // near its label
			if len(x.down) == 0 {
				x.y = y
			}
		}
		y += f.heights[i]
		if i < n-1 {
			y += f.stubs[i] + 18 + math.Round(min(30, slant/6))
		}
	}
	f.h = y
	if len(f.out) == 0 {
		f.h += framePad
	}
	for _, x := range f.boxes {
		f.slots(x)
	}
}

// slots spreads the edges that enter a node's box: straight down where they
// come from above the box, and never at one point.
func (f *frame) slots(x *box) {
	var in []*link
	for _, l := range f.links {
		if l.to == x {
			in = append(in, l)
		}
	}
	if x.kind != nodeBox && x.kind != groupBox {
		for _, l := range in {
			l.slot = x.entry(l.signal)
		}
		return
	}
	slices.SortStableFunc(in, func(a, b *link) int { return cmp.Compare(a.lastX(), b.lastX()) })
	const gap, margin = 18.0, 14.0
	room := max(0, x.w/2-margin)
	step := gap
	if len(in) > 1 {
		step = min(step, 2*room/float64(len(in)-1))
	}
	for i, l := range in {
		lo, hi := -room+float64(i)*step, room-float64(len(in)-1-i)*step
		if i > 0 {
			lo = max(lo, in[i-1].slot+step)
		}
		l.slot = min(max(l.lastX()-x.x, lo), hi)
	}
}

// lastX is where a link comes from, in the layer above its end.
func (l *link) lastX() float64 {
	if n := len(l.bends); n > 0 {
		return l.bends[n-1].x
	}
	return l.from.x + l.from.exit(l.signal)
}

// point is a place in the drawing.
type point struct{ x, y float64 }

// path returns the corners of a link: vertical within a layer and the room for
// labels below it, slanted between. Points come in pairs, the ends of a
// vertical piece.
func (f *frame) path(l *link) []point {
	below := func(layer int) float64 { return f.tops[layer] + f.heights[layer] + f.stubs[layer] }
	x := l.from.x + l.from.exit(l.signal)
	ps := []point{{x, l.from.y + l.from.h}, {x, below(l.from.layer)}}
	for _, b := range l.bends {
		ps = append(ps, point{b.x, f.tops[b.layer]}, point{b.x, below(b.layer)})
	}
	x = l.to.x + l.slot
	return append(ps, point{x, f.tops[l.to.layer]}, point{x, l.to.y})
}

// scene is a finished layout in absolute positions.
type scene struct {
	w, h   float64
	frames []placed
	boxes  []placed
	edges  []edge
	labels []placed
}

// placed is a rectangle with what it shows.
type placed struct {
	x, y, w, h float64 // left, top, size
	depth      int
	box        *box
	text       string
}

type edge struct {
	points []point
	link   *link
	arrow  bool
}

// flatten adds a frame at a position.
func (s *scene) flatten(d *drawer, f *frame, at point, depth int) {
	if f.parent != nil {
		s.frames = append(s.frames, placed{at.x, at.y, f.w, f.h, depth, f.own, f.title})
	}
	labelled := map[*gorgonia.Node]bool{}
	for _, l := range f.links {
		ps := f.path(l)
		for i := range ps {
			ps[i].x, ps[i].y = ps[i].x+at.x, ps[i].y+at.y
		}
		s.edges = append(s.edges, edge{ps, l, l.to.kind == nodeBox || l.to.kind == groupBox})
		if k := l.from.kind; (k == nodeBox || k == groupBox) && !labelled[l.signal] {
			labelled[l.signal] = true
			text := d.shape(l.signal)
			y := at.y + f.tops[l.from.layer] + f.heights[l.from.layer] + 3
			s.labels = append(s.labels, placed{ps[0].x + 5, y, textWidth(text, labelFont), labelFont + 2, 0, nil, text})
		}
	}
	for _, x := range f.boxes {
		switch x.kind {
		case frameBox:
			s.flatten(d, x.frame, point{at.x + x.x - x.w/2, at.y + x.y}, depth+1)
		case nodeBox, groupBox:
			s.boxes = append(s.boxes, placed{at.x + x.x - x.w/2, at.y + x.y, x.w, x.h, depth, x, x.title})
		}
	}
}
