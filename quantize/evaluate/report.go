package evaluate

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"text/tabwriter"
)

// Report is what quantization cost. It marshals to the JSON of `tritium eval`.
type Report struct {
	Reference  Reference   `json:"reference"`
	Candidates []Candidate `json:"candidates"`
	Tokens     int         `json:"tokens"` // of all windows
	Window     int         `json:"window"`
	Windows    int         `json:"windows"`
	TextSHA256 string      `json:"text_sha256"` // the caller's to set
}

// Reference are the figures of the original.
type Reference struct {
	Model         string      `json:"model"`
	NLL           float64     `json:"nll"` // mean -log p(next token), nats
	NLLCI95       HalfWidth   `json:"nll_ci95"`
	BitsPerWeight float64     `json:"bits_per_weight"`
	Bytes         int64       `json:"bytes"`
	Tasks         *TaskResult `json:"tasks"` // the caller's to set
}

// Candidate are the figures of a model against the reference.
type Candidate struct {
	Model    string    `json:"model"`
	NLL      float64   `json:"nll"`
	NLLCI95  HalfWidth `json:"nll_ci95"`
	PPLRatio float64   `json:"ppl_ratio"` // e^(NLL - reference's NLL)
	// PPLRatioCI95 is r·sinh(h), half the interval that the half width h of
	// the difference of the losses, window by window, spans around the ratio r.
	PPLRatioCI95 HalfWidth `json:"ppl_ratio_ci95"`
	KLMean       float64   `json:"kl_mean"` // KL(reference‖candidate) of a position, nats
	KLMeanCI95   HalfWidth `json:"kl_mean_ci95"`
	KLP50        float64   `json:"kl_p50"`
	KLP99        float64   `json:"kl_p99"`
	Top1         float64   `json:"top1"` // share of positions with the same most likely token
	Top1CI95     HalfWidth `json:"top1_ci95"`
	// RouterOverlap is the mean over layers and tokens of the share of active
	// experts that both chose; nil for models with other layers or experts. The
	// experts of a model that dropped some go by their numbers in the original.
	RouterOverlap     *float64    `json:"router_overlap"`
	RouterOverlapCI95 HalfWidth   `json:"router_overlap_ci95"`
	BitsPerWeight     float64     `json:"bits_per_weight"`
	Bytes             int64       `json:"bytes"`
	Tasks             *TaskResult `json:"tasks"` // the caller's to set
}

// HalfWidth is half the width of a 95 % confidence interval, 1.96 standard
// errors of the mean over windows: tokens of a window are not independent, so
// windows are the sample. It is NaN, and null in JSON, for a single window.
type HalfWidth float64

// MarshalJSON writes a number or null.
func (h HalfWidth) MarshalJSON() ([]byte, error) {
	if math.IsNaN(float64(h)) {
		return []byte("null"), nil
	}
	return json.Marshal(float64(h))
}

// UnmarshalJSON reads a number or null.
func (h *HalfWidth) UnmarshalJSON(data []byte) error {
	if bytes.Equal(data, []byte("null")) {
		*h = HalfWidth(math.NaN())
		return nil
	}
	return json.Unmarshal(data, (*float64)(h))
}

