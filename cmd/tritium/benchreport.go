package main

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/seed-796a8800/tritium/gptoss"
)

// benchmark is what `bench --json` prints. Rates are medians of the repeats; a
// spread is (largest - smallest) / median. A fraction is the median of the
// repeats' own fractions, each of a limit measured beside it.
type benchmark struct {
	Machine machine `json:"machine"`
	Time    string  `json:"time"`
	Commit  string  `json:"commit"`
	Command string  `json:"command"`

	Model       string            `json:"model"`
	Formats     map[string]string `json:"formats"` // by kind of weight
	Layers      int               `json:"layers"`
	WholeLayers int               `json:"whole_model_layers"` // more than layers where --layers left some out
	Bytes       int64             `json:"bytes"`
	Resident    int64             `json:"resident_bytes"` // with activations and caches, without the probe's buffer; 0: unknown

	Cache         string `json:"kv"`
	PromptTokens  int    `json:"prompt_tokens"`
	RowsAtOnce    int    `json:"prefill_rows"` // of them that share one pass over the weights
	DecodedTokens int    `json:"decoded_tokens"`
	Repeats       int    `json:"repeats"`

	ReadGB            float64 `json:"read_gb_s"`
	ReadSpread        float64 `json:"read_spread"`
	Int8Peak          float64 `json:"peak_int8_gmac_s"` // 0: the processor has no instruction for it
	Int8PeakSpread    float64 `json:"peak_int8_spread"`
	Float32Peak       float64 `json:"peak_f32_gmac_s"`
	Float32PeakSpread float64 `json:"peak_f32_spread"`

	Decode       float64       `json:"decode_tok_s"` // at the first context
	DecodeSpread float64       `json:"decode_spread"`
	DecodeGB     float64       `json:"decode_gb_s"`
	OfRead       float64       `json:"decode_fraction_of_read"`
	Contexts     []decodeSpeed `json:"decode_at"`

	Prefill       float64 `json:"prefill_tok_s"`
	PrefillSpread float64 `json:"prefill_spread"`
	PrefillGMAC   float64 `json:"prefill_gmac_s"`
	PeakKind      string  `json:"prefill_peak"` // "int8" or "float32": which one the fraction is of
	OfPeak        float64 `json:"prefill_fraction_of_peak"`

	Kernels []kernelSpeed `json:"kernels"`

	// What the figures rest on. Attention over the context is in neither.
	BytesPerToken int64 `json:"weight_bytes_per_token"`
	MACPerToken   int64 `json:"prefill_mac_per_token"`
}

// decodeSpeed is decoding behind one context.
type decodeSpeed struct {
	From   int     `json:"from"` // the context grows from the first token to the last
	To     int     `json:"to"`
	Rate   float64 `json:"tok_s"`
	Spread float64 `json:"spread"`
	GB     float64 `json:"gb_s"`
	OfRead float64 `json:"fraction_of_read"`
}

// kernelSpeed is one kernel of all layers within a decoded or a read token.
type kernelSpeed struct {
	Kernel string  `json:"kernel"`
	Phase  string  `json:"phase"` // "decode" or "prefill"
	Milli  float64 `json:"ms_per_token"`
	Spread float64 `json:"spread"`
	Share  float64 `json:"share"` // of the phase
	GB     float64 `json:"gb_s,omitempty"`
	OfRead float64 `json:"fraction_of_read,omitempty"`
	GMAC   float64 `json:"gmac_s,omitempty"`
	OfPeak float64 `json:"fraction_of_peak,omitempty"`
}

