package quantize

import (
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strings"
	"unsafe"

	"github.com/seed-796a8800/tritium/gptoss"
	"github.com/seed-796a8800/tritium/ops"
	"github.com/seed-796a8800/tritium/ternaryop"
	"github.com/x448/float16"
)

// fitLinears fits projections that share an input, writes them, and puts them
// into the model that the stream runs through.
func (r *run) fitLinears(m *Moment, ps ...gptoss.Projection) error {
	for _, p := range ps {
		if err := r.ctx.Err(); err != nil {
			return err
		}
		f, ok := r.formats[p.Name]
		if !ok {
			continue // stays as the source has it
		}
		bias := r.source.Vector(p.Name + ".bias")
		switch f.Kind {
		case gptoss.FormatTernary:
			packed, fit, err := r.fitTernary(p, f.Group, r.source.Matrix(p.Name), m)
			if err != nil {
				return fmt.Errorf("%s: %w", p.Name, err)
			}
			r.weights.linears[p.Name] = ternaryop.Linear{Name: p.Name, Weight: *packed, Bias: bias}
			if err := r.writer.Write(p.Name+".codes", packed.Codes); err != nil {
				return err
			}
			if err := r.writer.Write(p.Name+".scales", packed.Scales); err != nil {
				return err
			}
			r.report.add(p, f, fit.RelativeError, tokensOf(m))
		case gptoss.FormatInt8:
			q, err := r.writeInt8(p)
			if err != nil {
				return fmt.Errorf("%s: %w", p.Name, err)
			}
			r.weights.linears[p.Name] = ops.Dense{Name: p.Name, Weight: q, Bias: bias, Int8Inputs: true}
		}
		r.meter.add("fitting "+lastPart(p.Name), fitWork(r.opt, p))
	}
	return nil
}

// fitExperts fits one projection of every expert, decoding one at a time.
func (r *run) fitExperts(p gptoss.Projection, in *expertMoments) error {
	f := r.formats[p.Name]
	tokens := make([]int, p.Experts)
	for e, m := range in.moments {
		tokens[e] = m.Tokens()
	}
	calibrated := r.opt.Method.Calibrates()
	if calibrated {
		if err := in.shrink(); err != nil {
			return err
		}
	}
	codes, err := r.writer.Tensor(p.Name + ".codes")
	if err != nil {
		return err
	}
	scales, err := r.writer.Tensor(p.Name + ".scales")
	if err != nil {
		return err
	}
	stack := &ternaryop.Stack{E: p.Experts, Out: p.Out, In: p.In, Group: f.Group}
	var errorSum float64
	for e, w := range r.source.ExpertMatrices(p.Name) {
		if err := r.ctx.Err(); err != nil {
			return err
		}
		var m *Moment
		if calibrated {
			m = in.moments[e]
		}
		packed, fit, err := r.fitTernary(p, f.Group, w, m)
		if err != nil {
			return fmt.Errorf("%s: expert %d: %w", p.Name, e, err)
		}
		in.moments[e] = nil
		errorSum += fit.RelativeError
		for _, part := range []struct {
			to   io.Writer
			data []byte
		}{{codes, packed.Codes}, {scales, packed.Scales}} {
			if _, err := part.to.Write(part.data); err != nil {
				return err
			}
		}
		if calibrated { // only then does the stream run through it
			stack.Codes = append(stack.Codes, packed.Codes...)
			stack.Scales = append(stack.Scales, packed.Scales...)
		}
		r.meter.add(fmt.Sprintf("fitting %s, expert %d", lastPart(p.Name), e), fitWork(r.opt, p)/float64(p.Experts))
	}
	if calibrated {
		r.weights.experts[p.Name] = ternaryop.Experts{Name: p.Name, Weight: stack, Bias: r.source.Vector(p.Name + "_bias"), Active: r.config.ActiveExperts}
	}
	r.report.addExperts(p, f, errorSum/float64(p.Experts), tokens, calibrated)
	return nil
}

func (r *run) fitTernary(p gptoss.Projection, group int, w ops.Matrix, m *Moment) (*ternaryop.Matrix, Fit, error) {
	fit, err := r.fitter.Ternary(r.decode(w), p.Out, p.In, group, m, r.opt.Method, r.opt.Fit)
	if err != nil {
		return nil, fit, err
	}
	packed, err := ternaryop.Pack(ternaryop.Ternary2, fit.Codes, fit.Scales, p.Out, p.In, group)
	return packed, fit, err
}

func tokensOf(m *Moment) int {
	if m == nil {
		return 0
	}
	return m.Tokens()
}

