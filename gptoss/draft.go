package gptoss

import (
	"fmt"
	"math/bits"
	"time"
)

// Speculation says whether a Generator guesses tokens ahead. A guess is what
// followed the last tokens of the text where they occurred before; the model
// reads it together with the last token, in one batch, and as much of it is
// kept as the sampler chooses itself, token by token. The text is the same, to
// the bit, with and without: a row's logits do not depend on its batch.
type Speculation uint8

const (
	// SpeculateOff never guesses.
	SpeculateOff Speculation = iota
	// SpeculateAuto guesses as many tokens as should pay, by how often guesses
	// were right in this text and by how long batches take on this machine.
	SpeculateAuto
	// SpeculateOn guesses wherever there is something to guess from.
	SpeculateOn
)

// ParseSpeculation reads "off", "auto" or "on".
func ParseSpeculation(s string) (Speculation, error) {
	switch s {
	case "off":
		return SpeculateOff, nil
	case "auto":
		return SpeculateAuto, nil
	case "on":
		return SpeculateOn, nil
	}
	return 0, fmt.Errorf("gptoss: speculation %q; choose off, auto or on", s)
}

// MaxDraft is the most tokens that are guessed at a time. A plan must take one
// row more for them.
const MaxDraft = 15

// draftSizes are the lengths of guesses: few, so that the time of each is soon
// known. onDraft is that of SpeculateOn.
var draftSizes = [...]int{1, 3, 7, MaxDraft}

const onDraft = 7

// drafter guesses how a text goes on.
type drafter interface {
	// extend takes in that the text has become longer.
	extend(text []int32)
	// shorten takes in that the text will be of n tokens only.
	shorten(text []int32, n int)
	// guess fills dst with what may follow text, and returns how many tokens of
	// it are worth running.
	guess(dst, text []int32) int
	// took takes in how long a batch of that many rows took, the guess and the
	// token before it.
	took(rows int, t time.Duration)
	clone() drafter
}

// promptLookup guesses what followed the last tokens where they occurred
// before, and decides how much of it pays.
//
// Source: prompt lookup decoding, github.com/apoorvumang/prompt-lookup-decoding.
type promptLookup struct {
	mode  Speculation
	index *lookup
	place int // where the end of the text occurred before, 0: nowhere
	match int // how many tokens agree there

	right   [maxMatchClass + 1]rate   // how often the next token was guessed, by class of match
	seconds [1 + MaxDraft + 1]float64 // that a batch takes, by its rows; 0: not known

	last     [MaxDraft]int32 // the last guess that was run,
	lastAt   int             // behind so many tokens,
	lastSize int             // of so many
	// Tokens that guesses of late were right by, and were expected to be.
	fulfilled, expected float64
}

func newPromptLookup(mode Speculation) *promptLookup {
	return &promptLookup{mode: mode, index: newLookup()}
}

func (d *promptLookup) clone() drafter {
	c := *d
	c.index = d.index.clone()
	return &c
}

// maxMatchClass is the class of the longest matches: 32 tokens.
const maxMatchClass = 6

// matchClass puts matches of 1, 2-3, 4-7, ... tokens into classes.
func matchClass(length int) int { return min(bits.Len(uint(length)), maxMatchClass) }

// rate is a share that is observed, of late more than formerly.
type rate struct{ hits, trials float64 }

// memory is what an observation counts for after another one.
const memory = 1 - 1.0/64

func (r *rate) observe(hit bool) {
	r.hits, r.trials = r.hits*memory, r.trials*memory+1
	if hit {
		r.hits++
	}
}

// estimate is low while little is known.
func (r *rate) estimate() float64 { return (r.hits + 1) / (r.trials + 3) }

// extend also learns whether each token would have been guessed, be it run as a
// guess or not.
func (d *promptLookup) extend(text []int32) {
	for n := len(d.index.before); n <= len(text); n++ {
		if d.place > 0 {
			var guess [1]int32
			follow(guess[:], text[:n-1], d.place)
			d.right[matchClass(d.match)].observe(guess[0] == text[n-1])
		}
		d.index.extend(text[:n])
		d.place, d.match = d.index.find(text[:n])
	}
}

func (d *promptLookup) shorten(text []int32, n int) {
	d.lastSize = 0
	d.index.shorten(text, n)
	d.place, d.match = d.index.find(text[:n])
}

func (d *promptLookup) guess(dst, text []int32) int {
	d.fulfil(text)
	n, expected := d.size(len(dst))
	follow(dst[:n], text, d.place)
	d.lastAt, d.lastSize = len(text), copy(d.last[:], dst[:n])
	d.expected += expected
	return n
}

// fulfil counts what the last guess was right by, and lets those before it
// count less.
func (d *promptLookup) fulfil(text []int32) {
	d.fulfilled *= memory
	d.expected *= memory
	for i, id := range d.last[:d.lastSize] {
		if d.lastAt+i >= len(text) || text[d.lastAt+i] != id {
			break
		}
		d.fulfilled++
	}
	d.lastSize = 0
}

// size returns the length of guess that should give the most tokens a second,
// or 0 if none gives a tenth more than none, and how many of its tokens should
// be right. The chance of a token is that of its class, if all before it were
// right: the match has then grown by them. Expectations that guesses of late
// fell short of are lowered in proportion.
func (d *promptLookup) size(limit int) (size int, expected float64) {
	if d.place == 0 {
		return 0, 0
	}
	if d.mode == SpeculateOn {
		return min(onDraft, limit), 0
	}
	trust := min(1, (d.fulfilled+4)/(d.expected+4))
	most := 1.1 / d.seconds[1]
	right, chance, i := 0.0, 1.0, 0
	for _, n := range draftSizes {
		if n > limit {
			break
		}
		for ; i < n; i++ {
			chance *= d.right[matchClass(d.match+i)].estimate()
			right += chance
		}
		if speed := (1 + trust*right) / d.cost(1+n); speed > most {
			size, expected, most = n, right, speed
		}
	}
	return size, expected
}

// cost is the time of a batch. One that was never run is taken to be cheap, so
// that it is tried where much speaks for it.
func (d *promptLookup) cost(rows int) float64 {
	if s := d.seconds[rows]; s > 0 {
		return s
	}
	return d.seconds[1] * (1 + 0.35*float64(rows-1))
}

// took lets what was measured long ago count as a little less each time, so
// that it is measured again.
func (d *promptLookup) took(rows int, t time.Duration) {
	for i := range d.seconds {
		d.seconds[i] *= 0.998
	}
	s := &d.seconds[rows]
	if *s == 0 {
		*s = t.Seconds()
	}
	*s += (min(t.Seconds(), 2**s) - *s) / 4 // the process may have been put aside
}
