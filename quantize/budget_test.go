package quantize

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/seed-796a8800/tritium/gptoss"
	"pgregory.net/rapid"
)

// tried draws a group's choices, by size.
func tried(t *rapid.T) (g PlanGroup) {
	bytes := int64(0)
	for range rapid.IntRange(1, 5).Draw(t, "choices") {
		bytes += rapid.Int64Range(0, 40).Draw(t, "bytes")
		g.Tried = append(g.Tried, PlanChoice{Bytes: bytes, KL: rapid.Float64Range(0, 1).Draw(t, "KL")})
	}
	return g
}

// cheapest returns the least sum of KL that fits, trying everything; infinity
// where nothing does.
func cheapest(groups []PlanGroup, bytes int64) float64 {
	if bytes < 0 {
		return math.Inf(1)
	}
	if len(groups) == 0 {
		return 0
	}
	least := math.Inf(1)
	for _, c := range groups[0].Tried {
		least = min(least, c.KL+cheapest(groups[1:], bytes-c.Bytes))
	}
	return least
}

// TestChoose: what is chosen fits, is as good as a budget's worth of anything
// but for one step, and gains with the budget; enough for everything buys
// the best of everything.
func TestChoose(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var p Plan
		least, step := int64(0), 0.
		all := 0.
		for range rapid.IntRange(1, 5).Draw(t, "groups") {
			g := tried(t)
			h := hull(g.Tried)
			for i := 1; i < len(h); i++ {
				step = max(step, h[i-1].KL-h[i].KL)
				if h[i].Bytes <= h[i-1].Bytes || h[i].KL >= h[i-1].KL {
					t.Fatalf("hull %v of %v", h, g.Tried)
				}
				if i > 1 && slope(h[i-1], h[i]) > slope(h[i-2], h[i-1])*(1+1e-12) {
					t.Fatalf("hull %v is not convex", h)
				}
			}
			least += h[0].Bytes
			all += h[len(h)-1].KL
			p.Groups = append(p.Groups, g)
		}
		budget := least + rapid.Int64Range(0, 200).Draw(t, "more")
		p.choose(budget)
		bytes, kl := int64(0), 0.
		for _, g := range p.Groups {
			if !slices.Contains(g.Tried, g.PlanChoice) {
				t.Fatalf("%v is none of %v", g.PlanChoice, g.Tried)
			}
			bytes, kl = bytes+g.Bytes, kl+g.KL
		}
		if bytes > budget || bytes != p.Bytes || kl != p.KL {
			t.Fatalf("%d bytes of %d, KL %g; the plan says %d and %g", bytes, budget, kl, p.Bytes, p.KL)
		}
		if best := cheapest(p.Groups, budget); kl < best-1e-12 || kl > best+step+1e-12 {
			t.Fatalf("KL %g, the best is %g, the largest step %g", kl, best, step)
		}
		p.choose(math.MaxInt64)
		if math.Abs(p.KL-all) > 1e-12 {
			t.Fatalf("with all the bytes there are KL %g, want %g", p.KL, all)
		}
	})
}

// TestDivergence compares with Σ p·log(p/q) as it is written.
func TestDivergence(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 9).Draw(t, "n")
		draw := func(name string) (x []float32, p []float64) {
			x, p = make([]float32, n), make([]float64, n)
			total := 0.
			for i := range x {
				x[i] = rapid.Float32Range(-20, 20).Draw(t, name)
				p[i] = math.Exp(float64(x[i]))
				total += p[i]
			}
			for i := range p {
				p[i] /= total
			}
			return x, p
		}
		x, p := draw("x")
		y, q := draw("y")
		want := 0.
		for i := range p {
			want += p[i] * math.Log(p[i]/q[i])
		}
		if got := divergence(x, y); math.Abs(got-want) > 1e-9*max(1, want) {
			t.Fatalf("%g, want %g", got, want)
		}
		if got := divergence(x, x); got != 0 {
			t.Fatalf("%g from itself", got)
		}
	})
}

// probeTokens are some that quantizeNano does not fit to.
func probeTokens(t *testing.T, c *gptoss.Checkpoint) []int32 {
	return nanoTokens(t, c, 64*9)[64*7:]
}

// TestPlan: a plan keeps to its budget to the byte, covers what can be stored in
// other formats, measures the same on any number of threads, and is what a run
// then writes.
func TestPlan(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the model a hundred times, twice")
	}
	c := openNano(t)
	config := c.Config()
	budget := 3 * config.Parameters() / 8
	o := Options{Method: PTBitNet, Window: 64}
	var plans []*Plan
	for _, threads := range []int{1, 3} {
		var last Progress
		o.Progress = func(p Progress) {
			if p.Done < last.Done || p.Layer < last.Layer || !strings.HasPrefix(p.Step, "probing ") {
				t.Errorf("progress went from %+v to %+v", last, p)
			}
			last = p
		}
		plan, err := NewPlan(t.Context(), newCPU(t, threads), c, probeTokens(t, c), budget, o)
		if err != nil {
			t.Fatal(err)
		}
		if math.Abs(last.Done-last.Total) > 1e-6*last.Total {
			t.Errorf("ended at %+v", last)
		}
		plans = append(plans, plan)
	}
	plan := plans[0]
	if !reflect.DeepEqual(plan, plans[1]) {
		t.Errorf("one thread plans %+v, three %+v", plan, plans[1])
	}
	checkPlan(t, config, plan)

	dir := quantizeNano(t, 2, Options{Method: PTBitNet, Plan: plan})
	q, err := gptoss.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	if q.Bytes() != plan.Bytes || plan.Bytes > budget {
		t.Errorf("%d bytes were written, planned %d of %d", q.Bytes(), plan.Bytes, budget)
	}
	for _, g := range plan.Groups {
		for _, name := range g.Projections {
			if got := q.Format(name).Kind; got != g.Format && !(got == "" && g.Format == StoreSource) {
				t.Errorf("%s is stored as %q, planned %s", name, got, g.Format)
			}
		}
	}
	var report Report
	data, err := os.ReadFile(filepath.Join(dir, ReportName))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &report); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(report.Plan, plan) {
		t.Errorf("the report has the plan %+v", report.Plan)
	}
}

