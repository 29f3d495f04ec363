package quantize

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime/debug"
	"sync"

	"github.com/seed-796a8800/tritium/graph"
	"github.com/seed-796a8800/tritium/internal/units"
)

// worker makes units, one after the other. Its memory is reused by the next.
type worker struct {
	run     *run
	cpu     *graph.CPU
	fitter  *Fitter
	decoded []float32 // the weights being fitted
	codes   []byte    // some rows of inputs
	rows    []float32
	last    *Moment // as last read
	lastKey units.Key
	unit    *unit // being made
}

// tick adds a share of the unit to what is done; say says what the unit is
// doing, too.
func (w *worker) tick(share float64) { w.say(w.unit.name, share) }

func (w *worker) say(what string, share float64) { w.run.meter.add(w.unit, what, share) }

// workers returns as many workers as there are to be, each with its share of
// the threads, and what closes them.
func (r *run) workers(cpu *graph.CPU) (ws []*worker, done func() error) {
	if r.opt.Workers == 1 {
		return []*worker{{run: r, cpu: cpu, fitter: NewFitter(cpu)}}, func() error { return nil }
	}
	for range r.opt.Workers {
		part := graph.NewCPU(max(1, cpu.Threads()/r.opt.Workers))
		ws = append(ws, &worker{run: r, cpu: part, fitter: NewFitter(part)})
	}
	return ws, func() (err error) {
		for _, w := range ws {
			err = errors.Join(err, w.cpu.Close())
		}
		return err
	}
}

// wanted says whether a unit is this run's to make for its own sake.
func (r *run) wanted(u *unit) bool {
	return u.final && (r.opt.Shard.Count == 0 || u.share == r.opt.Shard.Index)
}

// missing returns, step by step, what is to be made for the wanted units to be
// there, and everything that somebody will read then.
func (r *run) missing(wanted func(*unit) bool) (todo steps, read map[*unit]bool) {
	read, todo = map[*unit]bool{}, make(steps, len(r.steps))
	for i := len(r.steps) - 1; i >= 0; i-- {
		for _, u := range r.steps[i] {
			if !wanted(u) && !read[u] || r.store.Has(u.key) {
				continue
			}
			todo[i] = append(todo[i], u)
			for _, in := range u.inputs {
				read[in] = true
			}
		}
	}
	return todo, read
}

// execute makes what is missing, step by step. Other processes may be at it too.
func (r *run) execute(workers []*worker) error {
	for {
		if err := r.ctx.Err(); err != nil {
			return err
		}
		todo, _ := r.missing(r.wanted)
		r.meter.left(todo)
		var next []*unit
		for _, step := range todo {
			if next = step; len(next) > 0 {
				break
			}
		}
		if len(next) == 0 {
			return nil
		}
		err := r.makeAll(workers, next)
		if err != nil && !r.overtaken(err, next) {
			return err
		}
		if err := errors.Join(r.removeUnread(), r.source.Release()); err != nil {
			return err
		}
		debug.FreeOSMemory() // what a step needs is the largest thing there is
	}
}

// overtaken says whether a unit failed because another process, which had
// everything it needed, has removed what it was being made from.
func (r *run) overtaken(err error, us []*unit) bool {
	if !errors.Is(err, fs.ErrNotExist) {
		return false
	}
	for _, u := range us {
		for _, in := range u.inputs {
			if !r.store.Has(in.key) {
				return true
			}
		}
	}
	return false
}

// removeUnread removes the units that no unit still to be made will read.
func (r *run) removeUnread() error {
	_, read := r.missing(func(u *unit) bool { return u.final })
	for _, step := range r.steps {
		for _, u := range step {
			if u.final || read[u] || r.removed[u] || !r.store.Has(u.key) {
				continue
			}
			if err := r.store.Remove(u.key); err != nil {
				return err
			}
			r.removed[u] = true
		}
	}
	return nil
}

// makeAll makes units that do not need each other. Those of this run's share
// come first, and those that another process is making last: then it waits for
// them, and makes those whose maker dies.
func (r *run) makeAll(workers []*worker, us []*unit) error {
	var own, others []*unit
	for _, u := range us {
		if r.opt.Shard.Count == 0 || u.share == r.opt.Shard.Index {
			own = append(own, u)
		} else {
			others = append(others, u)
		}
	}
	var mu sync.Mutex
	var claimed []*unit
	try := func(w *worker, u *unit) error {
		done, err := r.store.Try(r.ctx, u.key, w.maker(u))
		if err == nil && !done {
			mu.Lock()
			claimed = append(claimed, u)
			mu.Unlock()
		}
		return err
	}
	if err := r.each(workers, append(own, others...), try); err != nil {
		return err
	}
	return r.each(workers, claimed, func(w *worker, u *unit) error {
		_, err := r.store.Do(r.ctx, u.key, w.maker(u))
		return err
	})
}

// errUnread ends the making of a unit that nobody needs any more.
var errUnread = errors.New("not needed any more")

// maker returns the function that makes a unit for the store.
func (w *worker) maker(u *unit) func(string) error {
	return func(path string) error {
		if _, read := w.run.missing(w.run.wanted); !w.run.wanted(u) && !read[u] {
			return errUnread
		}
		w.unit = u
		w.run.meter.begin(u)
		defer w.run.meter.end(u)
		if err := u.make(w, path); err != nil {
			return fmt.Errorf("quantize: layer %d: %s: %w", u.layer, u.name, err)
		}
		return nil
	}
}

// each calls f for the units in order, on all workers, until one fails.
func (r *run) each(workers []*worker, us []*unit, f func(*worker, *unit) error) error {
	queue := make(chan *unit, len(us))
	for _, u := range us {
		queue <- u
	}
	close(queue)
	ctx, cancel := context.WithCancelCause(r.ctx)
	defer cancel(nil)
	work := func(w *worker) {
		for u := range queue {
			if ctx.Err() != nil {
				return
			}
			if err := f(w, u); err != nil && !errors.Is(err, errUnread) {
				cancel(err)
				return
			}
		}
	}
	var wg sync.WaitGroup
	for _, w := range workers[1:] {
		wg.Go(func() { work(w) })
	}
	work(workers[0])
	wg.Wait()
	return context.Cause(ctx)
}
