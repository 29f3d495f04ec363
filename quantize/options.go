package quantize

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

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
	// Bits is what a ternary weight takes without its scale: 2, or 1.6, which is
	// five weights in a byte.
	Bits float64 // default 2
	// Group is the largest number of inputs that share a scale; every ternary
	// projection gets the largest group up to it that divides its inputs, as
	// padded (ternaryop.Format.Groups). At 1.6 bits the smallest is 80.
	Group int // default 128, at 1.6 bits 160
	// Experts, Attention, Embedding and Head are stored as Stores says: the
	// first of each is the default.
	Experts, Attention, Embedding, Head string
	// Plan, if set, says how every projection is stored, instead of the four above.
	Plan *Plan
	// Tensors says by canonical name how a projection is stored, over all of these:
	// the kind of a gptoss.Format, or StoreSource.
	Tensors map[string]string
	// Prune says how many of each layer's experts are kept, and which.
	Prune Pruning
	// MinTokens is how many calibration tokens the router must send to every
	// expert; a run that finds one with fewer fails.
	MinTokens int
	// ForceTokens is up to how many tokens an expert that the router sends fewer
	// is also fitted to those that came nearest to it.
	ForceTokens int
	// Window is the number of tokens of a calibration sequence.
	Window int // default 512
	// Rows is the number of tokens that run through a layer at a time.
	Rows int // default 4 windows
	// Blocks says what a layer is fitted to: Sequential, the stream behind the
	// layers that are quantized already, or Independent, the original's, so that
	// the layers do not wait for each other.
	Blocks string // default sequential

	// Store is the directory of the intermediate results. In the end the run's
	// are removed unless KeepStore, and the directory if no other run has left
	// anything in it. The default is beside the result, and removed with all in it.
	Store     string
	KeepStore bool
	// Workers is how many units are made at a time, each with its share of the
	// threads and memory of its own; default 1.
	Workers int
	// Shard is the part of the work that this run is to do.
	Shard Shard

	// Compress stores codes in about as many bits as they carry, to be expanded
	// when the model is opened; while the result is written, both are on disk.
	Compress bool
	// Progress, if set, is told how far the work is, at least once per
	// projection and batch. It may be called by any goroutine, but by one at a
	// time.
	Progress func(Progress)
	// Notice, if set, is told of intermediate results that were damaged and are
	// made again.
	Notice func(error)

	shardTokens     int           // of a shard of the stream; no result depends on it
	checkpointEvery time.Duration // of training
}

// Shard is one of Count equal parts of a run's work: with independent blocks
// some of the layers, else every Count-th unit of each step. The zero Shard is
// all of it. A run of a part does what the others' parts have to give it, too,
// where they have not done it yet.
type Shard struct{ Index, Count int }

// What a layer is fitted to.
const (
	Sequential  = "sequential"
	Independent = "independent"
)

// Progress says how far a run is.
type Progress struct {
	Layer, Layers int     // 0-based
	Step          string  // what is being done, "fitting gate_up_proj, expert 7"
	Done, Total   float64 // work, in the units of Forecast.Work
	// Left estimates the time that the rest takes, from what each kind of step
	// has taken so far; 0 as long as that is not known.
	Left time.Duration
}

// The ways to store a part of a model.
const (
	StoreTernary = "ternary"
	StorePlanes  = "two-planes" // the sum of two ternary weights, each with its scale
	StoreInt8    = "int8"
	StoreInt4    = "int4"
	StoreBF16    = "bf16"   // as the source has it, which is bf16
	StoreSource  = "source" // as the source has it, whatever that is
)

// maxWorkers is more than any machine has threads for.
const maxWorkers = 4096

// Stores returns how experts, attention and the tables, embedding and head, may
// be stored, the default first.
func Stores() (experts, attention, tables []string) {
	return []string{StoreTernary, StorePlanes, StoreInt4, StoreSource},
		[]string{StoreTernary, StorePlanes, StoreInt4, StoreInt8, StoreBF16},
		[]string{StoreBF16, StoreInt8, StoreInt4}
}

// The groups of ternary weights by their bits: by default, and at least.
var defaultGroups, leastGroups = map[float64]int{2: 128, 1.6: 160}, map[float64]int{2: 16, 1.6: 80}

// int4Group is the group of a projection in 4 bits; tables, of which a token
// reads little, have gptoss.Int4Group.
const int4Group = 32

