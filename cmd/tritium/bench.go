package main

import (
	"context"
	"fmt"
	"time"

	"github.com/seed-796a8800/tritium/gptoss"
	"github.com/seed-796a8800/tritium/testdata"
	"github.com/spf13/cobra"
)

// benchmark is what `bench --json` prints. Rates are medians of the repeats;
// a spread is (largest - smallest) / median.
type benchmark struct {
	Machine       machine       `json:"machine"`
	Model         string        `json:"model"`
	PromptTokens  int           `json:"prompt_tokens"`
	DecodedTokens int           `json:"decoded_tokens"`
	Repeats       int           `json:"repeats"`
	ReadGB        float64       `json:"read_gb_s"`
	ReadSpread    float64       `json:"read_spread"`
	Peak          float64       `json:"peak_f32_gmac_s"`
	PeakSpread    float64       `json:"peak_f32_spread"`
	Decode        float64       `json:"decode_tok_s"`
	DecodeSpread  float64       `json:"decode_spread"`
	Prefill       float64       `json:"prefill_tok_s"`
	PrefillSpread float64       `json:"prefill_spread"`
	DecodeGB      float64       `json:"decode_gb_s"`
	OfRead        float64       `json:"decode_fraction_of_read"`
	PrefillGMAC   float64       `json:"prefill_gmac_s"`
	OfPeak        float64       `json:"prefill_fraction_of_peak"`
	Kernels       []kernelSpeed `json:"kernels"`
	// What the figures rest on.
	BytesPerToken int64 `json:"weight_bytes_per_token"`
	MACPerToken   int64 `json:"prefill_mac_per_token"`
}

type kernelSpeed struct {
	Kernel string  `json:"kernel"`
	GMAC   float64 `json:"gmac_s"`
	Spread float64 `json:"spread"`
}

// benchFlags are the flags of `bench`.
type benchFlags struct{ prompt, decode, repeats int }

func newBench(a *app) *cobra.Command {
	var f benchFlags
	cmd := &cobra.Command{
		Use:   "bench [MODEL]",
		Short: "Speed of a model beside what this machine can do",
		Long: `Bench measures how many tokens a second a model reads (prefill) and writes
(decode), and in the same run what the machine can do: memory read by a plain sum
over 512 MiB, and float32 multiply-adds by the matrix product of this program.

Decoding reads the active weights for every token, so it is compared with the
memory; prefill shares them among many tokens, so it is compared with the
arithmetic. Ternary projections multiply in int8, whose peak is higher than that
of float32: their share of it is smaller than the one that is printed.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return wantArgs("MODEL")(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			name := nano
			if len(args) > 0 {
				name = args[0]
			}
			if f.prompt < 1 || f.decode < 1 || f.repeats < 1 {
				return usagef("--prompt-tokens, --decode-tokens and --repeats must be at least 1")
			}
			return withModel(name, func(c *gptoss.Checkpoint) error {
				b, err := a.bench(cmd.Context(), name, c, f)
				if err != nil {
					return err
				}
				if a.json {
					return a.printJSON(b)
				}
				return b.print(a, c)
			})
		},
	}
	cmd.Flags().IntVar(&f.prompt, "prompt-tokens", 512, "tokens to read at once")
	cmd.Flags().IntVar(&f.decode, "decode-tokens", 64, "tokens to read one by one behind them")
	cmd.Flags().IntVar(&f.repeats, "repeats", 5, "how often to measure everything")
	return cmd
}

// bench measures the model and the machine in turns, so that whatever else
// the machine does meets both.
func (a *app) bench(ctx context.Context, name string, c *gptoss.Checkpoint, f benchFlags) (*benchmark, error) {
	ids, err := benchTokens(c, f.prompt+f.decode)
	if err != nil {
		return nil, err
	}
	cpu := a.cpu()
	defer cpu.Close()
	speed, err := newSpeedometer(c, cpu, ids, f.prompt)
	if err != nil {
		return nil, err
	}
	if _, _, err := speed.measure(); err != nil { // pages in the weights
		return nil, err
	}
	probe := newReadProbe(cpu)
	show := a.progress("bench", "runs")
	defer show.Close()
	var read, peak, prefill, decode series
	for i := range f.repeats {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		read = append(read, probe.rate(cpu))
		peak = append(peak, matMulRate(cpu, 100*time.Millisecond))
		p, d, err := speed.measure()
		if err != nil {
			return nil, err
		}
		prefill, decode = append(prefill, p), append(decode, d)
		show.Update("measuring", float64(i+1), float64(f.repeats))
	}
	b := &benchmark{Machine: a.machine(), Model: name, PromptTokens: f.prompt, DecodedTokens: f.decode, Repeats: f.repeats}
	b.ReadGB, b.ReadSpread = read.median()/1e9, read.spread()
	b.Peak, b.PeakSpread = peak.median()/1e9, peak.spread()
	b.Prefill, b.PrefillSpread = prefill.median(), prefill.spread()
	b.Decode, b.DecodeSpread = decode.median(), decode.spread()
	b.Kernels = []kernelSpeed{{"matmul_f32", b.Peak, b.PeakSpread}}
	for _, u := range inventory(c) {
		b.BytesPerToken += u.ActiveSize
		switch u.Kind {
		case "experts", "attention", "router": // the head reads the last row only
			b.MACPerToken += u.Active
		}
	}
	b.DecodeGB = b.Decode * float64(b.BytesPerToken) / 1e9
	b.PrefillGMAC = b.Prefill * float64(b.MACPerToken) / 1e9
	b.OfRead, b.OfPeak = b.DecodeGB/b.ReadGB, b.PrefillGMAC/b.Peak
	return b, nil
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

func (b *benchmark) print(a *app, c *gptoss.Checkpoint) error {
	fmt.Fprintf(a.out, "%s on %d threads: %d tokens read at once, then %d one by one; median and spread of %d runs\n\n",
		b.Model, b.Machine.Threads, b.PromptTokens, b.DecodedTokens, b.Repeats)
	spread := func(x float64) string { return fmt.Sprintf("±%.0f %%", 50*x) }
	var t table
	t.row("", "", "spread", "", "of this machine's")
	t.row("prefill", fmt.Sprintf("%.1f tok/s", b.Prefill), spread(b.PrefillSpread),
		fmt.Sprintf("%.1f GMAC/s", b.PrefillGMAC), fmt.Sprintf("%.0f %% float32 peak", 100*b.OfPeak))
	t.row("decode", fmt.Sprintf("%.1f tok/s", b.Decode), spread(b.DecodeSpread),
		fmt.Sprintf("%.2f GB/s", b.DecodeGB), fmt.Sprintf("%.0f %% memory read", 100*b.OfRead))
	t.row("float32 multiply-adds", "", spread(b.PeakSpread), fmt.Sprintf("%.1f GMAC/s", b.Peak))
	t.row("memory read", "", spread(b.ReadSpread), fmt.Sprintf("%.1f GB/s", b.ReadGB))
	if err := t.write(a.out, 4); err != nil {
		return err
	}
	fmt.Fprintf(a.out, "\nA token reads %s of weights and takes %s multiply-adds (attention over the context not counted).\n",
		bytesText(b.BytesPerToken), count(b.MACPerToken))
	if c.Bytes() < 256<<20 {
		fmt.Fprintf(a.out, "The model's %s may stay in the processor's caches, which are faster than memory: the share of\n"+
			"memory read says little here, and at this size the work between the projections weighs more.\n", bytesText(c.Bytes()))
	}
	return nil
}
