package gptoss

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"sync"

	"github.com/seed-796a8800/tritium/internal/largepages"
	"github.com/seed-796a8800/tritium/internal/safetensors"
	"github.com/seed-796a8800/tritium/ops"
	"github.com/seed-796a8800/tritium/ternaryop"
)

// Checkpoint is an open model: as OpenAI published it (MXFP4 experts, bf16
// rest, under Transformers' or OpenAI's own names), with experts dequantized
// to bf16, or ternary. Its weights stay in the file, which is mapped, and are
// decoded where they are used; but ternary weights at 1.6 bits are rewritten at
// 2 bits, beside the file, where the processor has no fast kernels for them, and
// compressed ones are expanded beside the file when it is opened. It implements
// Weights and is safe for concurrent use.
type Checkpoint struct {
	path    string // for errors
	config  Config
	files   fs.FS
	archive *safetensors.Archive // empty for a synthetic model
	// tensors by Transformers' name, whatever the file calls them.
	tensors map[string]safetensors.Tensor
	int8    bool

	outline    bool // there is no data
	asStored   bool
	progress   func(done, total int64) // of expanding
	compressed map[string]compressed   // by tensor

	expands  bool // 1.6-bit weights, to be multiplied
	mu       sync.Mutex
	expanded map[string]*ternaryop.Stack // by name of the projection
	memory   [][]uint64                  // that is ours to free
}

var _ Weights = (*Checkpoint)(nil)

// OpenOption changes how a checkpoint is opened.
type OpenOption func(*Checkpoint)

// WithInt8Activations rounds the inputs of every projection that quantization
// would make ternary (q, k, v, o and the experts) to 8 bits, and leaves the
// weights alone: what quantizing activations alone costs.
func WithInt8Activations() OpenOption { return func(c *Checkpoint) { c.int8 = true } }

// WithCache sets how attention keeps keys and values, Config.Cache.
func WithCache(f ops.CacheFormat) OpenOption { return func(c *Checkpoint) { c.config.Cache = f } }

// Open opens a model directory: config.json beside model.safetensors or its
// shards with their index.
//
// Errors: a config.json that is not of GPT-OSS, a tensor that is missing or
// has another type or shape than the configuration asks for, a broken file;
// each names the file and the tensor.
func Open(dir string, opts ...OpenOption) (*Checkpoint, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return nil, fmt.Errorf("gptoss: %w", err)
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("gptoss: %s is a file; give the directory that holds config.json", dir)
	}
	config, err := ReadConfig(filepath.Join(dir, "config.json"))
	if err != nil {
		return nil, err
	}
	archive, err := safetensors.Open(dir)
	if err != nil {
		return nil, err
	}
	c, err := newCheckpoint(dir, config, os.DirFS(dir), archive, opts)
	if err != nil {
		archive.Close() // the first problem is the one to report
		return nil, err
	}
	return c, nil
}

// OpenFS opens a model held in memory, such as an embedded one: config.json
// and model.safetensors.
func OpenFS(files fs.FS, opts ...OpenOption) (*Checkpoint, error) {
	data, err := readSmall(files, "config.json")
	if err != nil {
		return nil, fmt.Errorf("gptoss: config.json: %w", err)
	}
	config, err := ParseConfig(data)
	if err != nil {
		return nil, err
	}
	if data, err = fs.ReadFile(files, "model.safetensors"); err != nil {
		return nil, fmt.Errorf("gptoss: %w", err)
	}
	archive, err := safetensors.Read("model.safetensors", data)
	if err != nil {
		return nil, err
	}
	return newCheckpoint("model.safetensors", config, files, archive, opts)
}

func newCheckpoint(path string, config Config, files fs.FS, archive *safetensors.Archive, opts []OpenOption) (*Checkpoint, error) {
	c := &Checkpoint{path: path, config: config, files: files, archive: archive, tensors: map[string]safetensors.Tensor{},
		compressed: map[string]compressed{}, expands: !ternaryop.Ternary5.Native()}
	for _, o := range opts {
		o(c)
	}
	for _, name := range archive.Names() {
		t, _ := archive.Lookup(name)
		c.tensors[name] = t
	}
	if err := c.settle(); err != nil {
		return nil, err
	}
	return c, nil
}

// settle makes a checkpoint of what is there: names, checks, expanded codes.
func (c *Checkpoint) settle() error {
	if _, ok := c.tensors["embedding.weight"]; ok {
		if err := renameOriginal(c.config, c.tensors); err != nil {
			return fmt.Errorf("gptoss: %w", err)
		}
	}
	err := c.check()
	if err == nil {
		err = c.expandCodes()
	}
	if err != nil {
		return errors.Join(fmt.Errorf("gptoss: %w", err), c.free())
	}
	return nil
}

// Config returns the model's configuration.
func (c *Checkpoint) Config() Config { return c.config }

// Files returns the model's directory: tokenizer and configuration files.
func (c *Checkpoint) Files() fs.FS { return c.files }

