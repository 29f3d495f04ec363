package ops

import (
	"math"
	"math/rand/v2"
	"testing"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/seed-796a8800/tritium/graph"
)

// inputs are what a loss is differentiated by.
type inputs []struct {
	data  []float32
	shape []int
	fixed bool // not differentiated by
}

// checkGradient compares the derivatives of Σ c·f(in), c random, with central
// differences of the same in float64.
func checkGradient(t *testing.T, in inputs, declare func(b *graph.Builder, in []*gorgonia.Node) *gorgonia.Node, f func(in [][]float64) []float64) {
	t.Helper()
	for _, threads := range []int{1, 3} {
		wide := make([][]float64, len(in))
		for i, v := range in {
			wide[i] = widen(v.data)
		}
		weights := random(newRandom(), len(f(wide)))
		loss := func() (sum float64) {
			for i, y := range f(wide) {
				sum += y * float64(weights[i])
			}
			return sum
		}
		got := gradients(t, threads, in, declare, weights)
		r := rand.New(rand.NewPCG(9, 9))
		for i, v := range in {
			if v.fixed {
				continue
			}
			top := 1e-3
			for _, g := range got[i] {
				top = max(top, math.Abs(float64(g)))
			}
			for range min(2*len(v.data), 60) {
				k := r.IntN(len(v.data))
				const h = 1e-5
				was := wide[i][k]
				wide[i][k] = was + h
				up := loss()
				wide[i][k] = was - h
				down := loss()
				wide[i][k] = was
				if want := (up - down) / (2 * h); math.Abs(float64(got[i][k])-want) > 2e-5*top {
					t.Fatalf("%d threads: derivative by element %d of input %d is %v, differences say %v", threads, k, i, got[i][k], want)
				}
			}
		}
	}
}

// gradients compiles Σ c·f(in) with its derivatives into one plan and runs it
// twice: the second run must not see the first.
func gradients(t *testing.T, threads int, in inputs, declare func(b *graph.Builder, in []*gorgonia.Node) *gorgonia.Node, weights []float32) [][]float32 {
	t.Helper()
	b := graph.NewBuilder()
	nodes := make([]*gorgonia.Node, len(in))
	var wrt gorgonia.Nodes
	for i, v := range in {
		// Rows of tokens are inputs, not parameters; so is whatever is fixed.
		nodes[i] = b.Input(string(rune('a'+i)), tensor.Float32, v.shape...)
		if !v.fixed {
			wrt = append(wrt, nodes[i])
		}
	}
	y := declare(b, nodes)
	c := parameter(b, "weights", weights, y.Shape()...)
	cost := b.Try(gorgonia.Sum(b.Try(gorgonia.HadamardProd(y, c))))
	if err := b.Err(); err != nil {
		t.Fatal(err)
	}
	grads := b.Grad(cost, wrt...)
	if err := b.Err(); err != nil {
		t.Fatal(err)
	}
	cpu := graph.NewCPU(threads)
	defer cpu.Close()
	plan, err := b.Compile(cpu, in[0].shape[0], graph.WithOutputs(grads...))
	if err != nil {
		t.Fatal(err)
	}
	for i, n := range nodes {
		v, err := plan.Value(n)
		if err != nil {
			t.Fatal(err)
		}
		copy(v.Float32s(), in[i].data)
	}
	var first, out [][]float32
	for range 2 {
		if err := plan.RunAll(); err != nil {
			t.Fatal(err)
		}
		out = make([][]float32, len(in))
		k := 0
		for i, v := range in {
			if v.fixed {
				continue
			}
			g, err := plan.Value(grads[k])
			if err != nil {
				t.Fatal(err)
			}
			out[i] = append([]float32(nil), g.Float32s()...)
			k++
		}
		if first == nil {
			first = out
			continue
		}
		for i := range out {
			same(t, out[i], first[i])
		}
	}
	return out
}

