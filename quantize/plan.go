package quantize

import (
	"fmt"

	"github.com/seed-796a8800/tritium/gptoss"
	"github.com/seed-796a8800/tritium/internal/units"
	"github.com/seed-796a8800/tritium/ops"
)

// unit is one piece of a run's work, whose result is a file of the store. Its
// key is known before it is made, because it follows from the keys of what it
// is made from.
type unit struct {
	key    units.Key
	name   string // for whoever waits: "fitting gate_up_proj, expert 7"
	phase  phase
	layer  int
	work   float64
	inputs []*unit
	make   func(w *worker, path string) error

	projection  string // that is fitted, and of its experts
	first, last int    // the first and the one behind the last

	final bool // its tensors are the result's
	share int  // of Options.Shard, to whom a final unit belongs
}

// phase is a kind of units, which have the same speed.
type phase int

const (
	writing   phase = iota // text, by the original
	gathering              // what enters the projections of a layer
	summing                // the products of that
	fitting
	running // a layer, for the next one's stream
	training
	phases // how many there are
)

var phaseNames = [phases]string{"writing", "statistics", "moments", "fitting", "running", "training"}

// steps are a run's units in an order in which they can be made: those of a
// step do not need each other.
type steps [][]*unit

// inputPlace is a place in a layer where a projection's input is observed.
type inputPlace int

const (
	qkvInput inputPlace = iota
	oInput
	gateUpInput
	downInput
	inputPlaces
)

var inputNames = [inputPlaces]string{"qkv", "o", "gate_up", "down"}

// layerUnits are the units of one layer.
type layerUnits struct {
	inputs  []*unit            // by shard
	moments [inputPlaces]*unit // nil where nothing is fitted to it
	fits    []*unit
	trained *unit // by itself; nil where nothing is trained
	window  *unit // with others; nil where nothing is
}

// finals are the units that hold the layer's tensors.
func (l *layerUnits) finals() []*unit {
	switch {
	case l.window != nil:
		return []*unit{l.window}
	case l.trained != nil:
		return []*unit{l.trained}
	}
	return l.fits
}

// planner lists a run's units.
type planner struct {
	*run
	steps            steps
	original, stream []*unit // before the next layer; what the original's has, and what the layers see
	entry            []*unit // stream, before the first layer of a window that is not full
}

// add appends a step.
func (p *planner) add(us ...*unit) []*unit {
	if len(us) > 0 {
		p.steps = append(p.steps, us)
	}
	return us
}

// plan lists everything that there is to do.
func (r *run) plan() steps {
	p := &planner{run: r}
	var tables []*unit
	var embedding *unit
	for _, name := range []string{gptoss.EmbeddingName, gptoss.HeadName} {
		if _, ok := r.formats[name]; ok {
			us := r.fitUnits(r.config.Projections()[name], nil, nil)
			if tables = append(tables, us...); name == gptoss.EmbeddingName {
				embedding = us[0]
			}
		}
	}
	r.tables = p.add(tables...)
	p.original = p.add(r.embedUnits(nil)...)
	p.stream = p.original
	if embedding != nil && r.opt.Blocks == Sequential {
		p.stream = p.add(r.embedUnits(embedding)...)
	}
	for layer := range r.config.Layers {
		p.planLayer(layer)
	}
	if r.opt.endToEnd() {
		var trained []*unit
		for _, l := range r.layers {
			trained = append(trained, l.trained)
		}
		r.whole = r.distillUnit(trained)
		p.add(r.whole)
	}
	r.markFinals(p.steps)
	return p.steps
}

// planLayer lists the units of one layer, and of the window that it fills.
func (p *planner) planLayer(layer int) {
	r, l := p.run, &layerUnits{}
	r.layers = append(r.layers, l)
	l.inputs = p.add(r.inputUnits(layer, p.stream)...)
	p.add(r.momentUnits(layer, l)...)
	for _, proj := range r.config.LayerProjections(layer) {
		if _, ok := r.formats[proj.Name]; ok {
			l.fits = append(l.fits, r.fitUnits(proj, l.moments[placeOf(proj)], l.inputs)...)
		}
	}
	p.add(l.fits...)
	next := p.original
	if r.opt.Method.Trains() || r.opt.Blocks == Independent {
		next = p.add(r.outputUnits(layer, p.original, nil)...)
	}
	if r.opt.Method.Trains() {
		l.trained = r.trainUnit(layer, l.fits, p.stream, next)
		p.add(l.trained)
	}
	p.original = next
	if p.entry == nil {
		p.entry = p.stream
	}
	filled, first := p.window(layer)
	if filled {
		p.planWindow(first, next)
	}
	switch {
	case r.opt.Blocks == Independent:
		p.stream = next
	case filled: // its layers have changed
		p.stream = p.entry
		for i := first; i <= layer; i++ {
			p.stream = p.add(r.outputUnits(i, p.stream, r.layers[i].finals())...)
		}
	default:
		p.stream = p.add(r.outputUnits(layer, p.stream, l.finals())...)
	}
	if filled {
		p.entry = nil
	}
}

// window says whether a layer is the last of those that are trained together,
// and which is the first.
func (p *planner) window(last int) (filled bool, first int) {
	n := p.opt.Distill.WindowBlocks
	if p.opt.Method != Distill || n == 0 {
		return false, 0
	}
	return (last+1)%n == 0 || last+1 == p.config.Layers, last / n * n
}

func (p *planner) planWindow(first int, target []*unit) {
	var trained []*unit
	for _, l := range p.layers[first:] {
		trained = append(trained, l.trained)
	}
	u := p.windowUnit(first, trained, p.entry, target)
	p.add(u)
	for _, l := range p.layers[first:] {
		l.window = u
	}
}

