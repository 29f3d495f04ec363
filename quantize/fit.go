package quantize

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/seed-796a8800/tritium/graph"
	"github.com/seed-796a8800/tritium/ternaryop"
)

// Method names a way to fit ternary codes and scales to weights.
type Method string

const (
	AbsMean         Method = "absmean"   // BitNet b1.58 round to nearest, one scale a row
	Stage1          Method = "stage1"    // least squares per group, no statistics used
	PTBitNet        Method = "pt-bitnet" // stage1, then coordinate descent
	GPTQ            Method = "gptq"      // column by column with error feedback
	GPTQWithDescent Method = "gptq+cd"   // gptq, then coordinate descent

	// Reconstruct is pt-bitnet, then training of each layer against the
	// original's output.
	Reconstruct Method = "reconstruct"
	// Distill is reconstruct, then training of all layers together against the
	// original's next-token distribution.
	Distill Method = "distill"
)

// Methods returns all methods, cheapest first.
func Methods() []Method {
	return []Method{AbsMean, Stage1, PTBitNet, GPTQ, GPTQWithDescent, Reconstruct, Distill}
}

// Trains says whether the method trains what it has fitted.
func (m Method) Trains() bool { return m == Reconstruct || m == Distill }

// start is the method that fits what another trains.
func (m Method) start() Method {
	if m.Trains() {
		return PTBitNet
	}
	return m
}

// ParseMethod returns the method of the given name.
//
// Errors: an unknown name; the message lists the known ones.
func ParseMethod(name string) (Method, error) {
	all := Methods()
	if slices.Contains(all, Method(name)) {
		return Method(name), nil
	}
	known := make([]string, len(all))
	for i, m := range all {
		known[i] = string(m)
	}
	return "", fmt.Errorf("quantize: unknown method %q: choose one of %s", name, strings.Join(known, ", "))
}

// FitOptions tune a fit. The zero value means the defaults.
type FitOptions struct {
	Damp   float64 // added to the diagonal of H, as a fraction of its mean; default 0.01
	Passes int     // most passes of coordinate descent; default 8, it stops at a fixed point
	// DeadZone prices codes that are not 0, so that fewer bits store the others:
	// half the width of what becomes 0, in units of the scale, from .5, which is
	// no price and the default, to 1. What is then minimised is
	//
	//	Σ (w - ŵ)·H·(w - ŵ)ᵀ + (2·DeadZone - 1)·Σ a²·H_jj over codes that are not 0
	//
	// with a the scale of stage 1 of the code's group.
	DeadZone float64
}

// The defaults of FitOptions.
const (
	DefaultDamp = 0.01
	// DefaultPasses lets descent reach its fixed point, or nearly: from stage 1,
	// three passes leave 6 % of the KL on the table on prose, and 17 % on text
	// unlike the calibration's (docs/quality.md).
	DefaultPasses = 8
)

// Fit is a matrix of weights as codes and their scales, ŵ = scale·code, or as
// the sum of P = 2 such: what ternaryop.Pack takes.
type Fit struct {
	Codes  []int8    // [Out, P, In]
	Scales []float32 // [Out, P, groups], each exactly a float16
	// RelativeError is tr(E·H·Eᵀ) / tr(W·H·Wᵀ), E = W - Ŵ, with the damped H;
	// without statistics the same with H = 1.
	RelativeError float64
}

// Fitter fits matrices one after the other, reusing its memory: 4·In² bytes, or
// 8·In² with GPTQ, and for each thread some 512·(In + 4·group). It is not safe
// for concurrent use; Fitters may share a CPU.
type Fitter struct {
	cpu      *graph.CPU
	h        []float32 // [In, In]
	inverse  []float32 // [In], 1/H_jj
	feedback feedback
	scratch  []scratch
}

// NewFitter returns a Fitter that computes on the given CPU.
func NewFitter(cpu *graph.CPU) *Fitter {
	return &Fitter{cpu: cpu, scratch: make([]scratch, cpu.Threads())}
}

// Ternary is Fit of one ternary plane.
func (f *Fitter) Ternary(w []float32, out, in, group int, m *Moment, method Method, opt FitOptions) (Fit, error) {
	return f.Fit(ternaryop.Ternary2, w, out, in, group, m, method, opt)
}

