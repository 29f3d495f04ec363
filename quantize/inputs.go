package quantize

import (
	"encoding/binary"
	"fmt"

	"github.com/seed-796a8800/tritium/gptoss"
	"github.com/seed-796a8800/tritium/internal/routing"
	"github.com/seed-796a8800/tritium/ternaryop"
)

// What the statistics of a layer are made of is kept as the layer's projections
// will see it when they are quantized: rows of int8 with a scale, which is exact
// and a fifth of the size of a moment for every expert. A unit holds a shard of
// the stream: at each inputPlace the codes [T, In] and scales [T], of down
// [T·A, In] and [T·A] by the slots of the tokens, and in "routing" the expert of
// every slot, int32 [T, A], or -1.

const routingSection = "routing"

func codesSection(place inputPlace) string  { return inputNames[place] + ".codes" }
func scalesSection(place inputPlace) string { return inputNames[place] + ".scales" }

// inputsWriter gathers what enters the projections of a layer.
type inputsWriter struct {
	*unitWriter
	worker *worker
	as     *routing.Assignment
	rows   [inputPlaces]int // written so far
	tokens int              // whose routing is written
	codes  []byte
	scales []float32
	buf    []byte
}

func (w *worker) gatherInputs(path string, layer, shard int, in *unit) error {
	r := w.run
	tokens := int64(len(r.shards[shard].tokens))
	active := int64(r.config.ActiveExperts)
	sections := []section{{routingSection, 4 * tokens * active}}
	for _, place := range r.observed(layer) {
		rows := tokens
		if place == downInput {
			rows *= active
		}
		sections = append(sections, section{codesSection(place), rows * int64(r.inputWidth(place))}, section{scalesSection(place), 4 * rows})
	}
	near := newForcing(min(r.opt.ForceTokens, int(tokens)), r.config.Experts)
	file, err := createUnit(path, append(sections, near.sections()...)...)
	if err != nil {
		return err
	}
	l := w.layerRun(r.config, layer, newOverlay(r.source))
	g := &inputsWriter{unitWriter: file, worker: w, as: routing.New(l.rows, r.config.Experts, r.config.ActiveExperts)}
	scope := fmt.Sprintf("model.layers.%d.", layer)
	nodes := [inputPlaces]string{"input_layernorm", "self_attn.attention", "post_attention_layernorm", "mlp.swiglu"}
	observers := []observer{{scope + "mlp.routing", g.seeRouting}}
	for _, place := range r.observed(layer) {
		observers = append(observers, observer{scope + nodes[place], func(values []float32, _ int) error {
			return g.see(place, values, r.inputWidth(place))
		}})
	}
	err = l.runShard(r, in, w.tick, append(observers, near.observers(scope)...)...)
	if err == nil {
		err = near.write(file)
	}
	if err != nil {
		file.file.Close()
		return err
	}
	return file.finish(nil)
}

// see writes a batch's inputs at a place.
func (g *inputsWriter) see(place inputPlace, values []float32, width int) error {
	n := len(values) / width
	g.codes, g.scales = grow(g.codes, len(values)), grow(g.scales, n)
	cpu := g.worker.cpu
	rounded := make([][]int8, cpu.Threads())
	cpu.Parallel(n, func(worker, i int) {
		if rounded[worker] == nil {
			rounded[worker] = make([]int8, width)
		}
		q := rounded[worker]
		g.scales[i] = ternaryop.QuantizeRow(q, values[i*width:(i+1)*width])
		for k, c := range q {
			g.codes[i*width+k] = byte(c)
		}
	})
	if _, err := g.at(codesSection(place), int64(g.rows[place])*int64(width)).Write(g.codes); err != nil {
		return fmt.Errorf("quantize: %w", err)
	}
	g.buf = bytesOf(g.buf, g.scales)
	if _, err := g.at(scalesSection(place), int64(g.rows[place])*4).Write(g.buf); err != nil {
		return fmt.Errorf("quantize: %w", err)
	}
	g.rows[place] += n
	return nil
}

// seeRouting writes the experts of a batch's tokens.
func (g *inputsWriter) seeRouting(values []float32, rows int) error {
	if err := g.as.Build(values, rows); err != nil {
		return err
	}
	a := g.as.Slots
	experts := make([]int32, rows*a)
	for i := range experts {
		experts[i] = -1
	}
	for e := range g.as.Experts {
		tokens, slots := g.as.Of(e)
		for i, t := range tokens {
			experts[int(t)*a+int(slots[i])] = int32(e)
		}
	}
	g.buf = bytesOf(g.buf, experts)
	if _, err := g.at(routingSection, int64(g.tokens)*int64(4*a)).Write(g.buf); err != nil {
		return fmt.Errorf("quantize: %w", err)
	}
	g.tokens += rows
	return nil
}

// inputsReader reads one shard's inputs at a place.
type inputsReader struct {
	*unitReader
	place   inputPlace
	width   int
	active  int
	routing []int32 // [T, A]
	scales  []float32
}

func (r *run) openInputs(u *unit, place inputPlace) (*inputsReader, error) {
	f, err := openUnit(r.store.Path(u.key))
	if err != nil {
		return nil, err
	}
	in := &inputsReader{unitReader: f, place: place, width: r.inputWidth(place), active: r.config.ActiveExperts}
	for _, err := range []error{readNumbers(f, routingSection, &in.routing), readNumbers(f, scalesSection(place), &in.scales)} {
		if err != nil {
			f.close()
			return nil, err
		}
	}
	return in, nil
}

