package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/seed-796a8800/tritium/gptoss"
	"github.com/seed-796a8800/tritium/ternaryop"
	"github.com/seed-796a8800/tritium/testdata"
	"github.com/spf13/cobra"
)

// benchFlags are the flags of `bench`.
type benchFlags struct {
	prompt, decode, repeats int
	contexts                []int
	cache                   string

	inputs activations

	shape, format, head string // of synthetic weights
	group, layers       int
	memory              byteSize
}

// shapeFlags are those that mean something with --shape only.
var shapeFlags = []string{"format", "head", "group", "layers", "memory"}

var shapes = map[string]func() gptoss.Config{
	"20b": gptoss.Shape20B, "120b": gptoss.Shape120B, "small": gptoss.ShapeSmall,
}

// subject is a model to measure.
type subject struct {
	name       string
	checkpoint *gptoss.Checkpoint
	ids        []int32 // of every sequence
	layers     int     // that the whole model has
}

func newBench(a *app) *cobra.Command {
	var f benchFlags
	cmd := &cobra.Command{
		Use:   "bench [MODEL]",
		Short: "Speed of a model beside what this machine can do",
		Long: `Bench measures how many tokens a second a model reads (prefill) and writes
(decode), and in turns with it what the machine can do at that moment: reading
memory, and multiplying in int8 and in float32 on registers.

Decoding reads the active weights for every token, so it is compared with the
memory; prefill shares them among many tokens, so it is compared with the
arithmetic: int8 for ternary weights and, with --activations int8, for MXFP4,
float32 for all others. The table of kernels says where the time of a token goes.

With --shape it measures random weights of a published model's shape instead of
a MODEL: the speed depends on shape and format, not on what the weights say.
They are made in memory; nothing is downloaded or written.`,
		Example: `  tritium bench nano
  tritium bench --shape 20b
  tritium bench --shape 20b --format mxfp4 --json
  tritium bench --shape 120b --layers 12`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return wantArgs("MODEL")(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(cmd, args); err != nil {
				return err
			}
			run := func(s subject) error {
				b, err := a.bench(cmd.Context(), s, f)
				if err != nil {
					return err
				}
				if a.json {
					return a.printJSON(b)
				}
				return b.print(a)
			}
			if f.shape != "" {
				return a.withShape(cmd.Context(), f, run)
			}
			name := nano
			if len(args) > 0 {
				name = args[0]
			}
			return withModel(name, func(c *gptoss.Checkpoint) error {
				ids, err := benchTokens(c, f.longest())
				if err != nil {
					return err
				}
				return run(subject{name, c, ids, c.Config().Layers})
			}, append(f.inputs.options(), gptoss.WithCache(cacheOf(f.cache)), a.expanding())...)
		},
	}
	f.declare(cmd)
	return cmd
}

func (f *benchFlags) declare(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.IntVar(&f.prompt, "prompt-tokens", 512, "tokens to read at once")
	fs.IntSliceVar(&f.contexts, "contexts", []int{128, 1024}, "lengths of the text behind which to decode")
	fs.IntVar(&f.decode, "decode-tokens", 32, "tokens to read one by one behind each, per repeat")
	fs.IntVar(&f.repeats, "repeats", 5, "how often to measure everything")
	f.inputs.declare(fs)
	cacheFlag(fs, &f.cache)
	fs.Var(newOptional(&f.shape, "20b", "120b", "small"), "shape", "measure random weights of this shape instead of a MODEL")
	fs.Var(newChoice(&f.format, gptoss.FormatTernary, gptoss.FormatTernary5, gptoss.FormatPlanes2, gptoss.FormatPlanes5, gptoss.FormatMXFP4), "format",
		"of these weights: 2 or 1.6 bits in attention and experts, two planes of these, or as OpenAI published")
	fs.Var(newOptional(&f.head, gptoss.FormatInt4, gptoss.FormatInt8, gptoss.FormatBF16), "head",
		"of these weights (default int4 beside ternary, bf16 beside mxfp4)")
	fs.IntVar(&f.group, "group", 0, "largest number of ternary weights that share a scale (default 192, at 1.6 bits 320)")
	fs.IntVar(&f.layers, "layers", 0, "make only the first `N` layers (default all)")
	fs.Var(&f.memory, "memory", "refuse weights that need more (default what is available)")
}

