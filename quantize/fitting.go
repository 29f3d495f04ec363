package quantize

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/seed-796a8800/tritium/gptoss"
	"github.com/seed-796a8800/tritium/ops"
	"github.com/seed-796a8800/tritium/ternaryop"
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
		if f.Ternary() {
			packed, fit, err := r.fitTernary(p, f, r.source.Matrix(p.Name), m)
			if err != nil {
				return fmt.Errorf("%s: %w", p.Name, err)
			}
			if err := r.writer.Write(p.Name+".codes", packed.Codes); err != nil {
				return err
			}
			if err := r.writer.Write(p.Name+".scales", packed.Scales); err != nil {
				return err
			}
			stream, err := expanded(&ternaryop.Stack{Format: packed.Format, E: 1, Out: p.Out, In: p.In, Group: packed.Group,
				Codes: packed.Codes, Scales: packed.Scales})
			if err != nil {
				return fmt.Errorf("%s: %w", p.Name, err)
			}
			r.weights.linears[p.Name] = ternaryop.Linear{Name: p.Name, Weight: stream.At(0), Bias: bias}
			r.report.add(p, f, fit.RelativeError, tokensOf(m))
		} else {
			q, err := r.writeIntegers(p, true)
			if err != nil {
				return fmt.Errorf("%s: %w", p.Name, err)
			}
			r.weights.linears[p.Name] = ternaryop.Linear{Name: p.Name, Weight: *q, Bias: bias}
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
	format, group := f.Packing(p.In)
	stack := &ternaryop.Stack{Format: format, E: p.Experts, Out: p.Out, In: p.In, Group: group}
	var errorSum float64
	for e, w := range r.source.ExpertMatrices(p.Name) {
		if err := r.ctx.Err(); err != nil {
			return err
		}
		var m *Moment
		if calibrated {
			m = in.moments[e]
		}
		packed, fit, err := r.fitTernary(p, f, w, m)
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
		if stack, err = expanded(stack); err != nil {
			return fmt.Errorf("%s: %w", p.Name, err)
		}
		r.weights.experts[p.Name] = ternaryop.Experts{Name: p.Name, Weight: stack, Bias: r.source.Vector(p.Name + "_bias"), Active: r.config.ActiveExperts}
	}
	r.report.addExperts(p, f, errorSum/float64(p.Experts), tokens, calibrated)
	return nil
}

func (r *run) fitTernary(p gptoss.Projection, f gptoss.Format, w ops.Matrix, m *Moment) (*ternaryop.Matrix, Fit, error) {
	format, group := f.Packing(p.In)
	fit, err := r.fitter.Ternary(r.decode(w), p.Out, p.In, group, m, r.opt.Method, r.opt.Fit)
	if err != nil {
		return nil, fit, err
	}
	packed, err := ternaryop.Pack(format, fit.Codes, fit.Scales, p.Out, p.In, group)
	return packed, fit, err
}

// expanded returns weights as this processor multiplies them best.
func expanded(s *ternaryop.Stack) (*ternaryop.Stack, error) {
	if s.Format.Native() {
		return s, nil
	}
	return s.Expand(make([]byte, s.ExpandedBytes()))
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
		if _, ok := r.formats[name]; !ok {
			continue
		}
		m, err := r.writeIntegers(p, name == gptoss.EmbeddingName || r.opt.endToEnd())
		if err != nil {
			return fmt.Errorf("quantize: %s: %w", name, err)
		}
		if name == gptoss.HeadName {
			r.head = m
		} else {
			r.weights.embedding = m
		}
		r.meter.add("quantizing "+name, fitWork(r.opt, p))
	}
	return nil
}

// tableRows is how many rows of an embedding are float32 at a time: whole tiles,
// so that the packed pieces follow each other.
const tableRows = 4096

// writeIntegers fits a weight to int8 or int4, a few rows at a time, and writes
// it; it returns it too if asked to.
func (r *run) writeIntegers(p gptoss.Projection, keep bool) (*ternaryop.Matrix, error) {
	f := r.formats[p.Name]
	format, group := f.Packing(p.In)
	codes, err := r.writer.Tensor(p.Name + ".codes")
	if err != nil {
		return nil, err
	}
	scales, err := r.writer.Tensor(p.Name + ".scales")
	if err != nil {
		return nil, err
	}
	kept := &ternaryop.Matrix{Format: format, Out: p.Out, In: p.In, Group: group}
	src := r.source.Matrix(p.Name)
	var lost, energy float64
	buf := make([]float32, min(tableRows, p.Out)*p.In)
	for row := 0; row < p.Out; row += tableRows {
		if err := r.ctx.Err(); err != nil {
			return nil, err
		}
		n := min(tableRows, p.Out-row)
		w := buf[:n*p.In]
		src.DecodeRows(w, row, n)
		packed, e, err := packIntegers(w, n, p.In, format, group)
		if err != nil {
			return nil, err
		}
		lost += e
		for _, v := range w {
			energy += float64(v) * float64(v)
		}
		if _, err := codes.Write(packed.Codes); err != nil {
			return nil, err
		}
		if _, err := scales.Write(packed.Scales); err != nil {
			return nil, err
		}
		if keep {
			kept.Codes, kept.Scales = append(kept.Codes, packed.Codes...), append(kept.Scales, packed.Scales...)
		}
	}
	r.report.add(p, f, ratio(lost, energy), 0)
	if !keep {
		return nil, nil
	}
	return kept, nil
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