// readNumbers reads a section of numbers.
func readNumbers[T float32 | float64 | int32](f *unitReader, name string, dst *[]T) error {
	data, err := f.bytes(name)
	if err != nil {
		return err
	}
	*dst = make([]T, len(data)/binary.Size(T(0)))
	numbersOf(*dst, data)
	return nil
}

// rowsOf lists the rows of an expert's inputs; of expert -1 all that some
// projection sees.
func (in *inputsReader) rowsOf(expert int) (rows []int) {
	if expert < 0 && in.place != downInput {
		for i := range in.scales {
			rows = append(rows, i)
		}
		return rows
	}
	for i, e := range in.routing {
		if e < 0 || expert >= 0 && int(e) != expert {
			continue
		}
		if in.place != downInput {
			i /= in.active
		}
		rows = append(rows, i)
	}
	return rows
}

// addTo adds rows to a moment.
func (in *inputsReader) addTo(m *Moment, w *worker, rows []int) error {
	for len(rows) > 0 {
		n := min(len(rows), momentTokens)
		w.codes, w.rows = grow(w.codes, n*in.width), grow(w.rows, n*in.width)
		for i := 0; i < n; {
			run := 1 // of rows that lie one after the other
			for i+run < n && rows[i+run] == rows[i]+run {
				run++
			}
			if err := in.read(codesSection(in.place), int64(rows[i])*int64(in.width), w.codes[i*in.width:(i+run)*in.width]); err != nil {
				return err
			}
			i += run
		}
		w.cpu.Parallel(n, func(_, i int) {
			scale, dst := in.scales[rows[i]], w.rows[i*in.width:(i+1)*in.width]
			for k, c := range w.codes[i*in.width : (i+1)*in.width] {
				dst[k] = scale * float32(int8(c))
			}
		})
		if err := m.Add(w.cpu, w.rows, in.width, nil); err != nil {
			return err
		}
		rows = rows[n:]
	}
	return nil
}

// sum returns the moment of an expert's inputs, or with -1 of all, over all
// shards.
func (w *worker) sum(place inputPlace, shards []*unit, expert int) (*Moment, error) {
	m := NewMoment(w.run.inputWidth(place))
	for _, u := range shards {
		if err := w.run.ctx.Err(); err != nil {
			return nil, err
		}
		in, err := w.run.openInputs(u, place)
		if err != nil {
			return nil, err
		}
		err = in.addTo(m, w, in.rowsOf(expert))
		in.close()
		if err != nil {
			return nil, err
		}
	}
	m.Flush(w.cpu)
	return m, nil
}

// momentAbout is what the unit of a moment says of it.
type momentAbout struct {
	Tokens int `json:"tokens"`
}

// sumInputs writes the moment of all inputs at a place.
func (w *worker) sumInputs(path string, place inputPlace, shards []*unit) error {
	m, err := w.sum(place, shards, -1)
	if err != nil {
		return err
	}
	return writeUnit(path, momentAbout{m.tokens}, part{"sum", bytesOf(nil, m.sum)})
}

// moment reads a moment; the worker keeps the last one.
func (w *worker) moment(u *unit, width int) (*Moment, error) {
	if u == nil {
		return nil, nil
	}
	if w.last != nil && w.lastKey == u.key {
		return w.last, nil
	}
	f, err := openUnit(w.run.store.Path(u.key))
	if err != nil {
		return nil, err
	}
	defer f.close()
	var about momentAbout
	m := NewMoment(width)
	if err := f.tell(&about); err != nil {
		return nil, err
	}
	if err := readNumbers(f, "sum", &m.sum); err != nil {
		return nil, err
	}
	if len(m.sum) == 0 {
		m.sum = nil
	}
	m.tokens, m.weight = about.Tokens, float64(about.Tokens)
	w.last, w.lastKey = m, u.key
	return m, nil
}

// expertMoment is the moment of one expert's inputs, of tokens that were forced
// on it too, shrunk towards that of all.
func (w *worker) expertMoment(p gptoss.Projection, shards []*unit, all *Moment, expert int) (m *Moment, forced int, err error) {
	if m, err = w.sum(placeOf(p), shards, expert); err != nil {
		return nil, 0, err
	}
	if err := checkFed(m.Tokens(), expert, w.run.opt.MinTokens); err != nil {
		return nil, 0, err
	}
	if forced, err = w.force(m, p, shards, expert); err != nil {
		return nil, 0, fmt.Errorf("forcing tokens on expert %d: %w", expert, err)
	}
	return m, forced, m.Shrink(w.cpu, all, 2*float64(m.inputs))
}

// placeOf is where a projection's input is observed.
func placeOf(p gptoss.Projection) inputPlace {
	var layer int
	fmt.Sscanf(p.Name, "model.layers.%d.", &layer)
	switch n := gptoss.LayerNames(layer); p.Name {
	case n.O:
		return oInput
	case n.GateUp:
		return gateUpInput
	case n.Down:
		return downInput
	}
	return qkvInput
}
