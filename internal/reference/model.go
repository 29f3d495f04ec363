package reference

import (
	"fmt"
	"slices"

	"github.com/seed-796a8800/tritium/internal/safetensors"
)

// Model is a checkpoint ready for [Model.Forward]. Weights are kept in float32, where every source dtype is exact;
// arithmetic is float64.
type Model struct {
	Config Config

	inverseFrequencies []float64 // [D/2]
	embedding          linear    // [V, H], used by rows
	layers             []layer
	norm               []float64 // [H]
	head               linear    // [V, H]
}

type layer struct {
	attentionNorm []float64 // [H]
	q, k, v, o    linear
	sinks         []float64 // [N]
	expertsNorm   []float64 // [H]
	router        linear
	gateUp, down  []linear // per expert
}

// linear is y = W x + b.
type linear struct {
	in, out int
	weight  []float32 // [out, in]
	bias    []float64 // [out], or nil
}

func (l linear) apply(x []float64) []float64 {
	y := make([]float64, l.out)
	for o := range y {
		row := l.weight[o*l.in:][:l.in]
		sum := 0.0
		for i, w := range row {
			sum += float64(w) * x[i]
		}
		if l.bias != nil {
			sum += l.bias[o]
		}
		y[o] = sum
	}
	return y
}

func (l linear) row(o int) []float64 { return widen(l.weight[o*l.in:][:l.in]) }

// rows is the part of l that computes outputs from..to-1.
func (l linear) rows(from, to int) linear {
	return linear{l.in, to - from, l.weight[from*l.in : to*l.in], l.bias[from:to]}
}

// Load reads a checkpoint directory: Hugging Face's names with MXFP4 or dequantized experts, or OpenAI's names.
//
// Errors: a missing file, a config.json or a tensor that contradicts the architecture.
func Load(dir string) (*Model, error) {
	c, err := loadConfig(dir)
	if err != nil {
		return nil, err
	}
	archive, err := safetensors.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("reference: %w", err)
	}
	defer archive.Close()
	r := &reader{archive: archive, config: c}
	m := &Model{Config: c, inverseFrequencies: c.Rope.InverseFrequencies(c.HeadDim)}
	if _, original := archive.Lookup("embedding.weight"); original {
		r.original(m)
	} else {
		r.huggingFace(m)
	}
	if r.err != nil {
		return nil, fmt.Errorf("reference: %s: %w", dir, r.err)
	}
	return m, nil
}

// reader takes tensors out of an archive and remembers the first error.
type reader struct {
	archive *safetensors.Archive
	config  Config
	err     error
}

func (r *reader) huggingFace(m *Model) {
	c := r.config
	m.embedding = r.matrix("model.embed_tokens.weight", c.Vocab, c.Hidden)
	m.norm = r.vector("model.norm.weight", c.Hidden)
	m.head = r.matrix("lm_head.weight", c.Vocab, c.Hidden)
	for i := 0; i < c.Layers && r.err == nil; i++ {
		p := fmt.Sprintf("model.layers.%d.", i)
		m.layers = append(m.layers, layer{
			attentionNorm: r.vector(p+"input_layernorm.weight", c.Hidden),
			q:             r.linear(p+"self_attn.q_proj", c.Heads*c.HeadDim, c.Hidden),
			k:             r.linear(p+"self_attn.k_proj", c.KVHeads*c.HeadDim, c.Hidden),
			v:             r.linear(p+"self_attn.v_proj", c.KVHeads*c.HeadDim, c.Hidden),
			o:             r.linear(p+"self_attn.o_proj", c.Hidden, c.Heads*c.HeadDim),
			sinks:         r.vector(p+"self_attn.sinks", c.Heads),
			expertsNorm:   r.vector(p+"post_attention_layernorm.weight", c.Hidden),
			router:        r.linear(p+"mlp.router", c.Experts, c.Hidden),
			gateUp:        r.huggingFaceExperts(p+"mlp.experts.gate_up_proj", 2*c.Intermediate, c.Hidden),
			down:          r.huggingFaceExperts(p+"mlp.experts.down_proj", c.Hidden, c.Intermediate),
		})
	}
}

