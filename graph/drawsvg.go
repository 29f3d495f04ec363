package graph

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"strings"
)

// palette is the fill and the line of every class, and its name in the legend.
var palette = [classCount]struct{ fill, line, name string }{
	classOp:        {"#ffffff", "#64748b", "operator"},
	classInput:     {"#dcfce7", "#16a34a", "input"},
	classParameter: {"#ede9fe", "#7c3aed", "parameter or constant"},
	classWeights:   {"#fef3c7", "#d97706", "operator with weights"},
	classOutput:    {"#dbeafe", "#2563eb", "output"},
	classGroup:     {"#f1f5f9", "#475569", "repeated"},
}

// WriteSVG draws what was declared, from the inputs at the top to the outputs
// at the bottom: a box for every node, with its name and operator, edges with
// the shape of what they carry, scopes as boxes around boxes. The same
// declaration gives the same bytes.
//
// Errors: the builder's first error; scopes collapsed into one box although
// what is between them is not; the writer's.
func WriteSVG(w io.Writer, b *Builder, opt DrawOptions) error {
	s, err := layOut(b, opt)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	s.svg(&out, opt.Title)
	_, err = w.Write(out.Bytes())
	return err
}

// layOut computes a drawing.
func layOut(b *Builder, opt DrawOptions) (*scene, error) {
	d, _, err := picture(b, opt)
	if err != nil {
		return nil, err
	}
	root := d.frames[b.root]
	if err := root.layout(d); err != nil {
		return nil, err
	}
	s := &scene{w: root.w, h: root.h}
	top := 0.0
	if opt.Title != "" {
		top = 34
		s.w = max(s.w, textWidth(opt.Title, 16)+2*framePad)
	}
	s.h += top
	s.flatten(d, root, point{math.Round((s.w - root.w) / 2), top}, 0)
	return s, nil
}

func (s *scene) svg(w *bytes.Buffer, title string) {
	legend, width := s.legend()
	full := max(s.w, width+2*framePad)
	fmt.Fprintf(w, `<svg xmlns="http://www.w3.org/2000/svg" width="%g" height="%g" viewBox="0 0 %g %g" font-family="Helvetica, Arial, sans-serif" font-size="12">`+"\n",
		full, s.h+legendHeight, full, s.h+legendHeight)
	w.WriteString(`<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto" markerUnits="userSpaceOnUse"><path d="M0 0.5 8 4 0 7.5z" fill="#475569"/></marker></defs>` + "\n")
	fmt.Fprintf(w, `<rect width="%g" height="%g" fill="#ffffff"/>`+"\n", full, s.h+legendHeight)
	fmt.Fprintf(w, `<g transform="translate(%g 0)">`+"\n", math.Round((full-s.w)/2))
	if title != "" {
		text(w, s.w/2, 26, 16, "middle", "#0f172a", true, title)
	}
	for _, f := range s.frames {
		fill := [2]string{"#f8fafc", "#f1f5f9"}[f.depth%2]
		fmt.Fprintf(w, `<rect x="%g" y="%g" width="%g" height="%g" rx="10" fill="%s" stroke="#cbd5e1"/>`+"\n", f.x, f.y, f.w, f.h, fill)
		text(w, f.x+framePad-4, f.y+17, titleFont, "start", "#475569", true, f.text)
	}
	for _, e := range s.edges {
		e.svg(w)
	}
	for _, b := range s.boxes {
		b.svg(w)
	}
	for _, l := range s.labels {
		text(w, l.x, l.y+labelFont-1, labelFont, "start", "#475569", false, l.text)
	}
	w.WriteString("</g>\n")
	at := framePad
	for _, c := range legend {
		p := palette[c]
		fmt.Fprintf(w, `<rect x="%g" y="%g" width="14" height="14" rx="4" fill="%s" stroke="%s"/>`+"\n", at, s.h+12, p.fill, p.line)
		text(w, at+20, s.h+23, subFont, "start", "#334155", false, p.name)
		at += legendWidth(c)
	}
	w.WriteString("</svg>\n")
}

const legendHeight = 40

// legend lists the classes that occur and the room they take.
func (s *scene) legend() (classes []class, width float64) {
	var seen [classCount]bool
	for _, b := range s.boxes {
		seen[b.box.class] = true
	}
	for c := range classCount {
		if seen[c] {
			classes = append(classes, c)
			width += legendWidth(c)
		}
	}
	return classes, width
}

func legendWidth(c class) float64 { return math.Ceil(textWidth(palette[c].name, subFont)) + 40 }

func (e edge) svg(w *bytes.Buffer) {
	fmt.Fprintf(w, `<path d="M%g %g`, e.points[0].x, e.points[0].y)
	for i, p := range e.points[1:] {
		q := e.points[i]
		switch {
		case p == q:
		case p.x == q.x:
			fmt.Fprintf(w, " V%g", p.y)
		default:
			mid := (q.y + p.y) / 2
			fmt.Fprintf(w, " C%g %g %g %g %g %g", q.x, mid, p.x, mid, p.x, p.y)
		}
	}
	w.WriteString(`" fill="none" stroke="#94a3b8" stroke-width="1.4"`)
	if e.arrow {
		w.WriteString(` marker-end="url(#arrow)"`)
	}
	w.WriteString("/>\n")
}

func (b placed) svg(w *bytes.Buffer) {
	p := palette[b.box.class]
	width, height, sheets := b.w, b.h, 1
	if b.box.kind == groupBox { // a stack of sheets
		sheets = 3
		width, height = width-2*sheetStep, height-2*sheetStep
	}
	for i := sheets - 1; i >= 0; i-- {
		d := float64(i) * sheetStep
		fmt.Fprintf(w, `<rect x="%g" y="%g" width="%g" height="%g" rx="7" fill="%s" stroke="%s" stroke-width="1.2"/>`+"\n",
			b.x+d, b.y+d, width, height, p.fill, p.line)
	}
	cx, cy := b.x+width/2, b.y+height/2
	if b.box.sub == "" {
		text(w, cx, cy+4, titleFont, "middle", "#0f172a", true, b.text)
		return
	}
	text(w, cx, cy-2, titleFont, "middle", "#0f172a", true, b.text)
	text(w, cx, cy+12, subFont, "middle", "#475569", false, b.box.sub)
}

// sheetStep is by how much the sheets of a repeated box are apart.
const sheetStep = 4.0

func text(w *bytes.Buffer, x, y, size float64, anchor, fill string, bold bool, s string) {
	fmt.Fprintf(w, `<text x="%g" y="%g" font-size="%g" text-anchor="%s" fill="%s"`, x, y, size, anchor, fill)
	if bold {
		w.WriteString(` font-weight="600"`)
	}
	w.WriteString(">")
	_ = xml.EscapeText(w, []byte(strings.ToValidUTF8(s, "?"))) // a bytes.Buffer does not fail
	w.WriteString("</text>\n")
}
