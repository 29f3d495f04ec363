package evaluate

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
)

func exampleReport() *Report {
	overlap := 0.9
	r := &Report{
		Reference:  Reference{Model: "small", NLL: 3.3598, NLLCI95: 0.03, BitsPerWeight: 6.12, Bytes: 38614608, Tasks: &TaskResult{TaskCount: TaskCount{30, 40}}},
		Tokens:     196608,
		Window:     512,
		Windows:    384,
		TextSHA256: "abc",
	}
	for _, c := range []struct {
		name     string
		bits, kl float64
		half     HalfWidth
	}{{"stage1", 2.0, 0.794, 0.04}, {"pt-bitnet", 2.0, 0.518, 0.03}, {"gptq <cd>", 2.0, 0.532, 0.03}, {"itself", 6.12, 0, HalfWidth(math.NaN())}} {
		r.Candidates = append(r.Candidates, Candidate{
			Model: c.name, NLL: 4, PPLRatio: 1.9, KLMean: c.kl, KLMeanCI95: c.half, KLP50: c.kl / 2, KLP99: 4 * c.kl, Top1: 0.5,
			RouterOverlap: &overlap, BitsPerWeight: c.bits, Bytes: 1230000000, Tasks: &TaskResult{TaskCount: TaskCount{7, 40}, Kinds: map[string]TaskCount{"who": {7, 20}}},
		})
	}
	return r
}

// TestReportJSON is the contract with scripts: keys may be added, never
// renamed or removed.
func TestReportJSON(t *testing.T) {
	r := exampleReport()
	r.Candidates = r.Candidates[1:2]
	data, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"reference":{"model":"small","nll":3.3598,"nll_ci95":0.03,"bits_per_weight":6.12,"bytes":38614608,"tasks":{"correct":30,"total":40}},` +
		`"candidates":[{"model":"pt-bitnet","nll":4,"nll_ci95":0,"ppl_ratio":1.9,"ppl_ratio_ci95":0,"kl_mean":0.518,"kl_mean_ci95":0.03,` +
		`"kl_p50":0.259,"kl_p99":2.072,"top1":0.5,"top1_ci95":0,"router_overlap":0.9,"router_overlap_ci95":0,` +
		`"bits_per_weight":2,"bytes":1230000000,"tasks":{"correct":7,"total":40,"kinds":{"who":{"correct":7,"total":20}}}}],` +
		`"tokens":196608,"window":512,"windows":384,"text_sha256":"abc"}`
	if string(data) != want {
		t.Errorf("got\n%s\nwant\n%s", data, want)
	}
}

func TestTable(t *testing.T) {
	var b bytes.Buffer
	r := exampleReport()
	r.Candidates[3].RouterOverlap = nil
	if err := r.Table(&b); err != nil {
		t.Fatal(err)
	}
	const want = `model      size      bits/w  nll             ppl ratio       KL mean         KL p50  KL p99  top-1  router  tasks
small      38.61 MB  6.12    3.3598 ±0.0300  1               0               0       0       1      1       30/40
stage1     1.23 GB   2.00    4.0000 ±0.0000  1.9000 ±0.0000  0.7940 ±0.0400  0.3970  3.1760  0.500  0.900   7/40
pt-bitnet  1.23 GB   2.00    4.0000 ±0.0000  1.9000 ±0.0000  0.5180 ±0.0300  0.2590  2.0720  0.500  0.900   7/40
gptq <cd>  1.23 GB   2.00    4.0000 ±0.0000  1.9000 ±0.0000  0.5320 ±0.0300  0.2660  2.1280  0.500  0.900   7/40
itself     1.23 GB   6.12    4.0000 ±0.0000  1.9000 ±0.0000  0.0000          0.0000  0.0000  0.500  -       7/40
384 windows of 512 tokens; losses and KL in nats a token; ± is half the 95 % interval over windows
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
	if err := r.Table(fullDisk{}); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("error of the writer: %v", err)
	}
}

func TestPlot(t *testing.T) {
	var b bytes.Buffer
	r := exampleReport()
	if err := r.Plot(&b); err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for d := xml.NewDecoder(bytes.NewReader(b.Bytes())); ; {
		token, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatalf("not XML: %v", err)
		}
		if s, ok := token.(xml.CharData); ok {
			text.Write(s)
			text.WriteByte('\n')
		}
	}
	for _, want := range []string{"stage1", "pt-bitnet", "gptq <cd>", "itself (KL 0)", "bits per weight", "against small", "0.001"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the picture does not say %q", want)
		}
	}
	if bytes.Contains(b.Bytes(), []byte("NaN")) || bytes.Contains(b.Bytes(), []byte("Inf")) {
		t.Error("a coordinate is not a number")
	}
	if err := r.Plot(fullDisk{}); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("error of the writer: %v", err)
	}
	r.Candidates = nil
	if err := r.Plot(&b); err == nil {
		t.Error("a plot of nothing")
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, io.ErrShortWrite }
