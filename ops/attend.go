package ops

import (
	"github.com/seed-796a8800/tritium/graph"
	"github.com/seed-796a8800/tritium/ops/internal/kernel"
)

const (
	panelHeads = kernel.AttendRows
	tileTokens = kernel.AttendTile
	blockSize  = kernel.AttendBlock

	// maxTileTokens tokens share what is read of the cache, as long as their
	// scores fit scoreFloats: a part of the second-level cache.
	maxTileTokens = 16
	scoreFloats   = 1 << 18
)

// attentionRun is the memory of one prepared attention. A batch is done in
// chunks of each segment: what a chunk's tokens bring is stored, then they
// attend to what is in the cache.
type attentionRun struct {
	*attention
	cpu          *graph.CPU
	q, k, v, out []float32
	sinks        []float32
	state        int
	panels       int // of query heads that share a key-value head
	scale        float32
	chunk        int // tokens

	batch       *graph.Batch
	from        int // first token of the chunk, in every segment
	tiles       []tokenTile
	storesFirst bool
	workers     []attentionWorker
	doStore     func(worker, i int)
	doAttend    func(worker, i int)
}

// tokenTile is consecutive tokens of a segment that attend together.
type tokenTile struct {
	segment  int
	from, to int // tokens of the segment
}

// attentionWorker is what one thread needs: scratch memory for every panel of
// every token of a tile, a panel being eight query heads, and what the tile is.
type attentionWorker struct {
	*attentionRun
	queries []float32 // [panel][D][8]
	scores  []float32 // [panel][8][positions]
	shares  []float32 // [panel][8], the reciprocal of the weights' sum
	int8    int8Attention
	mixed   []float32 // [panel][8][D, padded]

	cache         *kvCache
	head          int // key-value head
	row, position int // of the first token
	tokens        int
	base, end     int // positions that the scores are of, from the start of a block
	stride        int // of a head's scores
}

func (r *attentionRun) prepareWorkers(tokens int) {
	heads := tokens * r.panels * panelHeads
	for i := range r.workers {
		r.workers[i] = attentionWorker{attentionRun: r,
			queries: make([]float32, heads*r.HeadDim), shares: make([]float32, heads), mixed: make([]float32, heads*padded(r.HeadDim))}
		if r.Cache == CacheInt8 {
			r.workers[i].int8 = newInt8Attention(tokens*r.panels, r.HeadDim)
		}
	}
}

// step computes a batch.
func (r *attentionRun) step(b *graph.Batch) error {
	r.batch = b
	longest, room := 0, 0
	for _, s := range b.Segments {
		longest, room = max(longest, s.Len), max(room, r.cache(&s).capacity)
	}
	r.grow(room)
	for r.from = 0; r.from < longest; r.from += r.chunk {
		if r.cut(); r.storesFirst {
			r.cpu.Parallel(len(b.Segments)*r.KVHeads, r.doStore)
		}
		r.cpu.Parallel(len(r.tiles)*r.KVHeads, r.doAttend)
		for _, s := range b.Segments {
			if to := min(s.Len, r.from+r.chunk); to > r.from {
				r.cache(&s).stored(s.Start + to)
			}
		}
	}
	return nil
}

func (r *attentionRun) cache(s *graph.Segment) *kvCache {
	return s.Sequence.State(r.state).(*kvCache)
}

// grow makes room for the scores of a tile. It is asked for as many positions
// as the caches have room for, so that it allocates only when they did.
func (r *attentionRun) grow(positions int) {
	one := r.panels * panelHeads * scoreStride(positions)
	if need := max(one, min(scoreFloats, one*maxTileTokens)); need > len(r.workers[0].scores) {
		for w := range r.workers {
			r.workers[w].scores = make([]float32, need)
			if r.Cache == CacheInt8 {
				r.workers[w].int8.grow(need)
			}
		}
	}
}

// scoreStride is the distance of two heads' scores. Sixteen more than they
// need keep the rows of long contexts apart in the first-level cache.
func scoreStride(positions int) int { return roundUp(positions, blockSize) + tileTokens }

// cut cuts a chunk into tiles. Where every sequence has but one tile, its keys
// and values are stored by those who attend to them.
func (r *attentionRun) cut() {
	r.tiles, r.storesFirst = r.tiles[:0], false
	rows := 0
	for _, s := range r.batch.Segments {
		rows += max(0, min(s.Len-r.from, r.chunk))
	}
	// Enough tiles to keep all threads busy to the end.
	most := max(1, min(maxTileTokens, rows*r.KVHeads/(4*r.cpu.Threads())))
	for i, s := range r.batch.Segments {
		end := min(s.Len, r.from+r.chunk)
		if end <= r.from {
			continue
		}
		lo, _ := r.sees(s.Start + r.from)
		_, hi := r.sees(s.Start + end - 1)
		fit := len(r.workers[0].scores) / (r.panels * panelHeads * scoreStride(hi-lo&^(blockSize-1)))
		n := max(1, min(most, fit))
		r.storesFirst = r.storesFirst || n < end-r.from
		for t := r.from; t < end; t += n {
			r.tiles = append(r.tiles, tokenTile{segment: i, from: t, to: min(end, t+n)})
		}
	}
}

// sees returns the positions [lo, hi) that the token at a position attends to.
func (r *attentionRun) sees(position int) (lo, hi int) {
	if r.Window > 0 {
		lo = max(0, position-r.Window+1)
	}
	return lo, position + 1
}

