package quantize

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/seed-796a8800/tritium/gptoss"
	"github.com/seed-796a8800/tritium/internal/units"
	"github.com/seed-796a8800/tritium/ops"
	"github.com/seed-796a8800/tritium/ternaryop"
)

// The sections of a fit's unit: matrices in their packed form, one after the
// other.
const (
	codesPart  = "codes"
	scalesPart = "scales"
)

// fitAbout is what the unit of a fit says of it, by matrix.
type fitAbout struct {
	RelativeError []float64 `json:"relative_error"`
	Tokens        []int     `json:"tokens"` // routed to it
	Forced        []int     `json:"forced,omitempty"`
}

// fitWeights is how many weights a unit of experts holds at least: enough that
// the experts of a small model are not a thousand files. One expert of
// gpt-oss-20b has more.
const fitWeights = 1 << 22

// fitUnits are the units of a projection: one, or for experts one for a few of
// them.
func (r *run) fitUnits(p gptoss.Projection, moment *unit, shards []*unit) (us []*unit) {
	f := r.formats[p.Name]
	matrices := max(1, p.Experts)
	step := max(1, fitWeights/(p.Out*p.In))
	from := append([]*unit(nil), shards...)
	if moment != nil {
		from = append(from, moment)
	}
	var layer int
	fmt.Sscanf(p.Name, "model.layers.%d.", &layer)
	for first := 0; first < matrices; first += step {
		last := min(first+step, matrices)
		u := &unit{phase: fitting, layer: layer, projection: p.Name,
			name: "fitting " + lastPart(p.Name), work: fitWork(r.opt, p) * float64(last-first) / float64(matrices)}
		if p.Experts > 0 {
			u.first, u.last = first, last
			u.name += fmt.Sprintf(", expert %d", first)
		}
		if isFitted(f, p) {
			fit, _ := r.opt.Fit.resolve()
			u.inputs = from
			u.key = units.NewKey("fit/1", r.model, p.Name, first, last, f, r.opt.Method.start(), fit, keysOf(from))
			u.make = func(w *worker, path string) error { return w.fitMatrices(path, p, moment, shards, first, last) }
			if p.Experts > 0 && moment != nil {
				u.work += expertMomentWork(r.config, p, len(r.tokens)) * float64(last-first) / float64(matrices)
			}
		} else {
			u.key = units.NewKey("integers/1", r.model, p.Name, f)
			u.make = func(w *worker, path string) error { return w.fitIntegers(path, p) }
		}
		us = append(us, u)
	}
	return us
}

// packedBytes are the sizes of a matrix' codes and scales.
func packedBytes(p gptoss.Projection, f gptoss.Format) (codes, scales int64, err error) {
	format, group := f.Packing(p.In)
	c, s, err := ternaryop.Layout(format, p.Out, p.In, group)
	return int64(c), int64(s), err
}

// createFit creates the unit of some matrices of a projection.
func (r *run) createFit(path string, p gptoss.Projection, matrices int) (*unitWriter, error) {
	codes, scales, err := packedBytes(p, r.formats[p.Name])
	if err != nil {
		return nil, err
	}
	n := int64(matrices)
	return createUnit(path, section{codesPart, n * codes}, section{scalesPart, n * scales})
}

// fitMatrices fits matrices [first, last) of a projection.
func (w *worker) fitMatrices(path string, p gptoss.Projection, moment *unit, shards []*unit, first, last int) error {
	file, err := w.run.createFit(path, p, last-first)
	if err != nil {
		return err
	}
	about, err := w.fitInto(file, p, moment, shards, first, last)
	if err != nil {
		file.file.Close()
		return err
	}
	return file.finish(about)
}

func (w *worker) fitInto(file *unitWriter, p gptoss.Projection, moment *unit, shards []*unit, first, last int) (about fitAbout, err error) {
	r := w.run
	all, err := w.moment(moment, p.In)
	if err != nil {
		return about, err
	}
	codes, scales := file.at(codesPart, 0), file.at(scalesPart, 0)
	for i := first; i < last; i++ {
		if err := r.ctx.Err(); err != nil {
			return about, err
		}
		m, matrix := all, r.matrix(p, i)
		if p.Experts > 0 && all != nil {
			var forced int
			if m, forced, err = w.expertMoment(p, shards, all, i); err != nil {
				return about, err
			}
			about.Forced = append(about.Forced, forced)
		}
		packed, fit, err := w.fitMatrix(p, r.formats[p.Name], matrix, m)
		if err != nil {
			return about, fmt.Errorf("matrix %d: %w", i, err)
		}
		_, err1 := codes.Write(packed.Codes)
		_, err2 := scales.Write(packed.Scales)
		if err := errors.Join(err1, err2); err != nil {
			return about, err
		}
		about.RelativeError = append(about.RelativeError, fit.RelativeError)
		about.Tokens = append(about.Tokens, tokensOf(m))
		w.tick(1 / float64(last-first))
	}
	return about, nil
}

