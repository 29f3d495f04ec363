package quantize

import (
	"fmt"
	"runtime/debug"
	"slices"

	"github.com/seed-796a8800/tritium/gptoss"
	"github.com/seed-796a8800/tritium/internal/units"
	"github.com/seed-796a8800/tritium/ops"
)

// The calibration stream is cut into shards of whole windows, each of them a
// unit: what a layer gives for it is one file, and no more of it is in memory
// than a batch. Sums over tokens go from shard to shard in their order.

// defaultShardTokens is what a shard holds at most, but for a window that is
// longer.
const defaultShardTokens = 8192

// tokenShard is a piece of the calibration text.
type tokenShard struct {
	tokens []int32
	hash   string
}

// shardsOf cuts tokens, a whole number of windows.
func shardsOf(tokens []int32, window, most int) (shards []tokenShard) {
	size := max(1, most/window) * window
	for at := 0; at < len(tokens); at += size {
		part := tokens[at:min(at+size, len(tokens))]
		shards = append(shards, tokenShard{part, units.NewKey("tokens/1", part).String()})
	}
	return shards
}

// streamSection is the only section of a stream's unit: float32 [tokens, H].
const streamSection = "stream"

// streamReader reads the residual stream, from one or more shards.
type streamReader struct {
	shards []*unitReader
	size   int // tokens of every shard but the last
	tokens int
	hidden int
	buf    []byte
}

// openStream opens the units of some shards, which are all but the last equally
// long.
func (r *run) openStream(us []*unit) (*streamReader, error) {
	s := &streamReader{hidden: r.config.Hidden}
	for i, u := range us {
		f, err := openUnit(r.store.Path(u.key))
		if err != nil {
			s.close()
			return nil, err
		}
		s.shards = append(s.shards, f)
		n := int(f.spans[streamSection].bytes / int64(4*s.hidden))
		s.tokens += n
		if i == 0 {
			s.size = n
		}
	}
	return s, nil
}

// read fills dst [n, H] with the tokens from the first on, all of one shard.
func (s *streamReader) read(dst []float32, first int) error {
	s.buf = grow(s.buf, 4*len(dst))
	shard, at := first/s.size, first%s.size
	if err := s.shards[shard].read(streamSection, int64(at)*int64(4*s.hidden), s.buf); err != nil {
		return err
	}
	numbersOf(dst, s.buf)
	return nil
}

func (s *streamReader) length() int { return s.tokens }

func (s *streamReader) close() {
	for _, f := range s.shards {
		f.close()
	}
}

// streamWriter appends to the unit of one shard's stream.
type streamWriter struct {
	*unitWriter
	at  int64
	buf []byte
}

func (r *run) createStream(path string, shard int) (*streamWriter, error) {
	n := int64(len(r.shards[shard].tokens)) * int64(4*r.config.Hidden)
	w, err := createUnit(path, section{streamSection, n})
	return &streamWriter{unitWriter: w}, err
}

func (w *streamWriter) append(values []float32) error {
	w.buf = bytesOf(w.buf, values)
	n, err := w.unitWriter.at(streamSection, w.at).Write(w.buf)
	w.at += int64(n)
	return err
}

// embedRows is how many tokens are embedded at a time.
const embedRows = 256

// embed writes the residual stream before the first layer.
func (r *run) embed(path string, shard int, table ops.Matrix) error {
	w, err := r.createStream(path, shard)
	if err != nil {
		return err
	}
	if err := w.embed(table, r.shards[shard].tokens, r.config.Hidden); err != nil {
		w.file.Close()
		return err
	}
	return w.finish(nil)
}

// embedTokens fills x [tokens, h] with the rows of a table.
func embedTokens(x []float32, table ops.Matrix, tokens []int32, h int) {
	for i, id := range tokens {
		table.DecodeRows(x[i*h:(i+1)*h], int(id), 1)
	}
}

func (w *streamWriter) embed(table ops.Matrix, tokens []int32, h int) error {
	x := make([]float32, embedRows*h)
	for part := range slices.Chunk(tokens, embedRows) {
		embedTokens(x, table, part, h)
		if err := w.append(x[:len(part)*h]); err != nil {
			return fmt.Errorf("quantize: %w", err)
		}
	}
	return nil
}

// runLayer writes a layer's output for a shard of the stream.
func (w *worker) runLayer(path string, c gptoss.Config, layer, shard int, weights *overlay, in *unit) error {
	r := w.run
	out, err := r.createStream(path, shard)
	if err != nil {
		return err
	}
	l := w.layerRun(c, layer, weights)
	err = l.runShard(r, in, w.tick, observer{fmt.Sprintf("model.layers.%d.output", layer), func(values []float32, _ int) error {
		return out.append(values)
	}})
	if err != nil {
		out.file.Close()
		return err
	}
	return out.finish(nil)
}

func (w *worker) layerRun(c gptoss.Config, layer int, weights *overlay) *layerRun {
	r := w.run
	rows := min(r.opt.Rows/r.opt.Window*r.opt.Window, len(r.shards[0].tokens))
	return &layerRun{cpu: w.cpu, config: c, weights: weights, layer: layer, window: r.opt.Window, rows: rows}
}

// runShard sends a shard of the stream through the layer.
func (l *layerRun) runShard(r *run, in *unit, tick func(share float64), observers ...observer) error {
	x, err := r.openStream([]*unit{in})
	if err != nil {
		return err
	}
	defer x.close()
	defer debug.FreeOSMemory() // a batch's values, which the next shard would add to
	return l.run(r.ctx, x, func(tokens int) { tick(float64(tokens) / float64(x.tokens)) }, observers...)
}

// checkTokens refuses tokens that the embedding has no row for.
func checkTokens(tokens []int32, c gptoss.Config) error {
	for _, id := range tokens {
		if id < 0 || int(id) >= c.Vocab {
			return fmt.Errorf("quantize: calibration token %d is outside the vocabulary of %d; is the tokenizer the model's?", id, c.Vocab)
		}
	}
	return nil
}