func TestProductGradient(t *testing.T) {
	r := newRandom()
	for _, s := range [][3]int{{1, 1, 1}, {5, 7, 3}, {130, 40, 33}} {
		tokens, out, in := s[0], s[1], s[2]
		checkGradient(t, inputs{
			{random(r, tokens*in), []int{tokens, in}, false},
			{random(r, out*in), []int{out, in}, false},
			{random(r, out), []int{out}, false},
		}, func(b *graph.Builder, in []*gorgonia.Node) *gorgonia.Node {
			return Product(b, "product", in[0], in[1], in[2])
		}, func(v [][]float64) []float64 { return product64(v[0], v[1], v[2], tokens, out, in) })
	}
}

func product64(x, w, bias []float64, tokens, out, in int) []float64 {
	y := make([]float64, tokens*out)
	for t := range tokens {
		for o := range out {
			y[t*out+o] = bias[o]
			for i := range in {
				y[t*out+o] += x[t*in+i] * w[o*in+i]
			}
		}
	}
	return y
}

// someRouting gives every token up to active experts with weights in (0, 1),
// one of them fewer than the others where it can.
func someRouting(r *rand.Rand, tokens, experts, active int) []float32 {
	routing := make([]float32, tokens*experts)
	for t := range tokens {
		n := active
		if t == 1 {
			n = max(1, active-1)
		}
		for _, e := range r.Perm(experts)[:n] {
			routing[t*experts+e] = .1 + .8*r.Float32()
		}
	}
	return routing
}

func TestExpertProductGradient(t *testing.T) {
	r := newRandom()
	const tokens, experts, active, out, in = 9, 5, 2, 6, 7
	for _, perSlot := range []bool{false, true} {
		shape := []int{tokens, in}
		if perSlot {
			shape = []int{tokens, active, in}
		}
		checkGradient(t, inputs{
			{random(r, tensor.Shape(shape).TotalSize()), shape, false},
			{someRouting(r, tokens, experts, active), []int{tokens, experts}, true},
			{random(r, experts*out*in), []int{experts, out, in}, false},
			{random(r, experts*out), []int{experts, out}, false},
		}, func(b *graph.Builder, in []*gorgonia.Node) *gorgonia.Node {
			return ExpertProduct(b, "experts", active, in[0], in[1], in[2], in[3])
		}, func(v [][]float64) []float64 {
			y := make([]float64, tokens*active*out)
			for t := range tokens {
				slot := 0
				for e := range experts {
					if v[1][t*experts+e] == 0 {
						continue
					}
					row := t
					if perSlot {
						row = t*active + slot
					}
					copy(y[(t*active+slot)*out:], product64(v[0][row*in:(row+1)*in], v[2][e*out*in:], v[3][e*out:], 1, out, in))
					slot++
				}
			}
			return y
		})
	}
}

func TestRMSNormGradient(t *testing.T) {
	r := newRandom()
	for _, s := range [][2]int{{1, 1}, {4, 7}, {3, 96}} {
		tokens, h := s[0], s[1]
		checkGradient(t, inputs{{random(r, tokens*h), []int{tokens, h}, false}, {random(r, h), []int{h}, false}},
			func(b *graph.Builder, in []*gorgonia.Node) *gorgonia.Node {
				return RMSNorm(b, "norm", 1e-2, in[0], in[1])
			},
			func(v [][]float64) (y []float64) {
				for t := range tokens {
					sum := 0.0
					for _, x := range v[0][t*h : (t+1)*h] {
						sum += x * x
					}
					for i, x := range v[0][t*h : (t+1)*h] {
						y = append(y, x/math.Sqrt(sum/float64(h)+float64(float32(1e-2)))*v[1][i])
					}
				}
				return y
			})
	}
}

func TestResidualGradient(t *testing.T) {
	r := newRandom()
	checkGradient(t, inputs{{random(r, 12), []int{3, 4}, false}, {random(r, 12), []int{3, 4}, false}},
		func(b *graph.Builder, in []*gorgonia.Node) *gorgonia.Node {
			return Residual(b, "again", Residual(b, "sum", in[0], in[1]), in[0])
		}, func(v [][]float64) (y []float64) {
			for i := range v[0] {
				y = append(y, 2*v[0][i]+v[1][i])
			}
			return y
		})
}

