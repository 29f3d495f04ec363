package quantize

import (
	"fmt"

	"github.com/seed-796a8800/tritium/gptoss"
)

// Options say what becomes of a model. Zero values mean the defaults.
type Options struct {
	Method Method // of the ternary projections; default pt-bitnet
	Fit    FitOptions
	Train  TrainOptions // of methods that train
	// Distill is the last pass of the method distill.
	Distill DistillOptions
	// SelfText is how many windows of text the original writes itself, to train
	// on beside the calibration text: what cures over-fitting and needs no data.
	SelfText int
	// Work is a directory where a run leaves what another one with the same inputs
	// takes up: text that the original wrote, layers that were trained, and the
	// state of training where it was interrupted. Default: nothing is left.
	Work string
	// Bits is what a ternary weight takes without its scale: 2, or 1.6, which is
	// five weights in a byte.
	Bits float64 // default 2
	// Group is the largest number of inputs that share a scale; every
	// projection gets the largest group up to it that divides its inputs, as
	// padded (ternaryop.Format.Groups). At 1.6 bits the smallest is 80.
	Group int // default 128, at 1.6 bits 160
	// Attention, Embedding and Head are stored as "ternary" (attention only),
	// "int8", "int4" (embedding and head only) or "bf16", which leaves them as
	// the source has them.
	Attention, Embedding, Head string // default ternary, bf16, bf16
	// Window is the number of tokens of a calibration sequence.
	Window int // default 512
	// Rows is the number of tokens that run through a layer at a time.
	Rows int // default 4 windows
	// Compress stores codes in about as many bits as they carry, to be expanded
	// when the model is opened; while the result is written, both are on disk.
	Compress bool
	// Progress, if set, is told how far the work is, at least once per
	// projection and batch. It is called by the goroutine that called Run.
	Progress func(Progress)
}

// Progress says how far a run is.
type Progress struct {
	Layer, Layers int     // 0-based
	Step          string  // what is being done, "fitting gate_up_proj, expert 7"
	Done, Total   float64 // work, in the units of Forecast.Work
}

// The ways to store attention, embedding and head.
const (
	StoreTernary = "ternary"
	StoreInt8    = "int8"
	StoreInt4    = "int4"
	StoreBF16    = "bf16"
)

// resolve fills in the defaults and refuses what cannot be.
func (o Options) resolve() (Options, error) {
	def := func(s *string, v string) {
		if *s == "" {
			*s = v
		}
	}
	def(&o.Attention, StoreTernary)
	def(&o.Embedding, StoreBF16)
	def(&o.Head, StoreBF16)
	if o.Method == "" {
		o.Method = PTBitNet
	}
	if o.Bits == 0 {
		o.Bits = 2
	}
	if o.Group == 0 {
		o.Group = map[float64]int{2: 128, 1.6: 160}[o.Bits]
	}
	if o.Window == 0 {
		o.Window = 512
	}
	if o.Rows == 0 {
		o.Rows = 4 * o.Window
	}
	if _, err := ParseMethod(string(o.Method)); err != nil {
		return o, err
	}
	if _, err := o.Fit.resolve(); err != nil {
		return o, err
	}
	if err := o.Fit.CheckDeadZone(o.Method); err != nil {
		return o, err
	}
	least := map[float64]int{2: 16, 1.6: 80}[o.Bits]
	switch {
	case least == 0:
		return o, fmt.Errorf("quantize: ternary weights of %g bits: choose 2 or 1.6", o.Bits)
	case o.Group < least || o.Group > 1<<16:
		return o, fmt.Errorf("quantize: groups of %d inputs at %g bits: want %d to 65536", o.Group, o.Bits, least)
	case o.Window < 2:
		return o, fmt.Errorf("quantize: windows of %d tokens: want at least 2", o.Window)
	case o.SelfText < 0 || o.SelfText > maxSelfText/o.Window:
		return o, fmt.Errorf("quantize: %d windows of the original's own text: want 0 to %d", o.SelfText, maxSelfText/o.Window)
	case o.SelfText > 0 && !o.Method.Trains():
		return o, fmt.Errorf("quantize: the original's own text is to train on, and %s does not train; choose %s or %s", o.Method, Reconstruct, Distill)
	case o.Distill.WindowBlocks < 0:
		return o, fmt.Errorf("quantize: %d layers trained together: want at least 1, or 0 for all", o.Distill.WindowBlocks)
	case o.Attention != StoreTernary && o.Attention != StoreInt8 && o.Attention != StoreBF16:
		return o, fmt.Errorf("quantize: attention as %q: choose ternary, int8 or bf16", o.Attention)
	}
	for _, s := range []struct{ what, how string }{{"embedding", o.Embedding}, {"head", o.Head}} {
		if s.how != StoreInt8 && s.how != StoreInt4 && s.how != StoreBF16 {
			return o, fmt.Errorf("quantize: %s as %q: choose int8, int4 or bf16", s.what, s.how)
		}
	}
	o.Rows = max(o.Rows, o.Window)
	return o, nil
}

// format returns how a projection will be stored; the zero Format leaves it as
// the source has it.
func (o Options) format(p gptoss.Projection) (gptoss.Format, error) {
	how := StoreBF16
	switch {
	case p.Name == gptoss.EmbeddingName:
		how = o.Embedding
	case p.Name == gptoss.HeadName:
		how = o.Head
	case p.Experts > 0:
		how = StoreTernary
	case p.Quantizable:
		how = o.Attention
	}
	switch how {
	case StoreTernary:
		if o.Bits == 1.6 {
			return gptoss.NewFormat(gptoss.FormatTernary5, p, o.Group)
		}
		return gptoss.NewFormat(gptoss.FormatTernary, p, o.Group)
	case StoreInt8:
		return gptoss.NewFormat(gptoss.FormatInt8, p, 0)
	case StoreInt4:
		return gptoss.NewFormat(gptoss.FormatInt4, p, gptoss.Int4Group)
	}
	return gptoss.Format{}, nil
}