func newReport(subjects []*subject, o Options) *Report {
	ref := subjects[0]
	rows := float64(o.Window)
	r := &Report{Tokens: o.Window * o.Windows, Window: o.Window, Windows: o.Windows, Candidates: []Candidate{}}
	r.Reference = Reference{Model: ref.name, BitsPerWeight: ref.model.BitsPerWeight, Bytes: ref.model.Bytes}
	r.Reference.NLL, r.Reference.NLLCI95 = ref.mean(func(w int) float64 { return ref.windows[w].nll / rows })
	for _, s := range subjects[1:] {
		c := Candidate{Model: s.name, BitsPerWeight: s.model.BitsPerWeight, Bytes: s.model.Bytes}
		c.NLL, c.NLLCI95 = s.mean(func(w int) float64 { return s.windows[w].nll / rows })
		difference, half := s.mean(func(w int) float64 { return (s.windows[w].nll - ref.windows[w].nll) / rows })
		c.PPLRatio = saturate(math.Exp(difference))
		c.PPLRatioCI95 = HalfWidth(saturate(c.PPLRatio * math.Sinh(float64(half))))
		c.KLMean, c.KLMeanCI95 = s.mean(func(w int) float64 { return s.windows[w].kl / rows })
		c.Top1, c.Top1CI95 = s.mean(func(w int) float64 { return s.windows[w].top1 / rows })
		c.RouterOverlapCI95 = HalfWidth(math.NaN())
		if s.routing != nil {
			overlap, half := s.mean(func(w int) float64 { return s.windows[w].overlap / rows })
			c.RouterOverlap, c.RouterOverlapCI95 = &overlap, half
		}
		slices.Sort(s.kls)
		c.KLP50, c.KLP99 = quantile(s.kls, 0.5), quantile(s.kls, 0.99)
		r.Candidates = append(r.Candidates, c)
	}
	return r
}

// mean returns the mean of a figure over the windows, all of one length, and
// its confidence.
func (s *subject) mean(of func(window int) float64) (float64, HalfWidth) {
	n := float64(len(s.windows))
	var sum, squares float64
	for w := range s.windows {
		sum += of(w)
	}
	mean := sum / n
	for w := range s.windows {
		d := of(w) - mean
		squares += d * d
	}
	// 0/0 for one window is the NaN that HalfWidth promises.
	return mean, HalfWidth(saturate(1.96 * math.Sqrt(squares/(n-1)/n)))
}

// saturate keeps what a hopeless model makes infinite a number, as JSON needs.
func saturate(x float64) float64 {
	if math.IsInf(x, 1) {
		return math.MaxFloat64
	}
	return x
}

// quantile returns the q-th quantile of sorted values, between two of them by
// linear interpolation.
func quantile(sorted []float32, q float64) float64 {
	at := q * float64(len(sorted)-1)
	i := int(at)
	if i+1 >= len(sorted) {
		return float64(sorted[i])
	}
	lo, hi := float64(sorted[i]), float64(sorted[i+1])
	return lo + (at-float64(i))*(hi-lo)
}

// Table writes the report for people to read; ± is the 95 % interval.
func (r *Report) Table(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "model\tsize\tbits/w\tnll\tppl ratio\tKL mean\tKL p50\tKL p99\ttop-1\trouter\ttasks")
	ref := r.Reference
	fmt.Fprintf(t, "%s\t%s\t%.2f\t%s\t1\t0\t0\t0\t1\t1\t%s\n",
		ref.Model, size(ref.Bytes), ref.BitsPerWeight, interval(ref.NLL, ref.NLLCI95), ref.Tasks)
	for _, c := range r.Candidates {
		router := "-"
		if c.RouterOverlap != nil {
			router = fmt.Sprintf("%.3f", *c.RouterOverlap)
		}
		fmt.Fprintf(t, "%s\t%s\t%.2f\t%s\t%s\t%s\t%.4f\t%.4f\t%.3f\t%s\t%s\n",
			c.Model, size(c.Bytes), c.BitsPerWeight, interval(c.NLL, c.NLLCI95), interval(c.PPLRatio, c.PPLRatioCI95),
			interval(c.KLMean, c.KLMeanCI95), c.KLP50, c.KLP99, c.Top1, router, c.Tasks)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "%d windows of %d tokens; losses and KL in nats a token; ± is half the 95 %% interval over windows\n", r.Windows, r.Window)
	return err
}

func interval(mean float64, half HalfWidth) string {
	if math.IsNaN(float64(half)) {
		return fmt.Sprintf("%.4f", mean)
	}
	return fmt.Sprintf("%.4f ±%.4f", mean, float64(half))
}

func size(bytes int64) string {
	if bytes >= 1e9 {
		return fmt.Sprintf("%.2f GB", float64(bytes)/1e9)
	}
	return fmt.Sprintf("%.2f MB", float64(bytes)/1e6)
}