// resolve fills in the defaults and refuses what cannot be.
func (o Options) resolve() (Options, error) {
	if o.Method == "" {
		o.Method = PTBitNet
	}
	if o.Bits == 0 {
		o.Bits = 2
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
	least := leastGroups[o.Bits]
	switch {
	case least == 0:
		return o, fmt.Errorf("quantize: ternary weights of %g bits: choose 2 or 1.6", o.Bits)
	case o.Group != 0 && o.Group < least || o.Group > 1<<16:
		return o, fmt.Errorf("quantize: groups of %d inputs at %g bits: want %d to 65536", o.Group, o.Bits, least)
	case o.Window < 2:
		return o, fmt.Errorf("quantize: windows of %d tokens: want at least 2", o.Window)
	case o.SelfText < 0 || o.SelfText > maxSelfText/o.Window:
		return o, fmt.Errorf("quantize: %d windows of the original's own text: want 0 to %d", o.SelfText, maxSelfText/o.Window)
	case o.SelfText > 0 && !o.Method.Trains():
		return o, fmt.Errorf("quantize: the original's own text is to train on, and %s does not train; choose %s or %s", o.Method, Reconstruct, Distill)
	case o.Distill.WindowBlocks < 0:
		return o, fmt.Errorf("quantize: %d layers trained together: want at least 1, or 0 for all", o.Distill.WindowBlocks)
	}
	experts, attention, tables := Stores()
	for _, s := range []struct {
		what string
		how  *string
		may  []string
	}{{"experts", &o.Experts, experts}, {"attention", &o.Attention, attention}, {"embedding", &o.Embedding, tables}, {"head", &o.Head, tables}} {
		if *s.how == "" {
			*s.how = s.may[0]
		}
		if !slices.Contains(s.may, *s.how) {
			return o, fmt.Errorf("quantize: %s as %q: choose one of %s", s.what, *s.how, strings.Join(s.may, ", "))
		}
	}
	o.Rows = max(o.Rows, o.Window)
	if err := o.checkExperts(); err != nil {
		return o, err
	}
	return o.resolveWork()
}

// resolveWork is resolve for what says how the work is done.
func (o Options) resolveWork() (Options, error) {
	o.Blocks, o.Workers = cmp.Or(o.Blocks, Sequential), max(o.Workers, 1)
	o.shardTokens = cmp.Or(o.shardTokens, defaultShardTokens)
	o.checkpointEvery = cmp.Or(o.checkpointEvery, defaultCheckpointEvery)
	switch {
	case o.Blocks != Sequential && o.Blocks != Independent:
		return o, fmt.Errorf("quantize: blocks %q: choose %s or %s", o.Blocks, Sequential, Independent)
	case o.Shard != (Shard{}) && (o.Shard.Index < 0 || o.Shard.Index >= o.Shard.Count):
		return o, fmt.Errorf("quantize: shard %d of %d: want 0 to %d", o.Shard.Index, o.Shard.Count, o.Shard.Count-1)
	case o.Workers > maxWorkers:
		return o, fmt.Errorf("quantize: %d workers: want at most %d", o.Workers, maxWorkers)
	}
	return o, nil
}

// group is how many inputs share a scale in a format, at most; 0 is the row.
func (o Options) group(kind string, p gptoss.Projection) int {
	switch kind {
	case gptoss.FormatInt8:
		return 0
	case gptoss.FormatInt4:
		if p.Quantizable {
			return int4Group
		}
		return gptoss.Int4Group
	case gptoss.FormatTernary5, gptoss.FormatPlanes5:
		return cmp.Or(o.Group, defaultGroups[1.6])
	}
	return cmp.Or(o.Group, defaultGroups[2])
}

// ternaryGroup is the largest group of ternary weights.
func (o Options) ternaryGroup() int { return cmp.Or(o.Group, defaultGroups[o.Bits]) }

// kind returns the kind of format that a projection will have, or StoreSource.
func (o Options) kind(p gptoss.Projection) string {
	if kind, ok := o.Tensors[p.Name]; ok {
		return kind
	}
	if o.Plan != nil {
		return o.Plan.kind(p.Name)
	}
	how := StoreSource
	switch {
	case p.Name == gptoss.EmbeddingName:
		how = o.Embedding
	case p.Name == gptoss.HeadName:
		how = o.Head
	case p.Experts > 0:
		how = o.Experts
	case p.Quantizable:
		how = o.Attention
	}
	switch {
	case how == StoreBF16:
		return StoreSource
	case how == StoreTernary && o.Bits == 1.6:
		return gptoss.FormatTernary5
	case how == StorePlanes && o.Bits == 1.6:
		return gptoss.FormatPlanes5
	}
	return how // which is a format's name
}

// format returns how a projection will be stored; the zero Format leaves it as
// the source has it.
//
// Errors: a format that the projection cannot have or the method cannot train.
func (o Options) format(p gptoss.Projection) (gptoss.Format, error) {
	kind := o.kind(p)
	if kind == StoreSource && !(p.Experts > 0 && o.Method.Trains()) {
		return gptoss.Format{}, nil
	}
	f, err := gptoss.NewFormat(kind, p, o.group(kind, p))
	table := p.Name == gptoss.EmbeddingName || p.Name == gptoss.HeadName
	switch {
	case kind != StoreSource && err != nil:
		return f, err
	case f.Ternary() && !p.Quantizable || !p.Quantizable && !table || p.Experts > 0 && kind == gptoss.FormatInt8:
		return f, fmt.Errorf("quantize: %s cannot be stored as %s", p.Name, kind)
	case o.Fit.DeadZone > 0.5 && isFitted(f, p) && !(f.Ternary() && f.Planes() == 1):
		return f, fmt.Errorf("quantize: a dead zone is one ternary plane's; %s is to be %s", p.Name, kind)
	case o.Method.Trains() && p.Quantizable && !trains(p, f):
		return f, fmt.Errorf("quantize: %s trains one ternary plane, and attention in int8 or bf16; %s is to be %s", o.Method, p.Name, kind)
	}
	return f, nil
}

// trains says whether training can change weights in a format.
func trains(p gptoss.Projection, f gptoss.Format) bool {
	return f.Ternary() && f.Planes() == 1 || f.Kind == gptoss.FormatInt8 && p.Experts == 0
}

// isFitted says whether a format's weights are fitted to the inputs' statistics.
func isFitted(f gptoss.Format, p gptoss.Projection) bool {
	return p.Quantizable && f.Kind != "" && f.Kind != gptoss.FormatInt8
}
