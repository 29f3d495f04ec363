package quantize

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/seed-796a8800/tritium/gptoss"
	"github.com/seed-796a8800/tritium/internal/safetensors"
)

// ReportName is the file in a ternary model's directory that says how it was
// made.
const ReportName = "quantize-report.json"

// Report is what a run did.
type Report struct {
	Method        Method         `json:"method"`
	Options       ReportOptions  `json:"options"`
	Plan          *Plan          `json:"plan,omitempty"` // where the formats come from one
	SourceSHA256  string         `json:"source_sha256"`  // gptoss.Checkpoint.SHA256
	Bytes         int64          `json:"bytes"`
	BitsPerWeight float64        `json:"bits_per_weight"`
	Tensors       []ReportTensor `json:"tensors"`
	LeastFed      *LeastFed      `json:"least_fed_expert"` // nil without statistics
	Forced        []ForcedTokens `json:"forced_tokens,omitempty"`
	Pruned        *ReportExperts `json:"experts,omitempty"` // nil if all are kept
	Layers        []ReportLayer  `json:"layers,omitempty"`  // of methods that train
	Distilled     []ReportPass   `json:"distilled,omitempty"`
	Seconds       float64        `json:"seconds"`        // of the process that wrote the result
	Phases        []ReportPhase  `json:"phases"`         // of the same; without what it found in the store
	PeakRSS       int64          `json:"peak_rss_bytes"` // 0 where the system does not tell
	// Verdict is what the caller found the result to be worth, see SetVerdict.
	Verdict json.RawMessage `json:"verdict,omitempty"`
	// Files holds the SHA-256 of every file of the model but this one.
	Files map[string]string `json:"files"`
}

// ReportOptions are the options that decide the result.
type ReportOptions struct {
	Bits      float64 `json:"bits"` // of ternary weights, without scales
	Group     int     `json:"group"`
	Experts   string  `json:"experts"`
	Attention string  `json:"attention"`
	Embedding string  `json:"embedding"`
	Head      string  `json:"head"`
	Window    int     `json:"window"`
	Tokens    int     `json:"tokens"`
	Damp      float64 `json:"damp"`
	Passes    int     `json:"passes"`
	Blocks    string  `json:"blocks"`
	DeadZone  float64 `json:"dead_zone,omitempty"` // 0: none
	Compress  bool    `json:"compress,omitempty"`
	// Of experts with few tokens.
	MinTokens   int `json:"min_tokens,omitempty"`
	ForceTokens int `json:"force_tokens,omitempty"`
	// Of methods that train.
	Steps    int            `json:"steps,omitempty"`
	Batch    int            `json:"batch,omitempty"`
	Rate     float64        `json:"rate,omitempty"`
	Seed     uint64         `json:"seed,omitempty"`
	SelfText int            `json:"self_text_windows,omitempty"`
	Distill  *ReportDistill `json:"distill,omitempty"` // of the method distill
}

// ReportDistill are the options of the last pass of the method distill.
type ReportDistill struct {
	Steps        int     `json:"steps"`
	Batch        int     `json:"batch"`
	Rate         float64 `json:"rate"`
	OthersRate   float64 `json:"others_rate"` // relative to it
	WindowBlocks int     `json:"window_blocks"`
	FreezeCodes  bool    `json:"freeze_codes"`
}

// ReportTensor is one projection that was quantized.
type ReportTensor struct {
	Name          string  `json:"name"`
	Format        string  `json:"format"`
	Bits          float64 `json:"bits"`
	RelativeError float64 `json:"relative_error"` // of experts the mean
	Tokens        int     `json:"tokens"`         // of experts the fewest
	// TokensPerExpert counts the calibration tokens routed to each expert.
	TokensPerExpert []int `json:"tokens_per_expert,omitempty"`
}

// ReportPhase is what one kind of work took. Workers add up.
type ReportPhase struct {
	Name    string  `json:"name"` // statistics, moments, fitting, running, training
	Seconds float64 `json:"seconds"`
	Work    float64 `json:"work_mac"` // as Forecast.Work counts
}