// Fit fits the codes of a format, with a scale for each row and group of inputs
// and each plane, to the weights of a projection whose input has the second
// moment m. Without tokens (m nil or empty) every method but absmean is stage1,
// and absmean, which is one ternary plane's, is stage1 in other formats. A
// method that trains is the one that it starts from. The result does not depend
// on the number of threads, nor on how many bits a format gives the same codes.
//
// Shapes: w [Out, In]; groups are ⌈In/group⌉, the last maybe shorter.
// Errors: sizes that do not match, an unknown method, int8 (see [FitInt8]),
// options out of range, weights or activations that are not finite.
func (f *Fitter) Fit(format ternaryop.Format, w []float32, out, in, group int, m *Moment, method Method, opt FitOptions) (Fit, error) {
	opt, err := opt.resolve()
	if err != nil {
		return Fit{}, err
	}
	levels, err := opt.levels(format)
	if err != nil {
		return Fit{}, err
	}
	if err := checkProblem(w, out, in, group, m, method); err != nil {
		return Fit{}, err
	}
	if err := opt.CheckDeadZone(method); err != nil {
		return Fit{}, err
	}
	group, method = min(group, in), method.start()
	var h []float32 // nil stands for the identity
	if m != nil {
		if h, err = m.Damped(f.cpu, opt.Damp, f.h); err != nil {
			return Fit{}, err
		}
	}
	if h != nil {
		f.h = h
		f.inverse = inverseDiagonal(f.inverse, h, in)
		if method == GPTQ || method == GPTQWithDescent {
			f.feedback.factorize(f.cpu, h, in, group, opt.Damp)
		}
	}
	if h == nil && method != AbsMean || method == AbsMean && levels != (ternary{}) {
		method = Stage1
	}

	planes, groups := levels.planes(), groupsOf(in, group)
	fit := Fit{Codes: make([]int8, out*in), Scales: make([]float32, out*groups*planes)}
	energy := make([]float64, 2*out) // of each row's error, of each row
	size := batchRows(out, f.cpu.Threads())
	f.cpu.Parallel((out+size-1)/size, func(worker, i int) {
		lo, hi := i*size, min((i+1)*size, out)
		s := &f.scratch[worker]
		s.resize(size, in, group, planes)
		b := batch{
			scratch: s, levels: levels, rows: hi - lo, in: in, group: group, groups: groups, h: h, inverse: f.inverse,
			w: w[lo*in : hi*in], codes: fit.Codes[lo*in : hi*in], scales: fit.Scales[lo*groups*planes : hi*groups*planes],
		}
		b.setPrices(opt.DeadZone)
		b.fit(method, &f.feedback, opt.Passes)
		b.computeErrors()
		b.energies(energy[lo:hi], b.errors)
		b.energies(energy[out+lo:out+hi], b.w)
	})
	// Summed by row, not by batch: batches follow the thread count.
	fit.RelativeError = ratio(sum(energy[:out]), sum(energy[out:]))
	if planes == 2 {
		fit.Codes, fit.Scales = twoPlanes{}.sideBySide(fit.Codes, fit.Scales, in, groups)
	}
	return fit, nil
}

// levels returns what weights of a format are rounded to.
func (o FitOptions) levels(format ternaryop.Format) (levels, error) {
	l, ok := levelsOf(format)
	if !ok {
		return nil, fmt.Errorf("quantize: no method fits %v", format)
	}
	if o.DeadZone > 0.5 && l != (ternary{}) {
		return nil, fmt.Errorf("quantize: a dead zone is one ternary plane's; the format is %v", format)
	}
	return l, nil
}

func (o FitOptions) resolve() (FitOptions, error) {
	if o.Damp < 0 || math.IsNaN(o.Damp) || math.IsInf(o.Damp, 0) {
		return o, fmt.Errorf("quantize: damping %v: want a fraction of the mean diagonal, such as 0.01", o.Damp)
	}
	if o.Passes < 0 {
		return o, fmt.Errorf("quantize: %d passes of descent: want at least 1", o.Passes)
	}
	if o.Damp == 0 {
		o.Damp = DefaultDamp
	}
	if o.Passes == 0 {
		o.Passes = DefaultPasses
	}
	return o, nil
}

func checkProblem(w []float32, out, in, group int, m *Moment, method Method) error {
	if _, err := ParseMethod(string(method)); err != nil {
		return err
	}
	if err := checkWeights(w, out, in, group); err != nil {
		return err
	}
	if m != nil && m.inputs != in {
		return fmt.Errorf("quantize: weights [%d, %d] with statistics of %d inputs", out, in, m.inputs)
	}
	return nil
}

// checkWeights refuses what no fit can take.
func checkWeights(w []float32, out, in, group int) error {
	if out <= 0 || in <= 0 || len(w)/in != out || len(w)%in != 0 {
		return fmt.Errorf("quantize: %d weights are not a [%d, %d] matrix", len(w), out, in)
	}
	if group <= 0 {
		return fmt.Errorf("quantize: weights [%d, %d] in groups of %d", out, in, group)
	}
	for i, v := range w {
		if !(max(v, -v) <= math.MaxFloat32) { // NaN or infinite
			return fmt.Errorf("quantize: weights [%d, %d]: row %d, column %d is %v", out, in, i/in, i%in, v)
		}
	}
	return nil
}

// groupsOf is how many groups a row has; the last may be shorter.
func groupsOf(in, group int) int { return (in + group - 1) / group }

// inverseDiagonal returns 1/H_jj, in the memory of dst where that suffices.
func inverseDiagonal(dst, h []float32, n int) []float32 {
	dst = grow(dst, n)
	for j := range dst {
		dst[j] = 1 / h[j*n+j]
	}
	return dst
}