// markFinals says which units the result is made of, and deals them out: whole
// layers where blocks are independent, so that each share is work of its own.
func (r *run) markFinals(s steps) {
	n := max(1, r.opt.Shard.Count)
	for _, step := range s {
		for i, u := range step {
			u.share = i % n
		}
	}
	for i, u := range r.finals() {
		if u.final, u.share = true, i%n; r.opt.Blocks == Independent && i >= len(r.tables) {
			u.share = u.layer * n / r.config.Layers
		}
	}
}

// keysOf returns keys that go into another.
func keysOf(us []*unit) []units.Key {
	keys := make([]units.Key, len(us))
	for i, u := range us {
		keys[i] = u.key
	}
	return keys
}

// embedUnits are the stream before the first layer, of an embedding that has
// been quantized or of the source's.
func (r *run) embedUnits(table *unit) (us []*unit) {
	var from []*unit
	if table != nil {
		from = []*unit{table}
	}
	for i, s := range r.shards {
		us = append(us, &unit{
			key:  units.NewKey("embed/1", r.model, s.hash, keysOf(from)),
			name: fmt.Sprintf("embedding, part %d of %d", i+1, len(r.shards)), phase: running,
			work: float64(len(s.tokens)) * float64(r.config.Hidden), inputs: from,
			make: func(w *worker, path string) error {
				var m ops.Matrix = r.source.Embedding()
				if table != nil {
					packed, err := r.packed(table, r.config.Projections()[gptoss.EmbeddingName])
					if err != nil {
						return err
					}
					one := packed.At(0)
					m = &one
				}
				return r.embed(path, i, m)
			},
		})
	}
	return us
}

// inputUnits are what enters the projections of a layer, by shard.
func (r *run) inputUnits(layer int, stream []*unit) (us []*unit) {
	if len(r.observed(layer)) == 0 {
		return nil
	}
	c := newCosts(r.config, r.opt, len(r.tokens))
	for i, in := range stream {
		us = append(us, &unit{
			key:  units.NewKey("inputs/2", r.model, layer, r.opt.Window, r.observed(layer), r.opt.ForceTokens, in.key),
			name: fmt.Sprintf("statistics, part %d of %d", i+1, len(stream)), phase: gathering, layer: layer,
			work: c.statistics * r.shareOf(i), inputs: []*unit{in},
			make: func(w *worker, path string) error { return w.gatherInputs(path, layer, i, in) },
		})
	}
	return us
}

// shareOf is the part of the tokens that a shard holds.
func (r *run) shareOf(shard int) float64 {
	return float64(len(r.shards[shard].tokens)) / float64(len(r.tokens))
}

// observed lists the places of a layer where inputs are gathered: those of
// projections that are fitted.
func (r *run) observed(layer int) (places []inputPlace) {
	var fitted [inputPlaces]bool
	for _, p := range r.config.LayerProjections(layer) {
		if f, ok := r.formats[p.Name]; ok && isFitted(f, p) {
			fitted[placeOf(p)] = true
		}
	}
	fitted[gateUpInput] = fitted[gateUpInput] || fitted[downInput] && r.opt.ForceTokens > 0 // down's follow from them
	for place, is := range fitted {
		if is {
			places = append(places, inputPlace(place))
		}
	}
	return places
}

// momentUnits are the layer's moments. That of the experts' inputs is what an
// expert's own is shrunk towards.
func (r *run) momentUnits(layer int, l *layerUnits) (us []*unit) {
	if len(l.inputs) == 0 {
		return nil
	}
	for _, place := range r.observed(layer) {
		width, rows := r.inputWidth(place), len(r.tokens)
		if place == downInput {
			rows *= r.config.ActiveExperts
		}
		l.moments[place] = &unit{
			key:  units.NewKey("moment/1", inputNames[place], keysOf(l.inputs)),
			name: "moment of " + inputNames[place], phase: summing, layer: layer,
			work: float64(rows) * float64(width) * float64(width) / 2, inputs: l.inputs,
			make: func(w *worker, path string) error { return w.sumInputs(path, place, l.inputs) },
		}
		us = append(us, l.moments[place])
	}
	return us
}

// inputWidth is the number of inputs at a place.
func (r *run) inputWidth(place inputPlace) int {
	n := gptoss.LayerNames(0)
	return r.config.Projections()[[inputPlaces]string{n.Q, n.O, n.GateUp, n.Down}[place]].In
}

// outputUnits are the stream behind a layer, by shard: of the original layer,
// or of what some units made of it.
func (r *run) outputUnits(layer int, stream, from []*unit) (us []*unit) {
	c := newCosts(r.config, r.opt, len(r.tokens))
	work, name := c.original, "running the original layer"
	if from != nil {
		work, name = c.output, "running the quantized layer"
	}
	for i, in := range stream {
		us = append(us, &unit{
			key:  units.NewKey("output/1", r.model, layer, r.opt.Window, keysOf(from), in.key),
			name: fmt.Sprintf("%s, part %d of %d", name, i+1, len(stream)), phase: running, layer: layer,
			work: work * r.shareOf(i), inputs: append([]*unit{in}, from...),
			make: func(w *worker, path string) error {
				weights, c := newOverlay(r.given), r.given.Config()
				if from != nil {
					var err error
					if weights, err = r.quantizedLayer(layer, from); err != nil {
						return err
					}
					c = r.config
				}
				return w.runLayer(path, c, layer, i, weights, in)
			},
		})
	}
	return us
}