// matrix returns the source's weights of one expert, or of the projection.
func (r *run) matrix(p gptoss.Projection, i int) ops.Matrix {
	if p.Experts > 0 {
		return r.source.ExpertMatrices(p.Name)[i]
	}
	return r.source.Matrix(p.Name)
}

func (w *worker) fitMatrix(p gptoss.Projection, f gptoss.Format, weights ops.Matrix, m *Moment) (*ternaryop.Matrix, Fit, error) {
	format, group := f.Packing(p.In)
	fit, err := w.fitter.Fit(format, w.decode(weights), p.Out, p.In, group, m, w.run.opt.Method, w.run.opt.Fit)
	if err != nil {
		return nil, fit, err
	}
	packed, err := ternaryop.Pack(format, fit.Codes, fit.Scales, p.Out, p.In, group)
	return packed, fit, err
}

// decode reads a weight as float32 into memory that the next decode reuses.
func (w *worker) decode(m ops.Matrix) []float32 {
	out, in := m.Dims()
	w.decoded = grow(w.decoded, out*in)
	const block = 64
	dst := w.decoded
	w.cpu.Parallel((out+block-1)/block, func(_, i int) {
		n := min(block, out-i*block)
		m.DecodeRows(dst[i*block*in:(i*block+n)*in], i*block, n)
	})
	return dst
}

func tokensOf(m *Moment) int {
	if m == nil {
		return 0
	}
	return m.Tokens()
}

// tableRows is how many rows of an embedding are float32 at a time: whole tiles,
// so that the packed pieces follow each other.
const tableRows = 4096

// fitIntegers fits a weight to int8 or int4, a few rows at a time.
func (w *worker) fitIntegers(path string, p gptoss.Projection) error {
	file, err := w.run.createFit(path, p, 1)
	if err != nil {
		return err
	}
	relative, err := w.fitRows(file.at(codesPart, 0), file.at(scalesPart, 0), p)
	if err != nil {
		file.file.Close()
		return err
	}
	return file.finish(fitAbout{RelativeError: []float64{relative}, Tokens: []int{0}})
}

func (w *worker) fitRows(codes, scales io.Writer, p gptoss.Projection) (relative float64, err error) {
	format, group := w.run.formats[p.Name].Packing(p.In)
	src := w.run.source.Matrix(p.Name)
	var lost, energy float64
	buf := make([]float32, min(tableRows, p.Out)*p.In)
	for row := 0; row < p.Out; row += tableRows {
		if err := w.run.ctx.Err(); err != nil {
			return 0, err
		}
		n := min(tableRows, p.Out-row)
		x := buf[:n*p.In]
		src.DecodeRows(x, row, n)
		packed, e, err := packIntegers(x, n, p.In, format, group)
		if err != nil {
			return 0, err
		}
		lost += e
		for _, v := range x {
			energy += float64(v) * float64(v)
		}
		_, err1 := codes.Write(packed.Codes)
		_, err2 := scales.Write(packed.Scales)
		if err := errors.Join(err1, err2); err != nil {
			return 0, err
		}
		w.tick(float64(n) / float64(p.Out))
	}
	return ratio(lost, energy), nil
}

// packIntegers fits and packs rows, and returns Σ (w - scale·code)².
func packIntegers(w []float32, out, in int, format ternaryop.Format, group int) (packed *ternaryop.Matrix, lost float64, err error) {
	var codes []int8
	var scales []float32
	if format == ternaryop.Int8 {
		codes, scales, err = FitInt8(w, out, in)
	} else {
		codes, scales, err = FitInt4(w, out, in, group)
	}
	if err != nil {
		return nil, 0, err
	}
	groups := groupsOf(in, group)
	for i, c := range codes {
		d := float64(w[i]) - float64(scales[i/in*groups+i%in/group])*float64(c)
		lost += float64(d * d)
	}
	packed, err = ternaryop.Pack(format, codes, scales, out, in, group)
	return packed, lost, err
}

func lastPart(name string) string { return name[strings.LastIndexByte(name, '.')+1:] }

// leastFed returns the expert with the fewest tokens.
func leastFed(tokens []int) (expert, n int) {
	n = slices.Min(tokens)
	return slices.Index(tokens, n), n
}
