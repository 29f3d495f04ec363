package quantize

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/seed-796a8800/tritium/internal/atomicfile"
	"github.com/seed-796a8800/tritium/internal/safetensors"
	"github.com/seed-796a8800/tritium/internal/units"
)

// finals are the units that the result is made of, in the order of the report.
func (r *run) finals() (us []*unit) {
	us = append(us, r.tables...)
	if r.whole != nil {
		return append(us, r.whole)
	}
	for _, l := range r.layers {
		for _, u := range l.finals() {
			if us = append(us, u); l.window != nil && len(us) > 1 && us[len(us)-2] == u {
				us = us[:len(us)-1] // of several layers
			}
		}
	}
	return us
}

// openFinal opens a final unit, wherever it is.
func (r *run) openFinal(u *unit) (*unitReader, error) {
	for _, s := range r.stores {
		if s.Has(u.key) {
			return openUnit(s.Path(u.key))
		}
	}
	return nil, fmt.Errorf("quantize: layer %d: %s: the store has no such unit: %w", u.layer, u.name, os.ErrNotExist)
}

// checkWhole refuses stores that do not hold all of a result between them.
func (r *run) checkWhole() error {
	var missing []string
	for _, u := range r.finals() {
		if !slices.ContainsFunc(r.stores, func(s *units.Store) bool { return s.Has(u.key) }) {
			missing = append(missing, u.where())
		}
	}
	if len(missing) == 0 {
		return nil
	}
	const most = 8
	more := ""
	if n := len(missing) - most; n > 0 {
		missing, more = missing[:most], fmt.Sprintf(" and %d more", n)
	}
	return fmt.Errorf("quantize: the stores do not have %s%s; were they made with the same model, text and options, and has every share ended?", strings.Join(missing, "; "), more)
}

// where names a unit's result.
func (u *unit) where() string {
	if u.projection == "" {
		return fmt.Sprintf("layer %d", u.layer)
	}
	if u.last > 0 {
		return fmt.Sprintf("%s, experts %d to %d", u.projection, u.first, u.last-1)
	}
	return u.projection
}

// assembleOnce writes the result. Of several processes that come this far one
// does, and the others have its report.
func (r *run) assembleOnce(dir string) (*Report, error) {
	path, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("quantize: %w", err)
	}
	key := units.NewKey("model/1", path, r.opt.Compress, keysOf(r.finals()))
	r.modelKey = key
	if _, err := os.Lstat(dir); errors.Is(err, os.ErrNotExist) {
		// A store that was kept may know of a result that is gone.
		if err := r.store.Remove(key); err != nil {
			return nil, err
		}
	}
	var report *Report
	path, err = r.store.Do(r.ctx, key, func(path string) (err error) {
		if report, err = r.assemble(dir); err != nil {
			return err
		}
		data, err := json.Marshal(report)
		if err == nil {
			err = os.WriteFile(path, data, 0o666)
		}
		return err
	})
	if err != nil || report != nil {
		return report, err
	}
	data, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(data, &report)
	}
	if err != nil {
		return nil, fmt.Errorf("quantize: %w", err)
	}
	return report, nil
}

// assemble writes the result from its units.
func (r *run) assemble(dir string) (_ *Report, err error) {
	tensors, err := r.tensorsOf(r.finals())
	if err != nil {
		return nil, err
	}
	report, err := r.newReport()
	if err != nil {
		return nil, err
	}
	out, err := atomicfile.CreateDir(dir)
	if err != nil {
		return nil, err
	}
	path, err := r.tensorDir(out.Path())
	if err == nil {
		err = r.writeTensors(path, tensors)
	}
	if err == nil {
		err = r.compressFiles(path, out.Path())
	}
	if err == nil {
		err = r.finish(out.Path(), report)
	}
	if err == nil {
		err = out.Commit()
	}
	if err != nil {
		return nil, errors.Join(err, out.Abort())
	}
	return report, nil
}

// writeTensors writes the tensors' files: those that were fitted from the store,
// all others as the source has them.
func (r *run) writeTensors(dir string, tensors fitted) error {
	specs, err := r.specs()
	if err != nil {
		return err
	}
	w, err := safetensors.Create(dir, specs, safetensors.Options{Metadata: map[string]string{"format": "pt"}})
	if err != nil {
		return err
	}
	kept := map[string]safetensors.Tensor{}
	for _, t := range r.source.Tensors() {
		kept[t.Name] = t
	}
	for _, s := range specs {
		if err := r.ctx.Err(); err != nil {
			return errors.Join(err, w.Abort())
		}
		r.meter.note("writing " + s.Name)
		if len(tensors[s.Name]) == 0 {
			err = w.Write(s.Name, kept[s.Name].Data)
		} else {
			err = r.join(w, s.Name, tensors[s.Name])
		}
		if err := errors.Join(err, r.source.Release()); err != nil {
			return errors.Join(err, w.Abort())
		}
	}
	return w.Commit()
}

// join writes a tensor from its pieces.
func (r *run) join(w *safetensors.Writer, name string, pieces []piece) error {
	to, err := w.Tensor(name)
	if err != nil {
		return err
	}
	for _, p := range pieces {
		f, err := r.openFinal(p.unit)
		if err != nil {
			return err
		}
		_, err = io.Copy(to, f.section(p.section))
		f.close()
		if err != nil {
			return fmt.Errorf("quantize: %s: %w", name, err)
		}
	}
	return nil
}