// store stores one head of one segment's chunk.
func (r *attentionRun) store(_, i int) {
	s := &r.batch.Segments[i/r.KVHeads]
	if to := min(s.Len, r.from+r.chunk); to-r.from > 0 {
		r.storeTokens(s, i%r.KVHeads, r.from, to)
	}
}

func (r *attentionRun) storeTokens(s *graph.Segment, head, from, to int) {
	w := r.KVHeads * r.HeadDim
	at := (s.Row+from)*w + head*r.HeadDim
	r.cache(s).store(head, r.k[at:], r.v[at:], w, s.Start+from, to-from)
}

// attend computes the query heads of a tile of tokens that share one key-value
// head. Tiles of one head follow each other, for the threads' shared cache.
func (r *attentionRun) attend(worker, i int) {
	head, t, w := i/len(r.tiles), r.tiles[i%len(r.tiles)], &r.workers[worker]
	s := &r.batch.Segments[t.segment]
	if !r.storesFirst {
		r.storeTokens(s, head, t.from, t.to)
	}
	lo, _ := r.sees(s.Start + t.from)
	_, hi := r.sees(s.Start + t.to - 1)
	w.cache, w.head = r.cache(s), head
	w.row, w.position, w.tokens = s.Row+t.from, s.Start+t.from, t.to-t.from
	w.base, w.end = lo&^(blockSize-1), hi
	w.stride = scoreStride(w.end - w.base)
	clear(w.mixed[:w.tokens*w.panels*panelHeads*padded(w.HeadDim)])
	if w.Cache == CacheInt8 {
		w.packQueries8()
		w.score8()
		w.softmax8()
		w.mix8()
	} else {
		w.packQueries()
		w.score()
		w.softmax()
		w.mix()
	}
	w.unpack()
}

// heads calls f for every query head of the tile: n is its number in the
// model, panel and i its place in the scratch memory.
func (w *attentionWorker) heads(f func(w *attentionWorker, token, n, panel, i int)) {
	group := w.Heads / w.KVHeads
	for t := range w.tokens {
		for g := range group {
			f(w, t, w.head*group+g, t*w.panels+g/panelHeads, g%panelHeads)
		}
	}
}

// packQueries scales the queries and turns their panels around, so that the
// kernel finds what it multiplies with one key's element side by side.
func (w *attentionWorker) packQueries() {
	d, group := w.HeadDim, w.Heads/w.KVHeads
	for t := range w.tokens {
		for p := range w.panels {
			heads := min(panelHeads, group-p*panelHeads)
			q := w.q[((w.row+t)*w.Heads+w.head*group+p*panelHeads)*d:][:heads*d]
			dst := w.queries[(t*w.panels+p)*panelHeads*d:][:panelHeads*d]
			for k := range d {
				side := dst[k*panelHeads:][:panelHeads]
				for i, at := 0, k; i < len(side) && at < len(q); i, at = i+1, at+d {
					side[i] = q[at] * w.scale
				}
			}
		}
	}
}

// score computes the scores of whole tiles of keys. Those of positions that a
// token does not see are not used.
func (w *attentionWorker) score() {
	d := w.HeadDim
	for block := w.base; block < w.end; block += blockSize {
		for t := range w.tokens {
			lo, hi := w.sees(w.position + t)
			lo, hi = max(block, lo&^(tileTokens-1)), min(block+blockSize, roundUp(hi, tileTokens))
			if lo >= hi {
				continue
			}
			keys, n := w.cache.keys(w.head, lo, hi), (hi-lo)/tileTokens
			for p := t * w.panels; p < (t+1)*w.panels; p++ {
				kernel.AttendScores(w.scores[p*panelHeads*w.stride+lo-w.base:], w.stride,
					w.queries[p*panelHeads*d:][:panelHeads*d], keys, d, n)
			}
		}
	}
}

// softmax turns the scores of a head into weights that are normalised once
// their values are summed.
func (w *attentionWorker) softmax() {
	w.heads(func(w *attentionWorker, token, n, panel, i int) {
		lo, hi := w.sees(w.position + token)
		head := panel*panelHeads + i
		weights := w.scores[head*w.stride:][lo-w.base : hi-w.base]
		w.shares[head] = 1 / kernel.ExpSink(weights, weights, w.sinks[n])
	})
}

// mix sums the values. Positions that a token does not see are not added: not
// even with a weight of zero, since they may hold anything.
func (w *attentionWorker) mix() {
	width := padded(w.HeadDim)
	for block := w.base; block < w.end; block += blockSize {
		for t := range w.tokens {
			lo, hi := w.sees(w.position + t)
			lo, hi = max(block, lo), min(block+blockSize, hi)
			if lo >= hi {
				continue
			}
			values := w.cache.values(w.head, lo, hi)
			for p := t * w.panels; p < (t+1)*w.panels; p++ {
				kernel.AttendValues(w.mixed[p*panelHeads*width:][:panelHeads*width],
					w.scores[p*panelHeads*w.stride+lo-w.base:], w.stride, values, hi-lo, width)
			}
		}
	}
}

// unpack divides by the sum of the weights.
func (w *attentionWorker) unpack() {
	w.heads(func(w *attentionWorker, token, n, panel, i int) {
		d := w.HeadDim
		head := panel*panelHeads + i
		kernel.Scale(w.out[((w.row+token)*w.Heads+n)*d:][:d], w.shares[head], w.mixed[head*padded(d):][:d])
	})
}
