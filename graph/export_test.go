package graph

// Rect is a rectangle of a drawing, for tests.
type Rect struct {
	X, Y, W, H float64
	Text       string
}

// Geometry is where a drawing's parts are, for tests.

type Geometry struct {
	W, H                  float64
	Boxes, Frames, Labels []Rect
	Edges                 []Edge
}

// Edge is the ends of an edge and the rectangles it connects. A port is a
// rectangle without a size.
type Edge struct {
	X0, Y0, X1, Y1     float64
	FromPort, ToPort   bool
	FromTitle, ToTitle string
}

// Measure lays out a drawing.
func Measure(b *Builder, opt DrawOptions) (*Geometry, error) {
	s, err := layOut(b, opt)
	if err != nil {
		return nil, err
	}
	g := &Geometry{W: s.w, H: s.h}
	rects := func(ps []placed) (rs []Rect) {
		for _, p := range ps {
			rs = append(rs, Rect{p.x, p.y, p.w, p.h, p.text})
		}
		return rs
	}
	g.Boxes, g.Frames, g.Labels = rects(s.boxes), rects(s.frames), rects(s.labels)
	for _, e := range s.edges {
		p, q := e.points[0], e.points[len(e.points)-1]
		port := func(x *box) bool { return x.kind != nodeBox && x.kind != groupBox }
		g.Edges = append(g.Edges, Edge{p.x, p.y, q.x, q.y, port(e.link.from), port(e.link.to), e.link.from.title, e.link.to.title})
	}
	return g, nil
}

// TextWidth is the estimate that the layout uses.
func TextWidth(s string, size float64) float64 { return textWidth(s, size) }