// checkPlan checks what holds of every plan whose budget is some 3 bits.
func checkPlan(t *testing.T, config gptoss.Config, plan *Plan) {
	t.Helper()
	covered, formats := map[string]bool{}, map[string]bool{}
	for _, g := range plan.Groups {
		for _, name := range g.Projections {
			if covered[name] {
				t.Errorf("%s is in two groups", name)
			}
			covered[name] = true
		}
		formats[g.Format] = true
		kl := map[string]float64{}
		for i, c := range g.Tried {
			kl[c.Format] = c.KL
			if i > 0 && c.Bytes < g.Tried[i-1].Bytes {
				t.Errorf("%s: %v are not sorted", g.Name, g.Tried)
			}
			if own := c.Format == StoreSource; own != (c.KL == 0) || own != (i == len(g.Tried)-1) {
				t.Errorf("%s: %v", g.Name, c)
			}
		}
		order := []string{gptoss.FormatInt8, gptoss.FormatInt4}
		if strings.HasSuffix(g.Name, "attention") {
			order = append(order, gptoss.FormatPlanes2, gptoss.FormatTernary)
		}
		for i := 1; i < len(order); i++ {
			if kl[order[i]] > 0 && kl[order[i]] < kl[order[i-1]] {
				t.Errorf("%s: %s costs %g, %s %g", g.Name, order[i], kl[order[i]], order[i-1], kl[order[i-1]])
			}
		}
	}
	for _, p := range config.ProjectionList() {
		if router := strings.HasSuffix(p.Name, ".router"); covered[p.Name] == router {
			t.Errorf("%s: covered %v", p.Name, covered[p.Name])
		}
	}
	if len(formats) < 3 {
		t.Errorf("the plan is of %v alone", formats)
	}
}

// TestPlanOfTrained: formats that a method cannot train are not tried.
func TestPlanOfTrained(t *testing.T) {
	c := openNano(t)
	o, err := Options{Method: Reconstruct}.resolve()
	if err != nil {
		t.Fatal(err)
	}
	var plan Plan
	planGroups(c, o, &plan)
	for _, g := range plan.Groups[1 : len(plan.Groups)-1] {
		for _, choice := range g.Tried {
			may := []string{gptoss.FormatTernary, gptoss.FormatTernary5}
			if strings.HasSuffix(g.Name, "attention") {
				may = append(may, gptoss.FormatInt8, StoreSource)
			}
			if !slices.Contains(may, choice.Format) {
				t.Errorf("%s as %s is tried", g.Name, choice.Format)
			}
		}
	}
}

func TestPlanRefuses(t *testing.T) {
	c, cpu := openNano(t), newCPU(t, 1)
	tokens := probeTokens(t, c)
	var plan Plan
	o, err := Options{Window: 64}.resolve()
	if err != nil {
		t.Fatal(err)
	}
	least := planGroups(c, o, &plan)
	for _, g := range plan.Groups {
		least += g.Tried[0].Bytes
	}
	quantized, err := gptoss.Open(quantizeNano(t, 2, Options{Method: Stage1}))
	if err != nil {
		t.Fatal(err)
	}
	defer quantized.Close()
	for _, x := range []struct {
		name   string
		source *gptoss.Checkpoint
		tokens []int32
		budget int64
		o      Options
		want   string
	}{
		{"too small", c, tokens, least - 1, o, fmt.Sprintf("the smallest possible is %d bytes", least)},
		{"nothing to do", c, tokens, c.Bytes(), o, "nothing to do"},
		{"short text", c, tokens[:63], least, o, "63 tokens to probe on"},
		{"quantized", quantized, tokens, least, o, "quantized already"},
		{"tokens", c, slices.Repeat([]int32{1 << 20}, 64), least, o, "outside the vocabulary"},
		{"method", c, tokens, least, Options{Method: "best"}, "best"},
		{"window", c, slices.Repeat(tokens, 4096), least, Options{Window: 1 << 18}, "context"},
	} {
		t.Run(x.name, func(t *testing.T) {
			_, err := NewPlan(t.Context(), cpu, x.source, x.tokens, x.budget, x.o)
			if err == nil || !strings.Contains(err.Error(), x.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %v, want one line with %q", err, x.want)
			}
		})
	}
}