// quantizeTables quantizes embedding and head where that is asked for.
func (r *run) quantizeTables() error {
	for _, name := range []string{gptoss.EmbeddingName, gptoss.HeadName} {
		p := r.config.Projections()[name]
		var m ops.Matrix
		var err error
		switch r.formats[name].Kind {
		case gptoss.FormatInt8:
			m, err = r.writeInt8(p)
		case gptoss.FormatInt4:
			m, err = r.writeInt4(p)
		default:
			continue
		}
		if err != nil {
			return fmt.Errorf("quantize: %s: %w", name, err)
		}
		if name == gptoss.EmbeddingName {
			r.weights.embedding = m
		}
		r.meter.add("quantizing "+name, fitWork(r.opt, p))
	}
	return nil
}

// tableRows is how many rows of an embedding are float32 at a time.
const tableRows = 4096

// eachChunk calls f with a few rows of a weight at a time, as float32, and adds
// up the squared error that f returns and the squares of the weights.
func (r *run) eachChunk(p gptoss.Projection, f func(w []float32, row, n int) (float64, error)) (relative float64, err error) {
	src := r.source.Matrix(p.Name)
	var lost, energy float64
	buf := make([]float32, min(tableRows, p.Out)*p.In)
	for row := 0; row < p.Out; row += tableRows {
		if err := r.ctx.Err(); err != nil {
			return 0, err
		}
		n := min(tableRows, p.Out-row)
		w := buf[:n*p.In]
		src.DecodeRows(w, row, n)
		e, err := f(w, row, n)
		if err != nil {
			return 0, err
		}
		lost += e
		for _, v := range w {
			energy += float64(v) * float64(v)
		}
	}
	return ratio(lost, energy), nil
}

// writeInt8 fits and writes a weight as int8 with one scale a row.
func (r *run) writeInt8(p gptoss.Projection) (ops.Int8, error) {
	q := ops.Int8{Out: p.Out, In: p.In, Codes: make([]int8, 0, p.Out*p.In), Scales: make([]float32, 0, p.Out)}
	relative, err := r.eachChunk(p, func(w []float32, _, n int) (float64, error) {
		codes, scales, err := FitInt8(w, n, p.In)
		q.Codes, q.Scales = append(q.Codes, codes...), append(q.Scales, scales...)
		return codeError(w, codes, scales, p.In), err
	})
	if err != nil {
		return q, err
	}
	if err := r.writer.Write(p.Name+".codes", unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(q.Codes))), len(q.Codes))); err != nil {
		return q, err
	}
	r.report.add(p, r.formats[p.Name], relative, 0)
	return q, r.writer.Write(p.Name+".scales", halves(q.Scales))
}

// writeInt4 fits and writes a weight as int4 in groups.
func (r *run) writeInt4(p gptoss.Projection) (ops.Int4, error) {
	f := r.formats[p.Name]
	q := ops.Int4{Out: p.Out, In: p.In, Group: f.Group, Codes: make([]byte, 0, p.Out*p.In/2), Scales: make([]float32, 0, p.Out*p.In/f.Group)}
	relative, err := r.eachChunk(p, func(w []float32, _, n int) (float64, error) {
		codes, scales, err := FitInt4(w, n, p.In, f.Group)
		for i := 0; i+1 < len(codes); i += 2 {
			q.Codes = append(q.Codes, byte(codes[i])&15|byte(codes[i+1])<<4)
		}
		q.Scales = append(q.Scales, scales...)
		return codeError(w, codes, scales, f.Group), err
	})
	if err != nil {
		return q, err
	}
	if err := r.writer.Write(p.Name+".codes", q.Codes); err != nil {
		return q, err
	}
	r.report.add(p, f, relative, 0)
	return q, r.writer.Write(p.Name+".scales", halves(q.Scales))
}

// codeError is Σ (w - scale·code)² with one scale per group.
func codeError(w []float32, codes []int8, scales []float32, group int) float64 {
	var sum float64
	for g, s := range scales {
		for i, c := range codes[g*group : (g+1)*group] {
			d := float64(w[g*group+i]) - float64(s)*float64(c)
			sum += d * d
		}
	}
	return sum
}

// halves encodes values that are half floats already.
func halves(x []float32) []byte {
	b := make([]byte, 2*len(x))
	for i, v := range x {
		binary.LittleEndian.PutUint16(b[2*i:], float16.Fromfloat32(v).Bits())
	}
	return b
}

func lastPart(name string) string { return name[strings.LastIndexByte(name, '.')+1:] }

// leastFed returns the expert with the fewest tokens.
func leastFed(tokens []int) (expert, n int) {
	n = slices.Min(tokens)
	return slices.Index(tokens, n), n
}
