package reference

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"os"
	"strings"

	"github.com/seed-796a8800/tritium/internal/safetensors"
)

// Write writes a random checkpoint of that shape into dir, which it creates if need be.
//
// The weights are drawn so that a forward pass is a fair test: logits of a few units, routers whose choice hardly ever
// hangs on rounding, gates that pass the SwiGLU limit now and then, sinks that take a visible share, and channels that
// stand far out of the others. Shape and seed decide every byte, and the naming changes none of the weights.
//
// Errors: an impossible shape; files that cannot be written.
func Write(dir string, s Shape, seed uint64) error {
	s = s.withDefaults()
	if err := s.check(); err != nil {
		return fmt.Errorf("reference: shape: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("reference: %w", err)
	}
	tensors := s.draw(seed)
	switch s.Naming {
	case HFDequantized:
		tensors = dequantized(tensors)
	case Original:
		tensors = s.original(tensors)
	}
	if err := writeTensors(dir, tensors, s.Shards); err != nil {
		return fmt.Errorf("reference: %w", err)
	}
	if err := s.writeConfig(dir); err != nil {
		return fmt.Errorf("reference: %w", err)
	}
	return nil
}

type tensor struct {
	safetensors.Spec
	data []byte
}

func writeTensors(dir string, tensors []tensor, shards int) error {
	var specs []safetensors.Spec
	total, largest := 0, 0
	for _, t := range tensors {
		specs = append(specs, t.Spec)
		total += len(t.data)
		largest = max(largest, len(t.data))
	}
	// A file is closed when the next tensor would not fit, so each but the last holds more than total/shards.
	options := safetensors.Options{ShardBytes: int64(total/shards + largest)}
	if shards == 1 {
		options.ShardBytes = int64(total)
	}
	w, err := safetensors.Create(dir, specs, options)
	if err != nil {
		return err
	}
	for _, t := range tensors {
		if err := w.Write(t.Name, t.data); err != nil {
			return errors.Join(err, w.Abort())
		}
	}
	return w.Commit()
}

// field is a tensor of a shape and the way to draw it.
type field struct {
	safetensors.Spec
	fill func(r *rand.Rand, n int) []byte // n elements
}

// fields lists the tensors under Hugging Face's names.
func (s Shape) fields() []field {
	h, kv, q := s.Hidden, s.KVHeads*s.HeadDim, s.Heads*s.HeadDim
	e, inner := s.Experts, s.Intermediate
	bf16 := func(name string, fill func(*rand.Rand, int) []byte, shape ...int) field {
		return field{safetensors.Spec{Name: name, Dtype: safetensors.BF16, Shape: shape}, fill}
	}
	u8 := func(name string, fill func(*rand.Rand, int) []byte, shape ...int) field {
		return field{safetensors.Spec{Name: name, Dtype: safetensors.U8, Shape: shape}, fill}
	}
	fields := []field{bf16("model.embed_tokens.weight", normal(0, 1, outliers(h, 6)), s.Vocab, h)}
	for i := range s.Layers {
		p := fmt.Sprintf("model.layers.%d.", i)
		mlp := p + "mlp.experts."
		fields = append(fields,
			bf16(p+"input_layernorm.weight", normal(1, 0.2, outliers(h, 2)), h),
			bf16(p+"self_attn.q_proj.weight", projection(1, h), q, h),
			bf16(p+"self_attn.q_proj.bias", normal(0, 0.2, nil), q),
			bf16(p+"self_attn.k_proj.weight", projection(1, h), kv, h),
			bf16(p+"self_attn.k_proj.bias", normal(0, 0.2, nil), kv),
			bf16(p+"self_attn.v_proj.weight", projection(1, h), kv, h),
			bf16(p+"self_attn.v_proj.bias", normal(0, 0.2, nil), kv),
			bf16(p+"self_attn.o_proj.weight", projection(1, q), h, q),
			bf16(p+"self_attn.o_proj.bias", normal(0, 0.1, nil), h),
			bf16(p+"self_attn.sinks", normal(1, 1.5, nil), s.Heads),
			bf16(p+"post_attention_layernorm.weight", normal(1, 0.2, outliers(h, 2)), h),
			bf16(p+"mlp.router.weight", projection(4, h), e, h),
			bf16(p+"mlp.router.bias", normal(0, 0.5, nil), e),
			u8(mlp+"gate_up_proj_blocks", randomBytes, e, 2*inner, h/32, 16),
			u8(mlp+"gate_up_proj_scales", exponents(0.4*s.SwigluLimit/math.Sqrt(float64(h))), e, 2*inner, h/32),
			bf16(mlp+"gate_up_proj_bias", normal(0, 0.3, nil), e, 2*inner),
			u8(mlp+"down_proj_blocks", randomBytes, e, h, inner/32, 16),
			u8(mlp+"down_proj_scales", exponents(1/(s.SwigluLimit*math.Sqrt(float64(inner)))), e, h, inner/32),
			bf16(mlp+"down_proj_bias", normal(0, 0.1, nil), e, h),
		)
	}
	return append(fields,
		bf16("model.norm.weight", normal(1, 0.2, outliers(h, 2)), h),
		bf16("lm_head.weight", projection(3, h), s.Vocab, h))
}

// draw fills the fields. A tensor's values depend on the seed and its name, not on the tensors before it.
func (s Shape) draw(seed uint64) []tensor {
	var tensors []tensor
	for _, f := range s.fields() {
		n := 1
		for _, d := range f.Shape {
			n *= d
		}
		name := fnv.New64a()
		name.Write([]byte(f.Name))
		tensors = append(tensors, tensor{f.Spec, f.fill(rand.New(rand.NewPCG(seed, name.Sum64())), n)})
	}
	return tensors
}

// projection draws weights that give outputs of that standard deviation for inputs of 1.
func projection(deviation float64, inputs int) func(*rand.Rand, int) []byte {
	return normal(0, deviation/math.Sqrt(float64(inputs)), nil)
}

// normal draws bf16 values; gains, if given, multiply the elements of each row.
func normal(mean, deviation float64, gains []float64) func(*rand.Rand, int) []byte {
	return func(r *rand.Rand, n int) []byte {
		data := make([]byte, 0, 2*n)
		for i := range n {
			v := mean + deviation*r.NormFloat64()
			if gains != nil {
				v *= gains[i%len(gains)]
			}
			data = binary.LittleEndian.AppendUint16(data, bfloat16(float32(v)))
		}
		return data
	}
}

// outliers is a gain of 1 for all channels but two.
func outliers(channels int, gain float64) []float64 {
	gains := make([]float64, channels)
	for i := range gains {
		gains[i] = 1
	}
	gains[3] = gain
	gains[channels/2+1] = gain
	return gains
}

func randomBytes(r *rand.Rand, n int) []byte {
	data := make([]byte, n)
	for i := range data {
		data[i] = byte(r.Uint32())
	}
	return data
}

// exponents draws MXFP4 scales, spread over three octaves, for uniformly random codes of about that deviation.
func exponents(deviation float64) func(*rand.Rand, int) []byte {
	codes := 0.0 // mean square of the 16 code values
	for _, v := range fp4 {
		codes += v * v / 16
	}
	spread := (0.25 + 1 + 4) / 3 // mean square of the three octaves
	middle := 127 + int(math.Round(math.Log2(deviation/math.Sqrt(codes*spread))))
	return func(r *rand.Rand, n int) []byte {
		data := make([]byte, n)
		for i := range data {
			data[i] = byte(middle - 1 + r.IntN(3))
		}
		return data
	}
}

// bfloat16 rounds a finite value to nearest even.
func bfloat16(v float32) uint16 {
	bits := math.Float32bits(v)
	return uint16((bits + 0x7fff + bits>>16&1) >> 16)
}

// dequantized replaces MXFP4 experts by bf16 ones, which hold every MXFP4 value exactly, with in and out exchanged.
func dequantized(tensors []tensor) []tensor {
	var all []tensor
	for i, t := range tensors {
		name, blocks := strings.CutSuffix(t.Name, "_blocks")
		switch {
		case blocks: // its scales are the next tensor
			e, out, in := t.Shape[0], t.Shape[1], 32*t.Shape[2]
			weights := DecodeMXFP4(t.data, tensors[i+1].data) // [E, out, in]
			data := make([]byte, 2*len(weights))
			for j, w := range weights {
				expert, o, k := j/(out*in), j/in%out, j%in
				binary.LittleEndian.PutUint16(data[2*((expert*in+k)*out+o):], bfloat16(w))
			}
			spec := safetensors.Spec{Name: name, Dtype: safetensors.BF16, Shape: []int{e, in, out}}
			all = append(all, tensor{spec, data})
		case !strings.HasSuffix(t.Name, "_scales"):
			all = append(all, t)
		}
	}
	return all
}

// original gives the tensors OpenAI's names, with q, k and v stacked.
func (s Shape) original(tensors []tensor) []tensor {
	byName := map[string]tensor{}
	for _, t := range tensors {
		byName[t.Name] = t
	}
	var all []tensor
	// stack appends the rows of the sources under a new name.
	stack := func(name string, sources ...string) {
		t := tensor{Spec: byName[sources[0]].Spec}
		t.Name, t.Shape = name, append([]int{0}, t.Shape[1:]...)
		for _, source := range sources {
			t.Shape[0] += byName[source].Shape[0]
			t.data = append(t.data, byName[source].data...)
		}
		all = append(all, t)
	}
	stack("embedding.weight", "model.embed_tokens.weight")
	for i := range s.Layers {
		from, to := fmt.Sprintf("model.layers.%d.", i), fmt.Sprintf("block.%d.", i)
		attention, experts := from+"self_attn.", from+"mlp.experts."
		stack(to+"attn.norm.scale", from+"input_layernorm.weight")
		for _, part := range []string{".weight", ".bias"} {
			stack(to+"attn.qkv"+part, attention+"q_proj"+part, attention+"k_proj"+part, attention+"v_proj"+part)
			stack(to+"attn.out"+part, attention+"o_proj"+part)
			stack(to+"mlp.gate"+part, from+"mlp.router"+part)
		}
		stack(to+"attn.sinks", attention+"sinks")
		stack(to+"mlp.norm.scale", from+"post_attention_layernorm.weight")
		for _, part := range []string{"blocks", "scales"} {
			stack(to+"mlp.mlp1_weight."+part, experts+"gate_up_proj_"+part)
			stack(to+"mlp.mlp2_weight."+part, experts+"down_proj_"+part)
		}
		stack(to+"mlp.mlp1_bias", experts+"gate_up_proj_bias")
		stack(to+"mlp.mlp2_bias", experts+"down_proj_bias")
	}
	stack("norm.scale", "model.norm.weight")
	stack("unembedding.weight", "lm_head.weight")
	return all
}
