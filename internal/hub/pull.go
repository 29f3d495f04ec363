package hub

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-796a8800/tritium/internal/atomicfile"
)

// maxWanted bounds the files of one pull, each of which is held open.
const maxWanted = 300

// A Pull fetches files of a commit into a place.
type Pull struct {
	Repo, Commit string
	Files        []File // names without folders, as Wanted leaves them
	Place        Place
	// Progress, where it is set, hears a few times a second what is done, in bytes of this run. From one goroutine.
	Progress func(step string, done, total int64)
}

// Result is what a Pull did.
type Result struct {
	Dir     string // holds the files
	Bytes   int64  // of all of them
	Fetched int64  // over the network, in this run
}

// Run fetches what is missing. When it returns without an error all files are in their place and have the hashes that
// the Hub lists. After an error or a kill, running it again goes on where it ended.
//
// Errors: as of Client.Commit; too little disk space, another process that fetches the same, contents that stay wrong;
// each says what to do.
func (p Pull) Run(ctx context.Context, c *Client) (Result, error) {
	r := &run{Pull: p, c: c}
	result := Result{Dir: p.Place.dir()}
	for _, f := range p.Files {
		if result.Bytes += f.Size; !plainName.MatchString(f.Path) || f.id() == "" {
			return result, wrap(fmt.Errorf("%.200q is not for Pull", f.Path), p.Repo)
		}
	}
	if len(p.Files) > maxWanted {
		return result, wrap(fmt.Errorf("%d files are to be fetched, more than %d; refused", len(p.Files), maxWanted), p.Repo)
	}
	stop := r.report()
	err := r.fetchAll(ctx)
	stop()
	for _, d := range r.downloads {
		err = errors.Join(err, d.close())
	}
	result.Fetched = r.done.Load()
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return result, wrap(err, p.Repo)
	}
	return result, wrap(p.Place.finish(p.Files), p.Repo)
}

// run is a Pull that runs.
type run struct {
	Pull
	c           *Client
	downloads   []*download
	done, total atomic.Int64
	step        atomic.Value // string
}

// report calls Progress until it is stopped.
func (r *run) report() (stop func()) {
	r.step.Store("looking at what is there")
	if r.Progress == nil {
		return func() {}
	}
	quit, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			r.Progress(r.step.Load().(string), r.done.Load(), r.total.Load())
			select {
			case <-tick.C:
			case <-quit:
				return
			}
		}
	}()
	return func() { close(quit); <-ended }
}

func (r *run) fetchAll(ctx context.Context) error {
	if err := r.plan(ctx); err != nil {
		return err
	}
	if err := r.checkSpace(); err != nil {
		return err
	}
	if err := r.transfer(ctx); err != nil {
		return err
	}
	// All names at once: until the last byte is right there is nothing that could pass for the model.
	dirs := map[string]bool{}
	for _, d := range r.downloads {
		if err := d.publish(d.final); err != nil {
			return err
		}
		dirs[filepath.Dir(d.final)] = true
	}
	for dir := range dirs {
		syncDir(dir)
	}
	return nil
}

// plan finds out what is there and opens the rest for writing.
func (r *run) plan(ctx context.Context) error {
	for _, f := range r.Files {
		final := r.Place.file(f)
		if err := os.MkdirAll(filepath.Dir(final), 0o777); err != nil {
			return err
		}
		if info, err := os.Stat(final); err == nil && info.Mode().IsRegular() && info.Size() == f.Size {
			r.step.Store("checking " + f.Path)
			right, err := hashFile(ctx, final, f)
			if err != nil {
				return err
			}
			if right {
				continue
			}
		} else if err == nil && !info.Mode().IsRegular() {
			return fmt.Errorf("%s is in the way; remove it", final)
		} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		d := &download{source: source{c: r.c, repo: r.Repo, commit: r.Commit, file: f},
			final: final, step: r.c.o.Range, done: &r.done, total: &r.total}
		ranges := int((f.Size + d.step - 1) / d.step)
		header := fmt.Sprintf("tritium download 1 %s %d %d #", f.id(), f.Size, d.step)
		var err error
		if d.partial, err = openPartial(final, header, f.Size, ranges); err != nil {
			if errors.Is(err, atomicfile.ErrHeld) {
				return fmt.Errorf("%s is being fetched by another process; wait for it", f.Path)
			}
			return err
		}
		r.downloads = append(r.downloads, d)
		for i := range ranges {
			if from, end := d.bounds(i); !d.has(i) {
				r.total.Add(end - from)
			}
		}
	}
	return nil
}

