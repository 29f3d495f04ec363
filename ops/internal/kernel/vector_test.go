package kernel

import (
	"math"
	"testing"
)

// vectorOp is a kernel over float32 operands beside its definition.
type vectorOp struct {
	name    string
	dst     func(n int) int
	in      []int // length of each input, in n
	fn, ref func(dst []float32, in [][]float32)
	inPlace bool // dst may be in[0]
}

func one(int) int     { return 1 }
func each(n int) int  { return n }
func twice(n int) int { return 2 * n }

var vectorOps = []vectorOp{
	{"Dot", one, []int{1, 1},
		func(d []float32, in [][]float32) { d[0] = Dot(in[0], in[1]) },
		func(d []float32, in [][]float32) { d[0] = dotGeneric(in[0], in[1]) }, false},
	{"SumSquares", one, []int{1},
		func(d []float32, in [][]float32) { d[0] = SumSquares(in[0]) },
		func(d []float32, in [][]float32) { d[0] = dotGeneric(in[0], in[0]) }, false},
	{"Sum", one, []int{1},
		func(d []float32, in [][]float32) { d[0] = Sum(in[0]) },
		func(d []float32, in [][]float32) { d[0] = sumRef(in[0]) }, false},
	{"Max", one, []int{1},
		func(d []float32, in [][]float32) { d[0] = Max(in[0]) },
		func(d []float32, in [][]float32) { d[0] = maxRef(in[0]) }, false},
	{"AbsMax", one, []int{1},
		func(d []float32, in [][]float32) { d[0] = AbsMax(in[0]) },
		func(d []float32, in [][]float32) { d[0] = absMaxRef(in[0]) }, false},
	{"Axpy", each, []int{1},
		func(d []float32, in [][]float32) { Axpy(0x1.000002p0, in[0], d) },
		func(d []float32, in [][]float32) { axpyGeneric(0x1.000002p0, in[0], d) }, false},
	{"Add", each, []int{1, 1},
		func(d []float32, in [][]float32) { Add(d, in[0], in[1]) },
		func(d []float32, in [][]float32) { addGeneric(d, in[0], in[1]) }, true},
	{"Mul", each, []int{1, 1},
		func(d []float32, in [][]float32) { Mul(d, in[0], in[1]) },
		func(d []float32, in [][]float32) { mulGeneric(d, in[0], in[1]) }, true},
	{"Scale", each, []int{1},
		func(d []float32, in [][]float32) { Scale(d, -1.7, in[0]) },
		func(d []float32, in [][]float32) { scaleGeneric(d, -1.7, in[0]) }, true},
	{"Exp", each, []int{1},
		func(d []float32, in [][]float32) { Exp(d, in[0]) },
		func(d []float32, in [][]float32) { expSubGeneric(d, in[0], 0) }, true},
	{"SoftmaxSink", each, []int{1},
		func(d []float32, in [][]float32) { SoftmaxSink(d, in[0], 0.5) },
		func(d []float32, in [][]float32) { softmaxRef(d, in[0], 0.5) }, true},
	{"SwiGLU", each, []int{2},
		func(d []float32, in [][]float32) { SwiGLU(d, in[0], 7) },
		func(d []float32, in [][]float32) { swiGLUGeneric(d, in[0], 7) }, false},
	{"SwiGLUBack", twice, []int{2, 1},
		func(d []float32, in [][]float32) { SwiGLUBack(d, in[1], in[0], 7) },
		func(d []float32, in [][]float32) { swiGLUBackRef(d, in[1], in[0], 7) }, true},
	{"RMSNorm", each, []int{1, 1},
		func(d []float32, in [][]float32) { RMSNorm(d, in[0], in[1], 1e-5) },
		func(d []float32, in [][]float32) { rmsNormRef(d, in[0], in[1], 1e-5) }, true},
	{"Rope", twice, []int{2, 1, 1},
		func(d []float32, in [][]float32) { Rope(d, in[0], in[1], in[2]) },
		func(d []float32, in [][]float32) {
			h := len(in[1])
			rotateGeneric(d[:h], d[h:], in[0][:h], in[0][h:], in[1], in[2])
		}, true},
}

func sumRef(x []float32) float32 {
	var acc [lanes]float32
	sumLanesGeneric(&acc, x)
	return foldLanes(&acc)
}

func maxRef(x []float32) float32 {
	m := -inf
	for _, v := range x {
		m = max(m, v)
	}
	if m == 0 {
		return 0
	}
	return m
}

func absMaxRef(x []float32) float32 {
	var m float32
	for _, v := range x {
		m = max(m, float32(math.Abs(float64(v))))
	}
	return m
}

