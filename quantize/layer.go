package quantize

import (
	"fmt"

	"github.com/seed-796a8800/tritium/gptoss"
	"github.com/seed-796a8800/tritium/internal/units"
	"github.com/seed-796a8800/tritium/ops"
	"github.com/seed-796a8800/tritium/ternaryop"
)

// piece is a part of a tensor of the result: a section of a unit.
type piece struct {
	unit    *unit
	section string
}

// fitted says where the tensors of the result are that the source does not
// have, or has differently: by name, the pieces that they are joined from.
type fitted map[string][]piece

// tensorsOf lists the tensors that final units hold.
func (r *run) tensorsOf(finals []*unit) (fitted, error) {
	t := fitted{}
	for _, u := range finals {
		f, err := r.openFinal(u)
		if err != nil {
			return nil, err
		}
		for name := range f.spans {
			tensor := name
			if u.projection != "" {
				tensor = u.projection + "." + name
			}
			t[tensor] = append(t[tensor], piece{u, name})
		}
		f.close()
	}
	return t, nil
}

// read returns the bytes of a tensor.
func (t fitted) read(r *run, name string) (data []byte, err error) {
	for _, p := range t[name] {
		f, err := r.openFinal(p.unit)
		if err != nil {
			return nil, err
		}
		part, err := f.bytes(p.section)
		f.close()
		if err != nil {
			return nil, err
		}
		data = append(data, part...)
	}
	return data, nil
}

// stack returns a quantized projection as the file will hold it.
func (r *run) stack(t fitted, p gptoss.Projection) (*ternaryop.Stack, error) {
	codes, err := t.read(r, p.Name+"."+codesPart)
	if err != nil {
		return nil, err
	}
	scales, err := t.read(r, p.Name+"."+scalesPart)
	if err != nil {
		return nil, err
	}
	format, group := r.formats[p.Name].Packing(p.In)
	s, err := ternaryop.StackFromBytes(format, max(1, p.Experts), p.Out, p.In, group, codes, scales)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.Name, err)
	}
	return s, nil
}

// packed reads a projection that is one unit.
func (r *run) packed(u *unit, p gptoss.Projection) (*ternaryop.Stack, error) {
	t, err := r.tensorsOf([]*unit{u})
	if err != nil {
		return nil, err
	}
	return r.stack(t, p)
}

// quantizedLayer returns the model with what some units, which are finished, made
// of a layer. The last one is kept: a layer runs over many shards.
func (r *run) quantizedLayer(layer int, from []*unit) (*overlay, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	which := units.NewKey("layer/1", layer, keysOf(from))
	if r.ready != nil && r.readyOf == which {
		return r.ready, nil
	}
	r.ready = nil // one at a time
	t, err := r.tensorsOf(from)
	if err != nil {
		return nil, err
	}
	o := newOverlay(r.source)
	n := gptoss.LayerNames(layer)
	for _, name := range []string{n.InputNorm, n.Sinks, n.PostNorm} {
		if o.vectors[name], err = r.vector(t, name); err != nil {
			return nil, err
		}
	}
	for _, p := range r.config.LayerProjections(layer) {
		if err := r.overlay(o, t, p, n.Router); err != nil {
			return nil, err
		}
	}
	r.ready, r.readyOf = o, which
	return o, nil
}

// overlay puts one projection into the model, if it has changed.
func (r *run) overlay(o *overlay, t fitted, p gptoss.Projection, router string) error {
	bias, err := r.vector(t, biasName(p))
	if err != nil {
		return err
	}
	if _, ok := r.formats[p.Name]; !ok {
		if len(t[p.Name+".weight"]) == 0 {
			return nil // as the source has it
		}
		weight, err := r.vector(t, p.Name+".weight")
		o.linears[p.Name] = ops.Dense{Name: p.Name, Weight: ops.F32{Out: p.Out, In: p.In, Data: weight}, Bias: bias}
		return err
	}
	s, err := r.stack(t, p)
	if err != nil {
		return err
	}
	if s, err = expanded(s); err != nil {
		return fmt.Errorf("%s: %w", p.Name, err)
	}
	if p.Experts > 0 {
		o.experts[p.Name] = ternaryop.Experts{Name: p.Name, Weight: s, Bias: bias, Active: r.config.ActiveExperts}
	} else {
		o.linears[p.Name] = ternaryop.Linear{Name: p.Name, Weight: s.At(0), Bias: bias}
	}
	return nil
}

// expanded returns weights as this processor multiplies them best.
func expanded(s *ternaryop.Stack) (*ternaryop.Stack, error) {
	if s.Format.Native() {
		return s, nil
	}
	return s.Expand(make([]byte, s.ExpandedBytes()))
}

// biasName is the name of a projection's bias; embedding and head have none.
func biasName(p gptoss.Projection) string {
	if p.Experts > 0 {
		return p.Name + "_bias"
	}
	return p.Name + ".bias"
}

// vector returns values that training may have changed.
func (r *run) vector(t fitted, name string) ([]float32, error) {
	if len(t[name]) == 0 {
		return r.source.Vector(name), nil
	}
	data, err := t.read(r, name)
	if err != nil {
		return nil, err
	}
	stored := r.stored[name]
	stored.Data = data
	return stored.Float32s()
}
