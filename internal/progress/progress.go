// Package progress shows how far long work is: a bar on a terminal, and
// elsewhere (a log file, a pipe) a line every few seconds.
package progress

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"
	"unicode"

	"github.com/vbauerster/cupwriter"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// interval is the time between two plain lines.
const interval = 3 * time.Second

// A Display shows one piece of work. The nil Display shows nothing, so a quiet
// caller needs no condition of its own. Its methods may be called by several
// goroutines.
type Display struct {
	mu    sync.Mutex
	out   io.Writer
	title string
	unit  string // of work, such as "MAC" or "tokens"
	start time.Time
	shown time.Time // when the last plain line was printed
	state state

	container *mpb.Progress // nil where lines are printed
	bar       *mpb.Bar
}

// state is what the last Update said.
type state struct {
	step        string
	done, total float64
	left        time.Duration // 0: not known
}

// steps is the resolution of a bar.
const steps = 10_000

// New returns a display on w. It draws a bar if w is a terminal. Call Close.
//
// Units: unit names what Update counts. Rates of a unit (MAC, B) are shown with
// a prefix, "12.3 GMAC/s", those of a word without, "1664 tokens/s".
func New(w io.Writer, title, unit string) *Display {
	now := time.Now()
	d := &Display{out: w, title: title, unit: unit, start: now, shown: now}
	if !Terminal(w) {
		return d
	}
	d.container = mpb.New(mpb.WithOutput(w), mpb.WithWidth(32))
	d.bar = d.container.AddBar(steps, mpb.BarRemoveOnComplete(),
		mpb.PrependDecorators(decor.Name(title+" ")),
		mpb.AppendDecorators(decor.Any(func(decor.Statistics) string { return d.describe() })))
	return d
}

// Terminal says whether a reader or writer is a terminal.
func Terminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && cupwriter.New(f, false).IsTerminal()
}

// Update says how much of the work is done, and what is being done.
func (d *Display) Update(step string, done, total float64) {
	if d == nil {
		return
	}
	d.mu.Lock()
	d.state.step, d.state.done, d.state.total = step, done, total
	line := d.container == nil && time.Since(d.shown) >= interval
	if line {
		d.shown = time.Now()
	}
	d.mu.Unlock()
	switch {
	case line:
		fmt.Fprintf(d.out, "%s: %s\n", d.title, d.describe())
	case d.bar != nil && total > 0:
		// One short of complete: a complete bar removes itself, and Close is
		// what ends this one.
		d.bar.SetCurrent(min(int64(steps*done/total), steps-1))
	}
}

// Left says how much time the rest will take, for work whose steps differ in
// speed. Without it, or with 0, the rest is taken to go as what is done.
func (d *Display) Left(left time.Duration) {
	if d == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.state.left = left
}

// Close takes the bar off the screen. The display must not be used afterwards.
func (d *Display) Close() {
	if d == nil || d.bar == nil {
		return
	}
	d.bar.Abort(true)
	d.container.Wait()
}

// describe returns "34 %, 12.3 GMAC/s, 1m20s left, layer 3 of 6: ...".
func (d *Display) describe() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.state.describe(time.Since(d.start), d.unit)
}

func (s state) describe(elapsed time.Duration, unit string) string {
	if s.total <= 0 || s.done <= 0 {
		return s.step
	}
	left := time.Duration(float64(elapsed) * max(0, s.total-s.done) / s.done)
	if s.left > 0 {
		left = s.left
	}
	rate := s.done / elapsed.Seconds()
	speed := Quantity(rate, unit)
	if word := unit != "" && unicode.IsLower(rune(unit[0])); word && rate < 10 {
		speed = fmt.Sprintf("%.1f %s", rate, unit)
	} else if word {
		speed = fmt.Sprintf("%.0f %s", rate, unit)
	}
	return fmt.Sprintf("%3.0f %%, %s/s, %v left, %s", 100*s.done/s.total, speed, left.Round(time.Second), s.step)
}

// Quantity writes a number with three digits and an SI prefix: "12.3 GMAC".
func Quantity(x float64, unit string) string {
	prefixes := []string{"", "k", "M", "G", "T", "P"}
	i := 0
	for x >= 999.5 && i < len(prefixes)-1 {
		x, i = x/1000, i+1
	}
	digits := 0
	switch {
	case i == 0 && x == float64(int64(x)):
	case x < 9.995:
		digits = 2
	case x < 99.95:
		digits = 1
	}
	return fmt.Sprintf("%.*f %s%s", digits, x, prefixes[i], unit)
}