func (r *reader) original(m *Model) {
	c := r.config
	m.embedding = r.matrix("embedding.weight", c.Vocab, c.Hidden)
	m.norm = r.vector("norm.scale", c.Hidden)
	m.head = r.matrix("unembedding.weight", c.Vocab, c.Hidden)
	heads, kvHeads := c.Heads*c.HeadDim, c.KVHeads*c.HeadDim
	for i := 0; i < c.Layers && r.err == nil; i++ {
		p := fmt.Sprintf("block.%d.", i)
		qkv := r.linear(p+"attn.qkv", heads+2*kvHeads, c.Hidden)
		if r.err != nil {
			return
		}
		m.layers = append(m.layers, layer{
			attentionNorm: r.vector(p+"attn.norm.scale", c.Hidden),
			q:             qkv.rows(0, heads),
			k:             qkv.rows(heads, heads+kvHeads),
			v:             qkv.rows(heads+kvHeads, heads+2*kvHeads),
			o:             r.linear(p+"attn.out", c.Hidden, heads),
			sinks:         r.vector(p+"attn.sinks", c.Heads),
			expertsNorm:   r.vector(p+"mlp.norm.scale", c.Hidden),
			router:        r.linear(p+"mlp.gate", c.Experts, c.Hidden),
			gateUp:        r.mxfp4(p+"mlp.mlp1", "_weight.", 2*c.Intermediate, c.Hidden),
			down:          r.mxfp4(p+"mlp.mlp2", "_weight.", c.Hidden, c.Intermediate),
		})
	}
}

// tensor is the named tensor if it has that shape.
func (r *reader) tensor(name string, shape ...int) safetensors.Tensor {
	if r.err != nil {
		return safetensors.Tensor{}
	}
	t, err := r.archive.Tensor(name)
	if err == nil && !slices.Equal(t.Shape, shape) {
		err = fmt.Errorf("tensor %q has shape %v, want %v", name, t.Shape, shape)
	}
	r.err = err
	return t
}

func (r *reader) floats(name string, shape ...int) []float32 {
	t := r.tensor(name, shape...)
	if r.err != nil {
		return nil
	}
	values, err := t.Float32s()
	r.err = err
	return values
}

func (r *reader) vector(name string, n int) []float64 { return widen(r.floats(name, n)) }

func (r *reader) matrix(name string, out, in int) linear {
	return linear{in: in, out: out, weight: r.floats(name, out, in)}
}

func (r *reader) linear(name string, out, in int) linear {
	l := r.matrix(name+".weight", out, in)
	l.bias = r.vector(name+".bias", out)
	return l
}

// huggingFaceExperts reads one projection of every expert, whichever of the two ways it was uploaded.
func (r *reader) huggingFaceExperts(name string, out, in int) []linear {
	if _, dequantized := r.archive.Lookup(name); dequantized {
		return r.transposed(name, out, in)
	}
	return r.mxfp4(name, "_", out, in)
}

// mxfp4 reads one projection of every expert. Shapes: blocks [E, out, in/32, 16], scales [E, out, in/32], bias [E, out].
func (r *reader) mxfp4(name, separator string, out, in int) []linear {
	if in%32 != 0 && r.err == nil {
		r.err = fmt.Errorf("%s: %d inputs are no multiple of MXFP4's 32", name, in)
	}
	e, groups := r.config.Experts, in/32
	blocks := r.bytes(name+separator+"blocks", e, out, groups, 16)
	scales := r.bytes(name+separator+"scales", e, out, groups)
	bias := r.biases(name+"_bias", e, out)
	if r.err != nil {
		return nil
	}
	var experts []linear
	for i := range e {
		n := out * groups // blocks of one expert
		weight := DecodeMXFP4(blocks[i*n*16:][:n*16], scales[i*n:][:n])
		experts = append(experts, linear{in, out, weight, bias[i]})
	}
	return experts
}

// transposed reads one projection of every expert from [E, in, out], the layout of dequantized uploads.
func (r *reader) transposed(name string, out, in int) []linear {
	e := r.config.Experts
	values := r.floats(name, e, in, out)
	bias := r.biases(name+"_bias", e, out)
	if r.err != nil {
		return nil
	}
	var experts []linear
	for n := range e {
		weight := make([]float32, out*in)
		for i := range in {
			for o := range out {
				weight[o*in+i] = values[(n*in+i)*out+o]
			}
		}
		experts = append(experts, linear{in, out, weight, bias[n]})
	}
	return experts
}

func (r *reader) bytes(name string, shape ...int) []byte {
	t := r.tensor(name, shape...)
	if r.err == nil && t.Dtype != "U8" {
		r.err = fmt.Errorf("tensor %q is %s, want U8", name, t.Dtype)
	}
	return t.Data
}

// biases reads the bias of every expert. Shapes: [E, out].
func (r *reader) biases(name string, e, out int) [][]float64 {
	values := r.floats(name, e, out)
	if r.err != nil {
		return nil
	}
	var rows [][]float64
	for i := range e {
		rows = append(rows, widen(values[i*out:][:out]))
	}
	return rows
}

func widen(x []float32) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = float64(v)
	}
	return y
}
