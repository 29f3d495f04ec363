package quantize

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"time"

	"github.com/seed-796a8800/tritium/gptoss"
	"github.com/seed-796a8800/tritium/graph"
	"github.com/seed-796a8800/tritium/internal/atomicfile"
	"github.com/seed-796a8800/tritium/internal/units"
)

// writtenAtOnce is how many windows the original writes at a time: enough to
// share its passes over the weights well, few enough to keep the caches small.
const writtenAtOnce = 32

// gatherText finds the windows to train on, and decides which of them the
// streams carry.
func (r *run) gatherText(cpu *graph.CPU) error {
	written, err := r.writeSelfText(cpu, r.opt.SelfText)
	if err != nil {
		return err
	}
	r.text = append(slices.Clone(r.tokens), written...)
	r.carried = r.opt.carry(r.pool)
	r.tokens = r.text[:r.carried.all()*r.opt.Window]
	r.shards = shardsOf(r.tokens, r.opt.Window, r.opt.shardTokens)
	return nil
}

// writeSelfText has the original write windows of text at temperature 1. Each
// begins with a token of the calibration text, which are windows cut from the
// middle of a text too, and goes on without an end: an end of text is a token
// like any other. It uses no data that calibration does not use.
//
// A window is a matter of the model, the calibration text, the seed and its
// number. Windows are units of the store, so many at a time.
func (r *run) writeSelfText(cpu *graph.CPU, n int) ([]int32, error) {
	if n == 0 {
		return nil, nil
	}
	u := &unit{name: "the original writes text", phase: writing, work: float64(n*r.opt.Window) * writingWork(r.config, r.opt)}
	r.meter.left(steps{{u}})
	r.meter.begin(u)
	defer r.meter.end(u)
	w := selfText{run: r, cpu: cpu, unit: u, start: time.Now(), total: n * r.opt.Window}
	text, calibration := make([]int32, 0, w.total), hashTokens(r.tokens)
	for at := 0; at < n; at += writtenAtOnce {
		windows := make([]int32, min(writtenAtOnce, n-at)*r.opt.Window)
		key := units.NewKey("self-text/1", r.model, calibration, r.opt.Window, r.opt.Train.Seed, at, len(windows))
		r.textKeys = append(r.textKeys, key)
		if err := w.find(windows, at, key); err != nil {
			return nil, err
		}
		text = append(text, windows...)
	}
	return text, nil
}

// selfText is a call of writeSelfText.
type selfText struct {
	*run
	cpu         *graph.CPU
	unit        *unit         // for the meter
	model       *gptoss.Model // nil until something is to be written
	start       time.Time
	found       int // tokens that an earlier run wrote
	done, total int // tokens
}

// find is write, unless an earlier run wrote the windows.
func (w *selfText) find(windows []int32, at int, key units.Key) error {
	made := false
	i := slices.IndexFunc(w.stores, func(s *units.Store) bool { return s.Has(key) })
	if i < 0 && w.store == nil { // of Merge
		return errors.New("quantize: no store has all of the text that the original wrote; were they made with the same model, text and options?")
	}
	store := w.store
	if i >= 0 {
		store = w.stores[i]
	}
	path, err := store.Do(w.ctx, key, func(temporary string) error {
		made = true
		if err := w.write(windows, at); err != nil {
			return err
		}
		return atomicfile.WriteFile(temporary, func(to io.Writer) error {
			return binary.Write(to, binary.LittleEndian, windows)
		})
	})
	if err != nil || made {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("quantize: %w", err)
	}
	defer f.Close()
	if err := binary.Read(f, binary.LittleEndian, windows); err != nil {
		return fmt.Errorf("quantize: %s: %w", path, err)
	}
	w.found += len(windows)
	w.wrote(len(windows))
	return nil
}

// write writes windows, the first of which has number at.
func (w *selfText) write(windows []int32, at int) (err error) {
	if w.model == nil {
		if w.model, err = w.source.Compile(w.cpu, writtenAtOnce); err != nil {
			return err
		}
	}
	n, begun := w.opt.Window, 0
	return gptoss.ContinueAll(w.ctx, w.model, writtenAtOnce, func() (*gptoss.Text, error) {
		if begun*n == len(windows) {
			return nil, nil
		}
		window := windows[begun*n : (begun+1)*n]
		first, sampling := selfTextStart(w.opt.Train.Seed, at+begun, w.tokens)
		begun++
		window[0] = first
		w.wrote(1)
		written := 1
		return &gptoss.Text{Prompt: window[:1], Sampling: sampling,
			Write: func(id int32, _ bool) (more bool) {
				window[written] = id
				written++
				w.wrote(1)
				return written < n
			}}, nil
	})
}

// selfTextStart returns the token that a window begins with, and how to go on.
func selfTextStart(seed uint64, window int, calibration []int32) (first int32, s gptoss.Sampling) {
	random := rand.New(rand.NewPCG(seed, uint64(window)))
	first = calibration[random.IntN(len(calibration))]
	return first, gptoss.Sampling{Temperature: 1, Seed: random.Uint64()}
}

// wrote tells of tokens that are there.
func (w *selfText) wrote(tokens int) {
	w.done += tokens
	step := fmt.Sprintf("the original writes text, %d of %d tokens", w.done, w.total)
	if written := w.done - w.found; written > writtenAtOnce {
		elapsed := time.Since(w.start)
		left := time.Duration(float64(elapsed) / float64(written) * float64(w.total-w.done))
		step += fmt.Sprintf(", %.0f tokens/s, %v left of it", float64(written)/elapsed.Seconds(), left.Round(time.Second))
	}
	w.meter.add(w.unit, step, float64(tokens)/float64(w.total))
}

// hashTokens names tokens.
func hashTokens(tokens []int32) string {
	h := sha256.New()
	var b [4]byte
	for _, id := range tokens {
		binary.LittleEndian.PutUint32(b[:], uint32(id))
		h.Write(b[:])
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}