func TestRopeGradient(t *testing.T) {
	r := newRandom()
	const tokens, heads, d = 5, 2, 6
	rotary := YaRN(d, 150000, 32, 32, 1, 4096)
	checkGradient(t, inputs{{random(r, tokens*heads*d), []int{tokens, heads * d}, false}},
		func(b *graph.Builder, in []*gorgonia.Node) *gorgonia.Node { return Rope(b, "rope", rotary, in[0]) },
		func(v [][]float64) []float64 {
			y := make([]float64, len(v[0]))
			for t := range tokens {
				for h := range heads {
					at := (t*heads + h) * d
					for i, f := range rotary.InvFreq {
						s, c := math.Sincos(float64(float32(t) * f))
						a, b := v[0][at+i], v[0][at+i+d/2]
						y[at+i] = float64(rotary.Scale) * (a*c - b*s)
						y[at+i+d/2] = float64(rotary.Scale) * (b*c + a*s)
					}
				}
			}
			return y
		})
}

func TestRouterGradient(t *testing.T) {
	r := newRandom()
	const tokens, experts, k = 6, 7, 3
	logits := random(r, tokens*experts)
	chosen := make([]bool, len(logits))
	for t := range tokens {
		p := make([]float32, experts)
		route(p, logits[t*experts:(t+1)*experts], k)
		for e, v := range p {
			chosen[t*experts+e] = v != 0
		}
	}
	checkGradient(t, inputs{{logits, []int{tokens, experts}, false}},
		func(b *graph.Builder, in []*gorgonia.Node) *gorgonia.Node { return Router(b, "router", k, in[0]) },
		func(v [][]float64) []float64 {
			y := make([]float64, len(v[0]))
			for t := range tokens {
				z := 0.0
				for i := t * experts; i < (t+1)*experts; i++ {
					if chosen[i] {
						y[i] = math.Exp(v[0][i])
						z += y[i]
					}
				}
				for i := t * experts; i < (t+1)*experts; i++ {
					y[i] /= z
				}
			}
			return y
		})
}

func TestSwiGLUGradient(t *testing.T) {
	r := newRandom()
	const tokens, active, n, limit = 4, 2, 9, 1.5 // many beyond the clamps
	x := random(r, tokens*active*2*n)
	for i := range x {
		x[i] *= 2
	}
	checkGradient(t, inputs{{x, []int{tokens, active, 2 * n}, false}},
		func(b *graph.Builder, in []*gorgonia.Node) *gorgonia.Node { return SwiGLU(b, in[0], limit) },
		func(v [][]float64) (y []float64) {
			for i := 0; i < len(v[0]); i += 2 {
				gate, up := min(v[0][i], limit), min(max(v[0][i+1], -limit), limit)
				y = append(y, gate/(1+math.Exp(-1.702*gate))*(up+1))
			}
			return y
		})
}

func TestCombineGradient(t *testing.T) {
	r := newRandom()
	const tokens, experts, active, h = 6, 5, 2, 7
	routing := someRouting(r, tokens, experts, active)
	// By a weight that is zero there is no derivative through Combine alone:
	// the logits decide, and the router passes nothing on to those.
	checkGradient(t, inputs{{random(r, tokens*active*h), []int{tokens, active, h}, false}, {routing, []int{tokens, experts}, true}},
		func(b *graph.Builder, in []*gorgonia.Node) *gorgonia.Node { return Combine(b, in[0], in[1]) },
		func(v [][]float64) []float64 { return combine64(v[0], v[1], tokens, experts, active, h) })
}

func combine64(x, routing []float64, tokens, experts, active, h int) []float64 {
	y := make([]float64, tokens*h)
	for t := range tokens {
		slot := 0
		for _, w := range routing[t*experts : (t+1)*experts] {
			if w == 0 {
				continue
			}
			for i := range h {
				y[t*h+i] += w * x[(t*active+slot)*h+i]
			}
			slot++
		}
	}
	return y
}