func softmaxRef(dst, s []float32, sink float32) {
	m := max(maxRef(s), sink)
	expSubGeneric(dst, s, m)
	z := sumRef(dst)
	z += exp32(sink - m)
	scaleGeneric(dst, 1/z, dst)
}

func rmsNormRef(dst, x, w []float32, eps float32) {
	mean := dotGeneric(x, x) / float32(len(x))
	normGeneric(dst, x, w, 1/float32(math.Sqrt(float64(mean+eps))))
}

func swiGLUBackRef(dst, dy, gateUp []float32, limit float32) {
	for i, d := range dy {
		gate, up := gateUp[2*i], gateUp[2*i+1]
		g, l := min(gate, limit), max(min(up, limit), -limit)
		s := 1 / (1 + exp32(-swigluAlpha*g))
		t := float32(g * s)
		dst[2*i], dst[2*i+1] = 0, 0
		if gate < limit {
			dst[2*i] = float32(d*(l+1)) * (float32(float32(swigluAlpha*t)*(1-s)) + s)
		}
		if -limit < up && up < limit {
			dst[2*i+1] = d * t
		}
	}
}

// TestVectorOps compares every kernel with its definition at every length up to
// four vectors and a bit, operands against inaccessible pages, guard bytes
// around the output, in place and not.
func TestVectorOps(t *testing.T) {
	out, ins := newArena(t, 1), []arena{newArena(t, 1), newArena(t, 1), newArena(t, 1)}
	eachISA(t, func(t *testing.T, _ string) {
		for _, o := range vectorOps {
			t.Run(o.name, func(t *testing.T) {
				for n := range 4*lanes + 4 {
					for p := range places {
						for name := range fills {
							checkVectorOp(t, o, n, p, name, out, ins)
						}
					}
				}
			})
		}
	})
}

func checkVectorOp(t *testing.T, o vectorOp, n int, p place, values string, out arena, ins []arena) {
	t.Helper()
	r := newRand()
	in := make([][]float32, len(o.in))
	for i, k := range o.in {
		in[i] = ins[i].floats(k*n, p)
		fill(r, in[i], fills[values])
	}
	want := make([]float32, o.dst(n))
	fill(r, want, fills[values])
	out.guard()
	dst := out.floats(len(want), p)
	copy(dst, want)
	o.ref(want, in)
	o.fn(dst, in)
	if i := firstDiff(dst, want); i >= 0 {
		t.Fatalf("n=%d place=%d %s: [%d] = %x, want %x", n, p, values, i, dst[i], want[i])
	}
	if !out.intact(len(dst), p) {
		t.Fatalf("n=%d place=%d %s: wrote outside dst", n, p, values)
	}
	if o.inPlace {
		o.fn(in[0], in)
		if i := firstDiff(in[0], want); i >= 0 {
			t.Fatalf("n=%d place=%d %s in place: [%d] = %x, want %x", n, p, values, i, in[0][i], want[i])
		}
	}
}

// decodeOp is a decoder of bytes beside its definition.
type decodeOp struct {
	name       string
	block      int // elements per unit of length
	src, scale int // bytes per unit
	fn, ref    func(dst []float32, src, scales []byte)
}

var decodeOps = []decodeOp{
	{"BF16", 1, 2, 0,
		func(d []float32, s, _ []byte) { DecodeBF16(d, s) },
		func(d []float32, s, _ []byte) { decodeBF16Generic(d, s) }},
	{"F16", 1, 2, 0,
		func(d []float32, s, _ []byte) { DecodeF16(d, s) },
		func(d []float32, s, _ []byte) { decodeF16Generic(d, s) }},
	{"MXFP4", 32, 16, 1, DecodeMXFP4, decodeMXFP4Generic},
}

func TestDecodeOps(t *testing.T) {
	out, src, scales := newArena(t, 8), newArena(t, 1), newArena(t, 1)
	eachISA(t, func(t *testing.T, _ string) {
		r := newRand()
		for _, o := range decodeOps {
			for n := range 4*lanes + 4 {
				for p := range places {
					s, c := src.bytes(o.src*n, p), scales.bytes(o.scale*n, p)
					for _, b := range [][]byte{s, c} {
						for i := range b {
							b[i] = byte(r.Uint32())
						}
					}
					want := make([]float32, o.block*n)
					o.ref(want, s, c)
					out.guard()
					dst := out.floats(len(want), p)
					o.fn(dst, s, c)
					if i := firstDiff(dst, want); i >= 0 {
						t.Fatalf("%s n=%d place=%d: [%d] = %x, want %x", o.name, n, p, i, dst[i], want[i])
					}
					if !out.intact(len(dst), p) {
						t.Fatalf("%s n=%d place=%d: wrote outside dst", o.name, n, p)
					}
				}
			}
		}
	})
}
