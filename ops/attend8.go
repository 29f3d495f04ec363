package ops

import (
	"math"

	"github.com/seed-796a8800/tritium/internal/t16"
	"github.com/seed-796a8800/tritium/ops/internal/kernel"
)

// int8Attention is what a worker needs beside the rest where the cache has 8
// bits: queries and weights of 8 bits too.
type int8Attention struct {
	row     []int8 // a query
	queries []kernel.AttendQueries8
	weights []int8    // [panel][8][positions]
	scales  []float32 // [panel][8][blocks]
}

func newInt8Attention(panels, dim int) int8Attention {
	a := int8Attention{row: make([]int8, dim), queries: make([]kernel.AttendQueries8, panels)}
	for i := range a.queries {
		a.queries[i].Init(roundUp(dim, 4))
	}
	return a
}

// grow makes room for as many weights as there is for scores.
func (a *int8Attention) grow(scores int) {
	a.weights, a.scales = make([]int8, scores), make([]float32, scores/blockSize)
}

func (w *attentionWorker) packQueries8() {
	w.heads(func(w *attentionWorker, token, n, panel, i int) {
		d := w.HeadDim
		scale := t16.QuantizeRow(w.int8.row, w.q[((w.row+token)*w.Heads+n)*d:][:d])
		w.int8.queries[panel].Set(i, w.int8.row, scale*w.scale)
	})
}

// score8 computes the scores of whole tiles of keys.
func (w *attentionWorker) score8() {
	for block := w.base; block < w.end; block += blockSize {
		for t := range w.tokens {
			lo, hi := w.sees(w.position + t)
			lo, hi = max(block, lo&^(tileTokens-1)), min(block+blockSize, roundUp(hi, tileTokens))
			if lo >= hi {
				continue
			}
			keys, scales := w.cache.keys8(w.head, lo, hi)
			for p := t * w.panels; p < (t+1)*w.panels; p++ {
				kernel.AttendScores8(w.scores[p*panelHeads*w.stride+lo-w.base:], w.stride, &w.int8.queries[p], keys, scales)
			}
		}
	}
}

// softmax8 turns the scores of a head into weights of whole blocks. Positions
// that the token does not see get a score that makes their weight zero.
func (w *attentionWorker) softmax8() {
	w.heads(func(w *attentionWorker, token, n, panel, i int) {
		stride := w.stride8()
		lo, hi := w.sees(w.position + token)
		head := panel*panelHeads + i
		scores := w.scores[head*w.stride:]
		first, last := lo&^(blockSize-1), roundUp(hi, blockSize)
		hide(scores[first-w.base : lo-w.base])
		hide(scores[hi-w.base : last-w.base])
		m := max(kernel.Max(scores[lo-w.base:hi-w.base]), w.sinks[n]) + 0
		var sums [tileTokens]float32
		for at := first; at < last; {
			end := w.cache.contiguous(at, last)
			kernel.AttendWeights8(w.int8.weights[head*stride+at-w.base:][:end-at], w.int8.scales[(head*stride+at-w.base)/blockSize:][:(end-at)/blockSize],
				&sums, scores[at-w.base:end-w.base], w.cache.valueScales(w.head, at, end), m)
			at = end
		}
		sink := [1]float32{w.sinks[n] - m}
		kernel.Exp(sink[:], sink[:])
		w.shares[head] = 1 / (kernel.Sum(sums[:]) + sink[0])
	})
}

func hide(scores []float32) {
	for i := range scores {
		scores[i] = float32(math.Inf(-1))
	}
}

// stride8 is the distance of two heads' weights.
func (w *attentionWorker) stride8() int { return roundUp(w.end-w.base, blockSize) }

// mix8 sums the values of whole blocks.
func (w *attentionWorker) mix8() {
	width, stride := padded(w.HeadDim), w.stride8()
	for block := w.base; block < w.end; block += blockSize {
		for t := range w.tokens {
			if lo, hi := w.sees(w.position + t); hi <= block || lo >= block+blockSize {
				continue
			}
			values := w.cache.values8(w.head, block)
			for p := t * w.panels; p < (t+1)*w.panels; p++ {
				at := p*panelHeads*stride + block - w.base
				kernel.AttendValues8(w.mixed[p*panelHeads*width:][:panelHeads*width], w.int8.weights[at:], stride,
					w.int8.scales[at/blockSize:], stride/blockSize, values, width)
			}
		}
	}
}
