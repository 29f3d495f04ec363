package gptoss

import (
	"bytes"
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/seed-796a8800/tritium/graph"
)

// tiny is the small shape with less of everything.
func tiny() Config {
	c := ShapeSmall().WithLayers(2)
	c.Experts, c.Vocab = 8, 320
	return c
}

func synthetic(t *testing.T, s Synthetic) *Checkpoint {
	t.Helper()
	c, err := s.Build(t.Context(), newCPU(t, 2), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// TestSyntheticRuns: in every format a synthetic model compiles, its logits are
// finite and of a size that says that activations neither vanished nor grew,
// and it takes the memory that was forecast.
func TestSyntheticRuns(t *testing.T) {
	for _, s := range []Synthetic{
		{Format: FormatTernary},
		{Format: FormatTernary, Group: 64, Head: FormatInt8},
		{Format: FormatTernary5},
		{Format: FormatTernary5, Group: 80, Head: FormatInt8},
		{Format: FormatPlanes2},
		{Format: FormatPlanes5, Group: 80},
		{Format: FormatMXFP4},
		{Format: FormatMXFP4, Head: FormatInt4},
	} {
		t.Run(s.Format+" "+s.Head, func(t *testing.T) {
			s.Config = tiny()
			c := synthetic(t, s)
			if want, err := s.Bytes(); err != nil || c.Bytes() != want {
				t.Errorf("%d bytes, forecast were %d (%v)", c.Bytes(), want, err)
			}
			cpu := newCPU(t, 2)
			m := compile(t, c.Config(), c, cpu, 16)
			seq, err := m.Plan.NewSequence()
			if err != nil {
				t.Fatal(err)
			}
			if err := m.Append(graph.NewBatch(), seq, tokens(40, s.Config.Vocab)); err != nil {
				t.Fatal(err)
			}
			sum := 0.0
			for i, v := range m.Logits(0) {
				if f := float64(v); math.IsNaN(f) || math.IsInf(f, 0) {
					t.Fatalf("logit %d is %v", i, v)
				}
				sum += float64(v) * float64(v)
			}
			if rms := math.Sqrt(sum / float64(s.Config.Vocab)); rms < 0.3 || rms > 3 {
				t.Errorf("the logits' root mean square is %.3g, want about 1", rms)
			}
		})
	}
}

// TestSyntheticCodes: the ternary matrices are ones that packing could have
// made, with all three codes in them.
func TestSyntheticCodes(t *testing.T) {
	for format, share := range map[string][3]float64{FormatTernary: {0.25, 0.5, 0.25}, FormatTernary5: {1. / 3, 1. / 3, 1. / 3}} {
		c := synthetic(t, Synthetic{Config: tiny(), Format: format})
		if err := c.CheckFinite(newCPU(t, 2), nil); err != nil {
			t.Fatal(err)
		}
		for name, p := range c.config.Projections() {
			if !p.Quantizable {
				continue
			}
			var seen [3]int
			for e := range max(1, p.Experts) {
				m := c.packed(name).At(e)
				codes, _ := m.Unpack()
				for _, k := range codes {
					seen[k+1]++
				}
			}
			for i, want := range share {
				if got := float64(seen[i]) / float64(p.Parameters()); math.Abs(got-want) > 0.02 {
					t.Errorf("%s, %s: code %d in %.3f of the weights, want %.2f", format, name, i-1, got, want)
				}
			}
		}
	}
}

// TestSyntheticGroups: the published shapes get the groups that were asked for.
func TestSyntheticGroups(t *testing.T) {
	for _, e := range []struct {
		format   string
		group, o int // of o_proj
		bits     float64
		head     string
	}{{FormatTernary, 192, 128, 2 + 16/192., FormatInt4}, {FormatTernary5, 320, 320, 1.65, FormatInt4}} {
		c, _, err := Synthetic{Config: Shape20B(), Format: e.format}.plan()
		if err != nil {
			t.Fatal(err)
		}
		n := LayerNames(0)
		up, o, head := c.Quantization.Tensors[n.GateUp], c.Quantization.Tensors[n.O], c.Quantization.Tensors[HeadName]
		if up.Kind != e.format || up.Group != e.group || math.Abs(up.Bits-e.bits) > 1e-6 || o.Group != e.o || head.Kind != e.head || head.Group != 64 {
			t.Errorf("%s: gate_up %+v, o %+v, head %+v", e.format, up, o, head)
		}
	}
}

// TestSyntheticSeed: weights depend on the seed, and on nothing else.
func TestSyntheticSeed(t *testing.T) {
	s := Synthetic{Config: tiny(), Format: FormatMXFP4, Seed: 1}
	a := synthetic(t, s)
	b, err := s.Build(t.Context(), newCPU(t, 1), nil)
	if err != nil {
		t.Fatal(err)
	}
	s.Seed = 2
	other := synthetic(t, s)
	for name, x := range a.tensors {
		if !bytes.Equal(x.Data, b.tensors[name].Data) {
			t.Errorf("%s differs between 2 threads and 1", name)
		}
		if len(x.Data) > 64 && bytes.Equal(x.Data, other.tensors[name].Data) {
			t.Errorf("%s is the same with another seed", name)
		}
	}
}

func TestSyntheticRefuses(t *testing.T) {
	for _, e := range []struct {
		s    Synthetic
		want string
	}{
		{Synthetic{Format: "gguf"}, `format "gguf"`},
		{Synthetic{Format: FormatTernary, Head: "int2"}, `head in format "int2"`},
		{Synthetic{Format: FormatTernary, Group: 100}, "groups of 100"},
		{Synthetic{Format: FormatTernary, Group: -16}, "groups of -16"},
		{Synthetic{Format: FormatTernary5, Group: 192}, "groups of 192; take a multiple of 80"},
	} {
		e.s.Config = tiny()
		_, err := e.s.Build(t.Context(), newCPU(t, 1), nil)
		if err == nil || !strings.Contains(err.Error(), e.want) {
			t.Errorf("%+v: error %v, want %q in it", e.s.Format, err, e.want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s := Synthetic{Config: tiny(), Format: FormatTernary}
	if _, err := s.Build(ctx, newCPU(t, 1), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("an interrupted build: %v", err)
	}
}

// TestPublishedShapes: the weights of the published models, in the formats they
// are published in, are as large as their safetensors index says.
func TestPublishedShapes(t *testing.T) {
	for _, e := range []struct {
		config Config
		bytes  int64
	}{{Shape20B(), 13_761_264_768}, {Shape120B(), 65_248_815_744}} {
		got, err := Synthetic{Config: e.config, Format: FormatMXFP4}.Bytes()
		if err != nil || got != e.bytes {
			t.Errorf("%d layers: %d bytes (%v), published are %d", e.config.Layers, got, err, e.bytes)
		}
	}
}

// TestShapeSmall: the shapes differ from what config.json of a real checkpoint
// gives in sizes only.
func TestShapeSmall(t *testing.T) {
	got, want := ShapeSmall(), openNano(t).Config()
	if !slices.Equal(got.Windows, want.Windows) {
		t.Errorf("windows %v, want %v", got.Windows, want.Windows)
	}
	if got.NormEpsilon != want.NormEpsilon || got.SwiGLULimit != want.SwiGLULimit || got.MaxPositions != want.MaxPositions {
		t.Errorf("constants %+v, want %+v", got, want)
	}
	if got.Rotary.Scale != want.Rotary.Scale || !slices.Equal(got.Rotary.InvFreq, want.Rotary.InvFreq) {
		t.Errorf("rotary embedding %v, want %v", got.Rotary, want.Rotary)
	}
}