// newReport says what the final units say of themselves.
func (r *run) newReport() (*Report, error) {
	fit, _ := r.opt.Fit.resolve()
	rep := &Report{Method: r.opt.Method, Plan: r.opt.Plan, Options: ReportOptions{
		Bits: r.opt.Bits, Group: r.opt.ternaryGroup(), Experts: r.opt.Experts, Attention: r.opt.Attention, Embedding: r.opt.Embedding, Head: r.opt.Head,
		Window: r.opt.Window, Tokens: r.pool.text * r.opt.Window, Damp: fit.Damp, Passes: fit.Passes, Blocks: r.opt.Blocks,
		DeadZone: fit.DeadZone, Compress: r.opt.Compress, MinTokens: r.opt.MinTokens, ForceTokens: r.opt.ForceTokens,
	}, SourceSHA256: r.sourceSHA, Pruned: r.experts}
	if t := r.opt.Train; r.opt.Method.Trains() {
		o := &rep.Options
		o.Steps, o.Batch, o.Rate, o.Seed, o.SelfText = t.Steps, t.Batch, t.Rate, t.Seed, r.opt.SelfText
	}
	if d := r.opt.Distill; r.opt.Method == Distill {
		rep.Options.Distill = &ReportDistill{d.Steps, d.Batch, d.Rate, d.Others, d.WindowBlocks, d.FreezeCodes}
	}
	fits := map[string]fitAbout{}
	for _, u := range r.finals() {
		if u.projection == "" { // layers that were trained
			var a trainAbout
			if err := r.about(u, &a); err != nil {
				return nil, err
			}
			rep.Layers = append(rep.Layers, a.Layers...)
			if a.Pass != nil {
				rep.Distilled = append(rep.Distilled, *a.Pass)
			}
			maps.Copy(fits, a.Fits)
			continue
		}
		a, err := r.aboutFit(u)
		if err != nil {
			return nil, err
		}
		fits[u.projection] = fits[u.projection].join(a)
	}
	for _, p := range r.config.ProjectionList() {
		if f, ok := fits[p.Name]; ok {
			if err := rep.add(p, r.formats[p.Name], f, r.opt); err != nil {
				return nil, err
			}
		}
	}
	return rep, nil
}

// about reads what a final unit says beside its tensors.
func (r *run) about(u *unit, about any) error {
	f, err := r.openFinal(u)
	if err != nil {
		return err
	}
	defer f.close()
	return f.tell(about)
}

func (r *run) aboutFit(u *unit) (a fitAbout, err error) { return a, r.about(u, &a) }

// join appends the matrices of another unit.
func (a fitAbout) join(b fitAbout) fitAbout {
	return fitAbout{append(a.RelativeError, b.RelativeError...), append(a.Tokens, b.Tokens...), append(a.Forced, b.Forced...)}
}

func (r *Report) add(p gptoss.Projection, f gptoss.Format, a fitAbout, o Options) error {
	var relative float64
	for _, e := range a.RelativeError {
		relative += e
	}
	t := ReportTensor{Name: p.Name, Format: f.Kind, Bits: f.Bits, RelativeError: relative / float64(len(a.RelativeError)), Tokens: a.Tokens[0]}
	if p.Experts > 0 && o.Method.Calibrates() {
		expert, n := leastFed(a.Tokens)
		t.Tokens, t.TokensPerExpert = n, a.Tokens
		var layer int
		fmt.Sscanf(p.Name, "model.layers.%d.", &layer)
		if r.LeastFed == nil || n < r.LeastFed.Tokens {
			r.LeastFed = &LeastFed{layer, expert, n}
		}
		if err := r.addForced(layer, a, o.MinTokens); err != nil {
			return err
		}
	}
	r.Tensors = append(r.Tensors, t)
	return nil
}

// specs lists the tensors to write: first those of quantized projections.
func (r *run) specs() (specs []safetensors.Spec, err error) {
	replaced := map[string]bool{}
	for name, f := range r.formats {
		for _, suffix := range []string{".weight", "_blocks", "_scales", ""} {
			replaced[name+suffix] = true
		}
		p := r.config.Projections()[name]
		packed, err := packedSpecs(p, f)
		if err != nil {
			return nil, err
		}
		specs = append(specs, packed...)
	}
	// The order decides the bytes of the files; a map's does not repeat.
	slices.SortFunc(specs, func(a, b safetensors.Spec) int { return strings.Compare(a.Name, b.Name) })
	for _, t := range r.source.Tensors() {
		if !replaced[t.Name] {
			specs = append(specs, safetensors.Spec{Name: t.Name, Dtype: t.Dtype, Shape: t.Shape})
		}
	}
	return specs, nil
}

// packedSpecs are the tensors of one quantized projection.
func packedSpecs(p gptoss.Projection, f gptoss.Format) ([]safetensors.Spec, error) {
	codes, scales, err := f.Shapes(p)
	if err != nil {
		return nil, err
	}
	return []safetensors.Spec{
		{Name: p.Name + ".codes", Dtype: safetensors.U8, Shape: codes},
		{Name: p.Name + ".scales", Dtype: safetensors.F16, Shape: scales},
	}, nil
}

// copied are the files of a model's directory that a quantized one needs too.
var copied = []string{"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
	"generation_config.json", "chat_template.jinja", "LICENSE", "USAGE_POLICY"}