func (f *benchFlags) check(cmd *cobra.Command, args []string) error {
	if f.prompt < 1 || f.decode < 1 || f.repeats < 1 {
		return usagef("--prompt-tokens, --decode-tokens and --repeats must be at least 1")
	}
	if len(f.contexts) == 0 || slices.Min(f.contexts) < 1 {
		return usagef("--contexts must name lengths of at least 1")
	}
	if f.shape == "" {
		for _, name := range shapeFlags {
			if cmd.Flags().Changed(name) {
				return usagef("--%s is for weights that --shape makes; a MODEL has its own", name)
			}
		}
		return nil
	}
	config, least := shapes[f.shape](), 16
	if f.fives() {
		least = 80
	}
	switch {
	case len(args) > 0:
		return usagef("give a MODEL or --shape, not both")
	case f.layers < 0 || f.layers > config.Layers:
		return usagef("--layers is %d; %s has %d", f.layers, f.shape, config.Layers)
	case f.group < 0 || f.group%least != 0:
		return usagef("--group is %d, want a multiple of %d", f.group, least)
	case f.longest() > config.MaxPositions:
		return usagef("%d tokens exceed the model's context of %d", f.longest(), config.MaxPositions)
	}
	return nil
}

// profileTokens is how many tokens a repeat decodes for the table of kernels.
const profileTokens = 8

// longest is the length of the longest sequence. Behind a context every repeat
// decodes on from where the last one ended.
func (f *benchFlags) longest() int {
	return max(f.prompt, slices.Max(f.contexts)+f.repeats*(f.decode+profileTokens))
}

// benchReserve is the memory to leave for all that is not weights: the read
// probe, activations and caches.
const benchReserve = readBytes + 1<<30

// withShape makes random weights and calls run with them.
func (a *app) withShape(ctx context.Context, f benchFlags, run func(subject) error) error {
	whole := shapes[f.shape]()
	whole.Cache = cacheOf(f.cache)
	s := gptoss.Synthetic{Config: whole, Format: f.format, Group: f.group, Head: f.head, Seed: a.seed}
	if f.layers > 0 {
		s.Config = whole.WithLayers(f.layers)
	}
	size, err := s.Bytes()
	if err != nil {
		return err
	}
	limit, whose := int64(f.memory), "--memory allows"
	if free := availableMemory(); limit == 0 && free > 0 {
		limit, whose = free, "this machine has free"
	}
	need := size + benchReserve
	if f.fives() && !ternaryop.Ternary5.Native() {
		need += size / 4 * 5 // the same weights at 2 bits
	}
	if limit > 0 && need > limit {
		return fmt.Errorf("%s weights of shape %s and what is needed to run them take %s, %s %s; make fewer --layers",
			f.format, f.shape, bytesText(need), whose, bytesText(limit))
	}
	cpu := a.cpu()
	defer cpu.Close()
	show := a.progress("weights", "B")
	c, err := s.Build(ctx, cpu, func(done, total int64) {
		show.Update(fmt.Sprintf("making %s of random weights", bytesText(total)), float64(done), float64(total))
	}, f.inputs.options()...)
	show.Close()
	if err != nil {
		return err
	}
	ids := make([]int32, f.longest())
	random := rand.New(rand.NewPCG(a.seed, 0))
	for i := range ids {
		ids[i] = random.Int32N(int32(whole.Vocab))
	}
	return errors.Join(run(subject{"random " + f.shape, c, ids, whole.Layers}), c.Close())
}

// benchTokens returns n tokens of prose, so that the routing is that of text.
func benchTokens(c *gptoss.Checkpoint, n int) ([]int32, error) {
	if limit := c.Config().MaxPositions; limit > 0 && n > limit {
		return nil, usagef("%d tokens exceed the model's context of %d", n, limit)
	}
	text, err := encode(c, testdata.Heldout())
	if err != nil {
		return nil, err
	}
	ids := make([]int32, 0, n)
	for len(ids) < n {
		ids = append(ids, text[:min(len(text), n-len(ids))]...)
	}
	return ids, nil
}

// fives says whether the weights are five in a byte.
func (f *benchFlags) fives() bool {
	return f.format == gptoss.FormatTernary5 || f.format == gptoss.FormatPlanes5
}
