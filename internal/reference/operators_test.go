package reference

import (
	"math"
	"slices"
	"testing"
)

// The vectors of this file were computed from OpenAI's and Transformers' code, not from this package.

func near(t *testing.T, what string, got, want []float64, tolerance float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d values, want %d", what, len(got), len(want))
	}
	for i := range want {
		if !(math.Abs(got[i]-want[i]) <= tolerance) {
			t.Errorf("%s[%d] = %.12g, want %.12g", what, i, got[i], want[i])
		}
	}
}

func TestRMSNorm(t *testing.T) {
	got := RMSNorm([]float64{1, -2, 3, 0.5}, []float64{1, 0.5, 2, 1}, 1e-5)
	near(t, "RMSNorm", got, []float64{0.52981220, -0.52981220, 3.17887320, 0.26490610}, 5e-9)
}

func TestSinkSoftmax(t *testing.T) {
	got := SinkSoftmax([]float64{1, 2, 3}, 0.5)
	near(t, "weights", got, []float64{0.08536889, 0.23205671, 0.63079554}, 5e-9)
	near(t, "sink share", []float64{1 - got[0] - got[1] - got[2]}, []float64{0.05177885}, 1.5e-8)
	near(t, "lone weight", SinkSoftmax([]float64{-5}, 4), []float64{0.00012339}, 5e-9)
}

func TestTopK(t *testing.T) {
	experts, weights := TopK([]float64{0.1, 2, -1, 1.5, 1.9, 0, 3, 1.4}, 4)
	if !slices.Equal(experts, []int{6, 1, 4, 3}) {
		t.Errorf("experts %v, want [6 1 4 3]", experts)
	}
	near(t, "weights", weights, []float64{0.51978275, 0.19121739, 0.17302065, 0.11597921}, 5e-9)
	if experts, _ := TopK([]float64{1, 2, 2, 2}, 2); !slices.Equal(experts, []int{1, 2}) {
		t.Errorf("on a tie the experts are %v, want the lower indices [1 2]", experts)
	}
}

func TestSwiGLU(t *testing.T) {
	for _, c := range []struct{ gate, up, want, tolerance float64 }{
		{0, 0, 0, 0}, {1, 0, 0.845795765933, 5e-13}, {1, 1, 1.691591531866, 5e-13}, {-1, 2, -0.462612702202, 5e-13},
		{10, 10, 55.999625026, 5e-10}, {-10, -10, 2.434776777e-6, 5e-16}, {7, -8, -41.999718770, 5e-10}, {0.5, -1, 0, 0},
	} {
		near(t, "SwiGLU", []float64{SwiGLU(c.gate, c.up, 7)}, []float64{c.want}, c.tolerance)
	}
}

func TestRope(t *testing.T) {
	rope := Rope{Theta: 150000, Factor: 32, BetaFast: 32, BetaSlow: 1, OriginalContext: 4096}
	relative := func(got, want []float64) {
		t.Helper()
		for i := range want {
			near(t, "inverse frequency", []float64{got[i] / want[i]}, []float64{1}, 5e-10) // the table has ten digits
		}
	}
	inverse := rope.InverseFrequencies(64)
	relative(inverse, []float64{
		1.0, 6.890443059e-1, 4.747820555e-1, 3.271458719e-1, 2.254180002e-1, 1.553229895e-1, 1.070244215e-1,
		7.374456821e-2, 5.081327482e-2, 3.170569618e-2, 1.933500113e-2, 1.159204926e-2, 6.794959490e-3, 3.860359317e-3,
		2.093792379e-3, 1.052602101e-3, 4.564839192e-4, 1.293187012e-4, 3.830881237e-5, 2.639646903e-5, 1.818833668e-5,
		1.253256982e-5, 8.635495875e-6, 5.950239261e-6, 4.099978482e-6, 2.825066827e-6, 1.946596211e-6, 1.341291035e-6,
		9.242089502e-7, 6.368209146e-7, 4.387978251e-7, 3.023511428e-7,
	})
	truncated := rope
	truncated.Truncate = true
	relative(truncated.InverseFrequencies(64)[9:18], []float64{
		3.162075228e-2, 1.945096754e-2, 1.179219110e-2, 7.015713911e-3, 4.069554715e-3, 2.277271936e-3, 1.206130969e-3,
		5.809475019e-4, 2.279477958e-4,
	})
	near(t, "attention factor", []float64{rope.Attention()}, []float64{1.3465735902799727}, 1e-15)

	for _, c := range []struct {
		position, dimension int
		cos, sin            float64
	}{
		{1, 0, 0.72755682, 1.13310261}, {1, 8, 1.34483555, 0.06839437}, {1, 17, 1.34657358, 0.00017414},
		{1000, 0, 0.75728481, 1.11345415}, {1000, 9, 1.29043456, 0.38475847},
		{1000, 12, 1.17404657, 0.6594506}, {1000, 17, 1.33532968, 0.17365219},
	} {
		first, second := make([]float64, 64), make([]float64, 64)
		first[c.dimension], second[c.dimension+32] = 1, 1
		Rotate(first, c.position, inverse, rope.Attention())
		Rotate(second, c.position, inverse, rope.Attention())
		near(t, "first half", []float64{first[c.dimension], first[c.dimension+32]}, []float64{c.cos, c.sin}, 1e-6)
		near(t, "second half", []float64{second[c.dimension], second[c.dimension+32]}, []float64{-c.sin, c.cos}, 1e-6)
	}
}

func TestDecodeMXFP4(t *testing.T) {
	blocks := make([]byte, 16)
	for i := range blocks {
		blocks[i] = byte(0x10 + i)
	}
	got := DecodeMXFP4(blocks, []byte{121})
	want := []float64{
		0, .0078125, .0078125, .0078125, .015625, .0078125, .0234375, .0078125, .03125, .0078125, .046875, .0078125,
		.0625, .0078125, .09375, .0078125, 0, .0078125, -.0078125, .0078125, -.015625, .0078125, -.0234375, .0078125,
		-.03125, .0078125, -.046875, .0078125, -.0625, .0078125, -.09375, .0078125,
	}
	near(t, "weight", widen(got), want, 0)
	if !math.Signbit(float64(got[16])) {
		t.Error("code 8 decodes to +0, want -0")
	}
	if zero := DecodeMXFP4(make([]byte, 16), []byte{0}); zero[0] != 0 {
		t.Errorf("code 0 under the smallest scale is %g, want 0", zero[0])
	}
	if nan := DecodeMXFP4(blocks, []byte{255})[1]; nan == nan {
		t.Errorf("scale 255 decodes to %g, want NaN", nan)
	}
}

func TestQuantizeInt8(t *testing.T) {
	// One scale for the row, the largest magnitude at 127, halves to even.
	got := QuantizeInt8([]float64{127, -0.5, 1.5, 2.5, -126.6, 0})
	near(t, "value", got, []float64{127, 0, 2, 2, -127, 0}, 0)
	near(t, "zeros", QuantizeInt8([]float64{0, 0}), []float64{0, 0}, 0)
}