// finish writes everything but the tensors. config.json comes last: a directory
// without it opens nowhere, so that a run that is killed before has left no
// model, not even under its temporary name.
func (r *run) finish(dir string, rep *Report) error {
	q := gptoss.Quantization{QuantMethod: gptoss.QuantMethod, Version: gptoss.LayoutVersion, Method: string(r.opt.Method),
		GroupSize: r.opt.ternaryGroup(), ActivationBits: 8, Tensors: r.formats}
	config, err := r.config.WithQuantization(q)
	if err != nil {
		return err
	}
	if err := copyFiles(r.source.Files(), dir); err != nil {
		return err
	}
	rep.Seconds, rep.PeakRSS, rep.Phases = time.Since(r.start).Seconds(), peakRSS(), r.meter.phases()
	r.meter.note("hashing the result")
	return rep.seal(r.ctx, dir, config, r.config.Parameters())
}

// copyFiles copies the files that a quantized model has in common with its source.
func copyFiles(from fs.FS, dir string) error {
	for _, name := range copied {
		data, err := readRegular(from, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), data, 0o666)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// seal hashes a directory that has everything but its report and its config.json, and writes these, config.json last.
func (r *Report) seal(ctx context.Context, dir string, config []byte, parameters int64) error {
	r.Files, r.Bytes = map[string]string{}, 0
	if err := r.hashFiles(ctx, dir); err != nil {
		return err
	}
	config = append(config, '\n')
	sum := sha256.Sum256(config)
	r.Files[configName] = hex.EncodeToString(sum[:])
	r.BitsPerWeight = 8 * float64(r.Bytes) / float64(parameters)
	if err := r.write(dir); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, configName), config, 0o666)
}

const configName = "config.json"

// maxCopied bounds the files that are copied whole; the published tokenizer has
// 28 MB.
const maxCopied = 256 << 20

// readRegular reads a small file, and no pipe or device.
func readRegular(files fs.FS, name string) ([]byte, error) {
	info, err := fs.Stat(files, name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxCopied {
		return nil, fmt.Errorf("quantize: %s of the source is no regular file of at most %d bytes", name, maxCopied)
	}
	return fs.ReadFile(files, name)
}

// hashFiles fills in Files, and Bytes with the size of the tensors' files.
func (r *Report) hashFiles(ctx context.Context, dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") || !e.Type().IsRegular() {
			continue
		}
		sum, n, err := hashFile(ctx, filepath.Join(dir, e.Name()))
		if err != nil {
			return err
		}
		r.Files[e.Name()] = sum
		if strings.HasSuffix(e.Name(), ".safetensors") {
			r.Bytes += n
		}
	}
	return nil
}

func hashFile(ctx context.Context, path string) (sum string, n int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	h := sha256.New()
	for {
		if err := ctx.Err(); err != nil {
			return "", 0, err
		}
		k, err := io.CopyN(h, f, 64<<20)
		n += k
		if err == io.EOF {
			return hex.EncodeToString(h.Sum(nil)), n, nil
		}
		if err != nil {
			return "", 0, err
		}
	}
}

// checkComplete refuses a report that says nothing of a file that decides what
// the model computes.
func (r *Report) checkComplete(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("quantize: %w", err)
	}
	for _, e := range entries {
		name := e.Name()
		decides := name == configName || strings.HasSuffix(name, ".safetensors") || strings.HasSuffix(name, ".index.json")
		if _, ok := r.Files[name]; decides && !ok && name != goldenName {
			return fmt.Errorf("quantize: %s has no hash of %s", filepath.Join(dir, ReportName), name)
		}
	}
	return nil
}

// goldenName is a file of reference values that may lie beside a model.
const goldenName = "golden.safetensors"

// VerifyFiles compares the files of a ternary model's directory with the
// hashes in its report.
//
// Errors: no report, a file that is missing or was changed; the first of them
// by name.
func VerifyFiles(ctx context.Context, dir string) error {
	data, err := os.ReadFile(filepath.Join(dir, ReportName))
	if err != nil {
		return fmt.Errorf("quantize: %w", err)
	}
	var r Report
	if err := json.Unmarshal(data, &r); err != nil {
		return fmt.Errorf("quantize: %s: %w", filepath.Join(dir, ReportName), err)
	}
	names := make([]string, 0, len(r.Files))
	for name := range r.Files {
		if !filepath.IsLocal(name) || strings.ContainsAny(name, `/\`) {
			return fmt.Errorf("quantize: %s: %q is no file beside it", filepath.Join(dir, ReportName), name)
		}
		names = append(names, name)
	}
	slices.Sort(names)
	if err := r.checkComplete(dir); err != nil {
		return err
	}
	for _, name := range names {
		sum, _, err := hashFile(ctx, filepath.Join(dir, name))
		if err != nil {
			return fmt.Errorf("quantize: %w", err)
		}
		if sum != r.Files[name] {
			return fmt.Errorf("quantize: %s has changed since it was written: its SHA-256 is %s, the report says %s", filepath.Join(dir, name), sum, r.Files[name])
		}
	}
	return nil
}