// checkSpace refuses to begin what cannot end.
func (r *run) checkSpace() error {
	dir := r.Place.dir()
	for _, err := os.Stat(dir); err != nil && filepath.Dir(dir) != dir; _, err = os.Stat(dir) {
		dir = filepath.Dir(dir)
	}
	if free, known := freeSpace(dir); known && free < r.total.Load() {
		return fmt.Errorf("%.1f GB are to be fetched, and the disk of %s has %.1f GB free; make room, or choose another place with --dir or HF_HOME",
			float64(r.total.Load())/1e9, dir, float64(free)/1e9)
	}
	return nil
}

// transfer fetches all missing ranges and checks each file that is complete, one at a time.
func (r *run) transfer(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var checks sync.WaitGroup
	var checking sync.Mutex
	check := func(d *download) {
		if d.ready.Swap(true) {
			return
		}
		checks.Go(func() {
			checking.Lock()
			defer checking.Unlock()
			if err := d.verify(ctx); err != nil {
				cancel(about(d, err))
			}
		})
	}
	err := r.c.parallel(ctx, func(yield func(func(context.Context) error) bool) {
		for _, d := range r.downloads {
			if d.have == len(d.sums) { // nobody works on it yet
				check(d)
				continue
			}
			missing := []int{}
			for i := range d.sums {
				if !d.has(i) {
					missing = append(missing, i)
				}
			}
			for _, i := range missing {
				fetch := func(ctx context.Context) error {
					r.step.Store(d.file.Path)
					complete, err := d.fetch(ctx, i)
					if complete {
						check(d)
					}
					return about(d, err)
				}
				if !yield(fetch) {
					return
				}
			}
		}
	})
	if err == nil {
		r.step.Store("checking")
	} else {
		cancel(err)
	}
	checks.Wait()
	return context.Cause(ctx)
}

// about says which file an error is about.
func about(d *download, err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	return fmt.Errorf("%s: %w", d.file.Path, err)
}

// parallel runs jobs on the client's workers until all are done or one fails, and returns the first failure.
func (c *Client) parallel(ctx context.Context, jobs iter.Seq[func(context.Context) error]) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	queue := make(chan func(context.Context) error)
	var wg sync.WaitGroup
	for range c.o.Workers {
		wg.Go(func() {
			for job := range queue {
				if err := job(ctx); err != nil {
					cancel(err)
				}
			}
		})
	}
	jobs(func(job func(context.Context) error) bool {
		select {
		case queue <- job:
			return true
		case <-ctx.Done():
			return false
		}
	})
	close(queue)
	wg.Wait()
	return context.Cause(ctx)
}

// Choose returns the files of a repository that tritium reads.
//
// Errors: there is no model among them that tritium can read.
func Choose(files []File) ([]File, error) {
	var wanted []File
	config, weights, others := false, false, ""
	for _, f := range files {
		switch ext := filepath.Ext(f.Path); {
		case Wanted(f):
			wanted = append(wanted, f)
			config = config || f.Path == "config.json"
			weights = weights || ext == ".safetensors"
		case ext == ".gguf" || ext == ".bin" || ext == ".onnx" || ext == ".pt" || ext == ".pth":
			if !strings.Contains(others, ext) {
				others += ", " + ext
			}
		}
	}
	switch {
	case !weights && others != "":
		return nil, fmt.Errorf("hub: it holds weights as %s only; tritium reads .safetensors: choose the repository of the original", others[2:])
	case !weights || !config:
		return nil, errors.New("hub: it holds no model: config.json or .safetensors files are missing")
	}
	return wanted, nil
}
