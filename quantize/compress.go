package quantize

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/seed-796a8800/tritium/gptoss"
	"github.com/seed-796a8800/tritium/internal/atomicfile"
	"github.com/seed-796a8800/tritium/internal/rans"
	"github.com/seed-796a8800/tritium/internal/safetensors"
)

// Compress writes a copy of a model that tritium quantized whose codes take less room on disk, or, with expand, one
// whose codes are in the files as they are in memory. Both compute the same, to the bit, and either gives the other back.
//
// The directory appears only when it is complete.
//
// Units: Progress.Done and Total are bytes of tensors, those that are coded counted twice.
// Errors: a model that is not quantized, or has no report; a directory that exists; a full disk.
func Compress(ctx context.Context, source *gptoss.Checkpoint, dir string, expand bool, progress func(Progress)) (*Report, error) {
	config := source.Config()
	q := config.Quantization
	if q == nil {
		return nil, errors.New("quantize: the model is not quantized, and only quantized weights are compressed: run tritium quantize first")
	}
	rep, err := readReport(source.Files())
	if err != nil {
		return nil, err
	}
	out, err := atomicfile.CreateDir(dir)
	if err != nil {
		return nil, err
	}
	c := coder{ctx: ctx, expand: expand, formats: maps.Clone(q.Tensors), progress: progress}
	err = func() error {
		if err := c.write(source.Tensors(), out.Path()); err != nil {
			return err
		}
		if err := copyFiles(source.Files(), out.Path()); err != nil {
			return err
		}
		changed := *q
		changed.Tensors = c.formats
		data, err := config.WithQuantization(changed)
		if err != nil {
			return err
		}
		rep.Options.Compress = !expand
		if err := rep.seal(ctx, out.Path(), data, config.Parameters()); err != nil {
			return err
		}
		return out.Commit()
	}()
	if err != nil {
		return nil, errors.Join(err, out.Abort())
	}
	return rep, nil
}

// readReport reads the report beside a model.
func readReport(files fs.FS) (*Report, error) {
	data, err := readRegular(files, ReportName)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("quantize: the model has no %s, which says how it was made; compress what tritium quantize wrote", ReportName)
	}
	if err != nil {
		return nil, err
	}
	r := &Report{}
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("quantize: %s: %w", ReportName, err)
	}
	return r, nil
}

// coder writes a model's tensors anew, with or without its codes compressed.
type coder struct {
	ctx      context.Context
	expand   bool
	formats  map[string]gptoss.Format // by projection; what they say of codings becomes what is written
	progress func(Progress)

	done, total int64
}

// tensorDir returns where in its directory a run writes the tensors: at their place, or, where they are to be compressed,
// in a directory that it makes.
func (r *run) tensorDir(dir string) (string, error) {
	if !r.opt.Compress {
		return dir, nil
	}
	dir = filepath.Join(dir, ".expanded")
	return dir, os.Mkdir(dir, 0o777)
}

// compressFiles brings the tensors from tensorDir to their place, as the last step before the rest of the model is
// written.
func (r *run) compressFiles(from, dir string) error {
	if !r.opt.Compress {
		return nil
	}
	archive, err := safetensors.Open(from)
	if err != nil {
		return err
	}
	c := coder{ctx: r.ctx, formats: r.formats, progress: func(p Progress) { r.meter.note(p.Step) }}
	var tensors []safetensors.Tensor
	for _, name := range archive.Names() {
		t, _ := archive.Lookup(name)
		tensors = append(tensors, t)
	}
	if err := errors.Join(c.write(tensors, dir), archive.Close()); err != nil {
		return err
	}
	return os.RemoveAll(from)
}

// write writes tensors, whose codes are as they are in memory, into dir.
//
// Codes are coded twice: the first time for their size, which the header of the file needs. Nothing but one container is
// kept.
func (c *coder) write(tensors []safetensors.Tensor, dir string) error {
	// The order of run.specs, so that files come out the same however the model was made.
	packed := func(t safetensors.Tensor) int {
		if c.projection(t, ".codes") != "" || c.projection(t, ".scales") != "" {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(tensors, func(a, b safetensors.Tensor) int { return packed(a) - packed(b) })
	for _, t := range tensors {
		c.total += int64(len(t.Data))
		if c.projection(t, ".codes") != "" && !c.expand {
			c.total += int64(len(t.Data))
		}
	}
	specs := make([]safetensors.Spec, len(tensors))
	for i, t := range tensors {
		specs[i] = safetensors.Spec{Name: t.Name, Dtype: t.Dtype, Shape: t.Shape}
		name := c.projection(t, ".codes")
		if name == "" {
			continue
		}
		if err := c.ctx.Err(); err != nil {
			return err
		}
		f := c.formats[name]
		f.Coding = ""
		if !c.expand {
			if n := len(rans.Encode(t.Data)); n < len(t.Data) {
				f.Coding, specs[i].Shape = gptoss.CodingRANS, []int{n}
			}
			c.advance("measuring "+t.Name, len(t.Data))
		}
		c.formats[name] = f
	}
	w, err := safetensors.Create(dir, specs, safetensors.Options{Metadata: map[string]string{"format": "pt"}})
	if err != nil {
		return err
	}
	for _, t := range tensors {
		data := t.Data
		if name := c.projection(t, ".codes"); name != "" && c.formats[name].Coding != "" {
			data = rans.Encode(data)
		}
		if err := errors.Join(c.ctx.Err(), w.Write(t.Name, data)); err != nil {
			return errors.Join(err, w.Abort())
		}
		c.advance("writing "+t.Name, len(t.Data))
	}
	return w.Commit()
}

// projection returns whose tensor it is that ends in the suffix, "" where that is no quantized projection's.
func (c *coder) projection(t safetensors.Tensor, suffix string) string {
	name, ok := strings.CutSuffix(t.Name, suffix)
	if _, known := c.formats[name]; ok && known {
		return name
	}
	return ""
}

func (c *coder) advance(step string, bytes int) {
	if c.done += int64(bytes); c.progress != nil {
		c.progress(Progress{Step: step, Done: float64(c.done), Total: float64(c.total)})
	}
}