func (r *benchRun) report(m machine) *benchmark {
	f, s := r.flags, r.subject
	b := &benchmark{Machine: m, Time: time.Now().UTC().Format(time.RFC3339), Commit: commit(),
		Command: "tritium " + strings.Join(os.Args[1:], " "), Model: s.name, Formats: map[string]string{},
		Layers: s.checkpoint.Config().Layers, WholeLayers: s.layers, Bytes: s.checkpoint.Bytes(), Resident: r.resident,
		Cache: f.cache, PromptTokens: f.prompt, RowsAtOnce: r.speed.model.Plan.MaxRows(), DecodedTokens: f.decode, Repeats: f.repeats}
	int8 := s.checkpoint.Format(gptoss.LayerNames(0).GateUp).Kind != ""
	for _, u := range inventory(s.checkpoint) {
		b.BytesPerToken += u.ActiveSize
		b.Formats[u.Kind] = u.Format
		int8 = int8 || u.Kind == "experts" && u.Format == "mxfp4" && f.inputs == activationsInt8
	}
	config := s.checkpoint.Config()
	for _, p := range config.ProjectionList() {
		if p.Name != gptoss.EmbeddingName && p.Name != gptoss.HeadName { // the head reads the last row only
			b.MACPerToken += macsOf(s.checkpoint, p)
		}
	}
	read := slices.Concat(r.read...)
	b.ReadGB, b.ReadSpread = read.median()/1e9, read.spread()
	b.Int8Peak, b.Int8PeakSpread = r.int8Peak.median()/1e9, r.int8Peak.spread()
	b.Float32Peak, b.Float32PeakSpread = r.float32Peak.median()/1e9, r.float32Peak.spread()
	for i, n := range f.contexts {
		bytes := r.decode[i].times(float64(b.BytesPerToken))
		b.Contexts = append(b.Contexts, decodeSpeed{From: n, To: r.resting[i].Len(), Rate: r.decode[i].median(),
			Spread: r.decode[i].spread(), GB: bytes.median() / 1e9, OfRead: bytes.over(r.read[i]).median()})
	}
	first := b.Contexts[0]
	b.Decode, b.DecodeSpread, b.DecodeGB, b.OfRead = first.Rate, first.Spread, first.GB, first.OfRead
	macs := r.prefill.times(float64(b.MACPerToken))
	b.Prefill, b.PrefillSpread, b.PrefillGMAC = r.prefill.median(), r.prefill.spread(), macs.median()/1e9
	peak := r.float32Peak
	if b.PeakKind = "float32"; int8 && b.Int8Peak > 0 {
		b.PeakKind, peak = "int8", r.int8Peak
	}
	b.OfPeak = macs.over(peak).median()
	b.Kernels = append(r.kernels("decode", r.decodeKernels), r.kernels("prefill", r.prefillKernels)...)
	return b
}

// kernels are the rows of one phase, the slowest first.
func (r *benchRun) kernels(phase string, spent []series) []kernelSpeed {
	from, to := 0, r.flags.prompt
	if phase == "decode" {
		from, to = r.flags.contexts[0], r.resting[0].Len()
	}
	does := workOf(r.subject.checkpoint, from, to)
	whole := 0.0
	for _, s := range spent {
		whole += s.median()
	}
	var rows []kernelSpeed
	for i, name := range r.profile.kernels {
		seconds, w := spent[i], does[name]
		k := kernelSpeed{Kernel: name, Phase: phase, Milli: 1e3 * seconds.median(), Spread: seconds.spread(),
			Share: seconds.median() / whole}
		rate := func(amount float64) series { return seconds.reciprocal().times(amount) }
		if phase == "decode" && w.bytes > 0 {
			k.GB, k.OfRead = rate(float64(w.bytes)).median()/1e9, rate(float64(w.bytes)).over(r.read[0]).median()
		}
		// In prefill the head sees one row of the prompt.
		if w.macs > 0 && (phase == "decode" || name != "lm_head") {
			peak := r.float32Peak
			if (w.int8 || w.mxfp4 && r.flags.inputs == activationsInt8) && r.int8Peak.median() > 0 {
				peak = r.int8Peak
			}
			k.GMAC, k.OfPeak = rate(w.macs).median()/1e9, rate(w.macs).over(peak).median()
		}
		rows = append(rows, k)
	}
	slices.SortStableFunc(rows, func(x, y kernelSpeed) int { return cmp.Compare(y.Milli, x.Milli) })
	return rows
}