// Bytes returns the size of all tensors in the files.
func (c *Checkpoint) Bytes() (n int64) {
	for name := range c.tensors {
		n += c.StoredBytes(name)
	}
	return n
}

// Tensors returns the tensors, by Transformers' name, sorted; compressed ones as they are expanded, but with AsStored.
func (c *Checkpoint) Tensors() []safetensors.Tensor {
	ts := make([]safetensors.Tensor, 0, len(c.tensors))
	for _, t := range c.tensors {
		ts = append(ts, t)
	}
	sort.Slice(ts, func(i, j int) bool { return ts[i].Name < ts[j].Name })
	return ts
}

// Release lets go of the pages of the mapped files that were read so far: who
// goes through a large model once does not hold all of it.
//
// Errors: the operating system's.
func (c *Checkpoint) Release() error { return c.archive.Release() }

// Close unmaps the files and frees what was made of them. Nothing that came
// from the checkpoint may be used afterwards.
func (c *Checkpoint) Close() error {
	return errors.Join(c.archive.Close(), c.free())
}

// free gives back the memory that is ours.
func (c *Checkpoint) free() (err error) {
	for _, words := range c.memory {
		err = errors.Join(err, largepages.Free(words))
	}
	c.memory, c.expanded = nil, nil
	return err
}

// Embedding returns the token embedding.
func (c *Checkpoint) Embedding() ops.Matrix { return c.Matrix(EmbeddingName) }

// Vector returns a norm's weights, sinks, or a bias as float32.
func (c *Checkpoint) Vector(name string) []float32 {
	v, err := c.tensors[name].Float32s()
	if err != nil {
		panic(fmt.Sprintf("gptoss: %v; Open checks every vector", err))
	}
	return v
}

// Linear returns a projection with its bias (the head has none).
func (c *Checkpoint) Linear(name string) ops.Linear {
	var bias []float32
	if name != HeadName {
		bias = c.Vector(name + ".bias")
	}
	if c.Format(name).Kind == "" {
		return ops.Dense{Name: name, Weight: c.Matrix(name), Bias: bias, Int8Inputs: c.roundsInputs(name)}
	}
	s, err := c.kernelWeights(name)
	if err != nil {
		return broken{err}
	}
	return ternaryop.Linear{Name: name, Weight: s.At(0), Bias: bias}
}

// ExpertLinear returns one projection of all experts of a layer.
func (c *Checkpoint) ExpertLinear(name string) ops.ExpertLinear {
	bias, active := c.Vector(name+"_bias"), c.config.ActiveExperts
	if c.Format(name).Kind == "" {
		return ops.DenseExperts{Name: name, Weights: c.ExpertMatrices(name), Bias: bias, Active: active, Int8Inputs: c.roundsInputs(name)}
	}
	s, err := c.kernelWeights(name)
	if err != nil {
		return brokenExperts{err}
	}
	return ternaryop.Experts{Name: name, Weight: s, Bias: bias, Active: active}
}

// roundsInputs says whether a dense projection sees inputs of 8 bits: with
// WithInt8Activations every one does that could have been quantized.
func (c *Checkpoint) roundsInputs(name string) bool {
	return c.int8 && c.config.Projections()[name].Quantizable
}

// Format returns how a quantized tensor is stored; its Kind is empty for one
// that is as in the source.
func (c *Checkpoint) Format(name string) Format {
	if q := c.config.Quantization; q != nil {
		return q.Tensors[name]
	}
	return Format{}
}

// Matrix returns a weight that is not an expert's.
func (c *Checkpoint) Matrix(name string) ops.Matrix {
	if c.Format(name).Kind != "" {
		m := c.packed(name).At(0)
		return &m
	}
	p := c.config.Projections()[name]
	return matrixOf(c.tensors[name+".weight"], p.Out, p.In)
}

// ExpertMatrices returns the weights of all experts of a projection that is
// not ternary.
func (c *Checkpoint) ExpertMatrices(name string) []ops.Matrix {
	p := c.config.Projections()[name]
	ms := make([]ops.Matrix, p.Experts)
	if t, ok := c.tensors[name]; ok { // dequantized: [E, In, Out]
		size := p.Out * p.In * 2
		for e := range ms {
			ms[e] = ops.BF16Transposed{Out: p.Out, In: p.In, Data: t.Data[e*size : (e+1)*size]}
		}
		return ms
	}
	blocks, scales := c.tensors[name+"_blocks"].Data, c.tensors[name+"_scales"].Data
	nb, ns := p.Out*p.In/2, p.Out*p.In/32
	for e := range ms {
		ms[e] = ops.MXFP4{Out: p.Out, In: p.In, Blocks: blocks[e*nb : (e+1)*nb], Scales: scales[e*ns : (e+1)*ns]}
	}
	return ms
}

func matrixOf(t safetensors.Tensor, out, in int) ops.Matrix {
	if t.Dtype == "F32" {
		data, _ := t.Float32s()
		return ops.F32{Out: out, In: in, Data: data}
	}
	return ops.BF16{Out: out, In: in, Data: t.Data}
}