// TestRoutedCombineGradient goes through the router, whose logits then have
// the derivative of a token's whole mixture.
func TestRoutedCombineGradient(t *testing.T) {
	r := newRandom()
	const tokens, experts, active, h = 6, 5, 2, 7
	logits := random(r, tokens*experts)
	checkGradient(t, inputs{{random(r, tokens*active*h), []int{tokens, active, h}, false}, {logits, []int{tokens, experts}, false}},
		func(b *graph.Builder, in []*gorgonia.Node) *gorgonia.Node {
			return Combine(b, in[0], Router(b, "router", active, in[1]))
		}, func(v [][]float64) []float64 {
			routing := make([]float64, tokens*experts)
			for t := range tokens {
				p := make([]float32, experts)
				route(p, logits[t*experts:(t+1)*experts], active)
				z := 0.0
				for e, c := range p {
					if c != 0 {
						routing[t*experts+e] = math.Exp(v[1][t*experts+e])
						z += routing[t*experts+e]
					}
				}
				for e := range p {
					routing[t*experts+e] /= z
				}
			}
			return combine64(v[0], routing, tokens, experts, active, h)
		})
}

func TestDenseGradient(t *testing.T) {
	r := newRandom()
	const tokens, out, in = 5, frozenRows + 9, 12
	w, bias := random(r, out*in), random(r, out)
	checkGradient(t, inputs{{random(r, tokens*in), []int{tokens, in}, false}},
		func(b *graph.Builder, in []*gorgonia.Node) *gorgonia.Node {
			return Dense{Name: "head", Weight: F32{out, 12, w}, Bias: bias}.Apply(b, in[0])
		}, func(v [][]float64) []float64 { return product64(v[0], widen(w), widen(bias), tokens, out, in) })
}

// TestSelectedGradient: the rows of all tokens are wanted here (RunAll); those
// that a batch does not want get nothing.
func TestSelectedGradient(t *testing.T) {
	r := newRandom()
	checkGradient(t, inputs{{random(r, 12), []int{4, 3}, false}},
		func(b *graph.Builder, in []*gorgonia.Node) *gorgonia.Node {
			return SelectOutputs(b, "select", Residual(b, "twice", in[0], in[0]))
		}, func(v [][]float64) (y []float64) {
			for _, x := range v[0] {
				y = append(y, 2*x)
			}
			return y
		})
}

func TestLossGradients(t *testing.T) {
	r := newRandom()
	const tokens, h = 4, 21
	target := random(r, tokens*h)
	for name, c := range map[string]struct {
		declare func(b *graph.Builder, name string, y, target *gorgonia.Node) *gorgonia.Node
		row     func(y, target []float64) float64
	}{
		"squared error": {func(b *graph.Builder, name string, y, target *gorgonia.Node) *gorgonia.Node {
			return SquaredError(b, name, 2, y, target)
		}, func(y, target []float64) (sum float64) {
			for i, v := range y {
				sum += (v - target[i]) * (v - target[i]) / 2
			}
			return sum
		}},
		"divergence": {Divergence, func(y, target []float64) (sum float64) {
			var zq, zp float64
			for i := range y {
				zq += math.Exp(y[i])
				zp += math.Exp(target[i])
			}
			for i := range y {
				sum += math.Exp(target[i]) / zp * (target[i] - math.Log(zp) - y[i] + math.Log(zq))
			}
			return sum
		}},
	} {
		t.Run(name, func(t *testing.T) {
			x := random(r, tokens*h)
			all := func(v [][]float64) (e []float64) {
				for t := range tokens {
					e = append(e, c.row(v[0][t*h:(t+1)*h], v[1][t*h:(t+1)*h]))
				}
				return e
			}
			declare := func(b *graph.Builder, in []*gorgonia.Node) *gorgonia.Node {
				return c.declare(b, "loss", in[0], in[1])
			}
			checkGradient(t, inputs{{x, []int{tokens, h}, false}, {target, []int{tokens, h}, true}}, declare, all)
			near(t, "value", compute(t, []value{{[]int{tokens, h}, x}, {[]int{tokens, h}, target}}, declare),
				all([][]float64{widen(x), widen(target)}), 1e-6)
		})
	}
}