func (b *benchmark) print(a *app) error {
	layers := ""
	if b.Layers < b.WholeLayers {
		layers = fmt.Sprintf(", ONLY %d OF %d LAYERS", b.Layers, b.WholeLayers)
	}
	fmt.Fprintf(a.out, "%s%s: experts %s, attention %s, head %s; %s, %s resident\n", b.Model, layers,
		b.Formats["experts"], b.Formats["attention"], b.Formats["head"], bytesText(b.Bytes), bytesText(b.Resident))
	fmt.Fprintf(a.out, "%d threads; median and spread of %d runs\n\n", b.Machine.Threads, b.Repeats)
	var t table
	t.row("", "", "spread", "", "of what this machine can do")
	t.row("prefill, "+count(b.PromptTokens)+" tokens", fmt.Sprintf("%.1f tok/s", b.Prefill), spreadText(b.PrefillSpread),
		fmt.Sprintf("%.1f GMAC/s", b.PrefillGMAC), fmt.Sprintf("%.0f %% %s multiply peak", 100*b.OfPeak, b.PeakKind))
	for _, d := range b.Contexts {
		t.row(fmt.Sprintf("decode at %s-%s", count(d.From), count(d.To)), fmt.Sprintf("%.1f tok/s", d.Rate), spreadText(d.Spread),
			fmt.Sprintf("%.2f GB/s", d.GB), fmt.Sprintf("%.0f %% memory read", 100*d.OfRead))
	}
	t.row("memory read", "", spreadText(b.ReadSpread), fmt.Sprintf("%.1f GB/s", b.ReadGB))
	if b.Int8Peak > 0 {
		t.row("int8 multiply peak", "", spreadText(b.Int8PeakSpread), fmt.Sprintf("%.1f GMAC/s", b.Int8Peak))
	}
	t.row("float32 multiply peak", "", spreadText(b.Float32PeakSpread), fmt.Sprintf("%.1f GMAC/s", b.Float32Peak))
	if err := t.write(a.out, 4); err != nil {
		return err
	}
	for _, phase := range []string{"decode", "prefill"} {
		if err := b.printKernels(a, phase); err != nil {
			return err
		}
	}
	fmt.Fprintf(a.out, "\nA token reads %s of weights and takes %s multiply-adds (attention over the context not counted).\n",
		bytesText(b.BytesPerToken), count(b.MACPerToken))
	if b.Bytes < 512<<20 {
		fmt.Fprintf(a.out, "The model's %s may stay in the processor's caches, which are faster than memory: the share of\n"+
			"memory read says little here, and at this size the work between the projections weighs more.\n", bytesText(b.Bytes))
	}
	return nil
}

// printKernels prints the rows of a phase that take a hundredth of it or more.
func (b *benchmark) printKernels(a *app, phase string) error {
	var t table
	t.row(phase, "ms/token", "share", "GB/s", "of read", "GMAC/s", "of peak")
	rest := kernelSpeed{}
	cells := func(k kernelSpeed) {
		number := func(x float64, format string) string {
			if x == 0 {
				return ""
			}
			return fmt.Sprintf(format, x)
		}
		t.row(k.Kernel, fmt.Sprintf("%.3f", k.Milli), fmt.Sprintf("%.1f %%", 100*k.Share),
			number(k.GB, "%.2f"), number(100*k.OfRead, "%.0f %%"), number(k.GMAC, "%.1f"), number(100*k.OfPeak, "%.0f %%"))
	}
	for _, k := range b.Kernels {
		switch {
		case k.Phase != phase:
		case k.Share < 0.01:
			rest.Milli += k.Milli
			rest.Share += k.Share
		default:
			cells(k)
		}
	}
	if rest.Milli > 0 {
		rest.Kernel = "all else"
		cells(rest)
	}
	fmt.Fprintln(a.out)
	return t.write(a.out)
}

func spreadText(x float64) string { return fmt.Sprintf("±%.0f %%", 50*x) }
