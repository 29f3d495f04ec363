package evaluate

import (
	"bytes"
	"cmp"
	"fmt"
	"image/color"
	"io"
	"math"
	"slices"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

const (
	plotWidth  = 8 * vg.Inch
	plotHeight = 5 * vg.Inch
	// lowestKL is where a divergence of (next to) nothing is drawn: a
	// logarithmic axis has no zero.
	lowestKL = 1e-4
)

// Plot writes a picture of quality against size as SVG: every candidate's bits
// per weight and its mean KL divergence from the reference, on a logarithmic
// axis, with its 95 % interval.
//
// The text is set in whatever sans-serif font the viewer has.
func (r *Report) Plot(w io.Writer) error {
	if len(r.Candidates) == 0 {
		return fmt.Errorf("evaluate: nothing to plot: the report has no candidates")
	}
	p := plot.New()
	p.Title.Text = "What quantization cost, against " + r.Reference.Model
	p.Title.Padding = vg.Points(12)
	p.X.Label.Text = "bits per weight"
	p.Y.Label.Text = "KL divergence, nats per token (log)"
	// The points carry log10 of the divergence: with plot.LogScale the axis
	// label's place is computed wrongly and squeezes the picture (plot v0.17).
	p.Y.Tick.Marker = plot.TickerFunc(logTicks)
	for _, s := range []*text.Style{&p.Title.TextStyle, &p.X.Label.TextStyle, &p.Y.Label.TextStyle, &p.X.Tick.Label, &p.Y.Tick.Label} {
		s.Font.Variant = "Sans"
	}
	points := newScatter(r.Candidates, p.X.Tick.Label)
	grid := plotter.NewGrid()
	grid.Horizontal.Color, grid.Vertical.Color = color.Gray{225}, color.Gray{225}
	p.Add(grid, points)
	p.X.Min, p.X.Max, p.Y.Min, p.Y.Max = points.frame()

	canvas := vgsvg.New(plotWidth, plotHeight)
	p.Draw(draw.Crop(draw.New(canvas), 10, -20, 10, -10))
	var svg bytes.Buffer
	if _, err := canvas.WriteTo(&svg); err != nil {
		return err
	}
	// The backend names one font; a viewer without it would fall back to serifs.
	// Arial and Helvetica have the metrics that the layout was computed with.
	_, err := w.Write(bytes.ReplaceAll(svg.Bytes(), []byte("font-family:Liberation Sans;"), []byte("font-family:'Liberation Sans',Arial,Helvetica,sans-serif;")))
	return err
}

// logTicks labels the decades between 10^lo and 10^hi, and 2 and 5 in between
// where there are few of them.
func logTicks(lo, hi float64) []plot.Tick {
	var ticks []plot.Tick
	for e := int(math.Floor(lo)); e <= int(hi)+1; e++ {
		for digit := 1; digit < 10; digit++ {
			at := float64(e) + math.Log10(float64(digit))
			if at < lo || at > hi {
				continue
			}
			t := plot.Tick{Value: at}
			if digit == 1 || (digit == 2 || digit == 5) && hi-lo < 2.3 {
				t.Label = strconv.FormatFloat(math.Pow(10, at), 'g', 1, 64)
			}
			ticks = append(ticks, t)
		}
	}
	return ticks
}

// scatter draws labelled points with intervals.
type scatter struct {
	points []scatterPoint
	label  text.Style
}

type scatterPoint struct {
	name      string
	x         float64
	y, lo, hi float64 // log10
}

func newScatter(candidates []Candidate, label text.Style) *scatter {
	s := &scatter{label: label}
	s.label.XAlign, s.label.YAlign = text.XLeft, text.YCenter
	for _, c := range candidates {
		half := 0.0
		if h := float64(c.KLMeanCI95); h > 0 { // it may be NaN
			half = h
		}
		height := func(kl float64) float64 { return math.Log10(max(kl, lowestKL)) }
		pt := scatterPoint{name: c.Model, x: c.BitsPerWeight, y: height(c.KLMean), lo: height(c.KLMean - half), hi: height(c.KLMean + half)}
		if c.KLMean < lowestKL {
			pt.name += fmt.Sprintf(" (KL %.1g)", c.KLMean)
		}
		s.points = append(s.points, pt)
	}
	slices.SortStableFunc(s.points, func(a, b scatterPoint) int { return cmp.Compare(b.y, a.y) })
	return s
}

// frame returns the ranges of the axes: the points, and room around them for
// the labels.
func (s *scatter) frame() (xmin, xmax, ymin, ymax float64) {
	xmin, xmax, ymin, ymax = math.Inf(1), math.Inf(-1), math.Inf(1), math.Inf(-1)
	for _, pt := range s.points {
		xmin, xmax = min(xmin, pt.x), max(xmax, pt.x)
		ymin, ymax = min(ymin, pt.lo), max(ymax, pt.hi)
	}
	margin := max(0.25, 0.15*(xmax-xmin))
	return max(0, xmin-margin), xmax + margin, ymin - 0.25, ymax + 0.25
}

// Plot draws the points, then each label where it covers nothing.
func (s *scatter) Plot(c draw.Canvas, p *plot.Plot) {
	ink := color.RGBA{R: 0x1f, G: 0x4e, B: 0x9c, A: 0xff}
	x, y := p.Transforms(&c)
	dot := draw.GlyphStyle{Color: ink, Radius: vg.Points(3.5), Shape: draw.CircleGlyph{}}
	bar := draw.LineStyle{Color: ink, Width: vg.Points(1)}
	var taken []vg.Rectangle
	for _, pt := range s.points {
		at := vg.Point{X: x(pt.x), Y: y(pt.y)}
		c.StrokeLine2(bar, at.X, y(pt.lo), at.X, y(pt.hi))
		c.DrawGlyph(dot, at)
		r := vg.Point{X: dot.Radius, Y: dot.Radius}
		taken = append(taken, vg.Rectangle{Min: at.Sub(r), Max: at.Add(r)})
	}
	leader := draw.LineStyle{Color: color.Gray{150}, Width: vg.Points(0.5)}
	for _, pt := range s.points {
		point := vg.Point{X: x(pt.x), Y: y(pt.y)}
		box, moved := s.place(c, point, pt.name, taken)
		if moved {
			end := vg.Point{X: box.Min.X, Y: (box.Min.Y + box.Max.Y) / 2}
			if box.Max.X < point.X {
				end.X = box.Max.X
			}
			c.StrokeLine2(leader, point.X, point.Y, end.X, end.Y)
		}
		c.FillText(s.label, vg.Point{X: box.Min.X, Y: (box.Min.Y + box.Max.Y) / 2}, pt.name)
		taken = append(taken, box)
	}
}

// place returns where to write a label: beside its point if that is free, else
// the nearest free place above or below (moved), and right of it if there is
// none.
func (s *scatter) place(c draw.Canvas, at vg.Point, name string, taken []vg.Rectangle) (box vg.Rectangle, moved bool) {
	const gap, places = 7, 12
	size := s.label.Rectangle(name).Size()
	size.X *= 1.15 // the viewer's font may be wider
	beside := func(dx, dy vg.Length) vg.Rectangle {
		lowLeft := at.Add(vg.Point{X: dx, Y: dy - size.Y/2})
		return vg.Rectangle{Min: lowLeft, Max: lowLeft.Add(size)}
	}
	for i := range places {
		step := vg.Length(i)
		out := gap + 2*step
		for _, dy := range []vg.Length{step * size.Y / 2, -step * size.Y / 2} {
			for _, dx := range []vg.Length{out, -out - size.X} {
				if box := beside(dx, dy); inside(box, c.Rectangle) && !overlapsAny(box, taken) {
					return box, step > 1
				}
			}
		}
	}
	return beside(gap, 0), false
}

func inside(a, b vg.Rectangle) bool {
	return a.Min.X >= b.Min.X && a.Max.X <= b.Max.X && a.Min.Y >= b.Min.Y && a.Max.Y <= b.Max.Y
}

func overlapsAny(a vg.Rectangle, others []vg.Rectangle) bool {
	for _, b := range others {
		if a.Min.X < b.Max.X && b.Min.X < a.Max.X && a.Min.Y < b.Max.Y && b.Min.Y < a.Max.Y {
			return true
		}
	}
	return false
}
