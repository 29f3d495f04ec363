package gptoss

import "github.com/seed-796a8800/tritium/ops"

// Shape20B returns the configuration of gpt-oss-20b.
//
// Source: config.json of openai/gpt-oss-20b on Hugging Face.
func Shape20B() Config { return published(24, 32) }

// Shape120B returns the configuration of gpt-oss-120b.
//
// Source: config.json of openai/gpt-oss-120b on Hugging Face.
func Shape120B() Config { return published(36, 128) }

// published is what the two published models have in common.
func published(layers, experts int) Config {
	return Config{
		Layers: layers, Hidden: 2880, Intermediate: 2880,
		Heads: 64, KVHeads: 8, HeadDim: 64,
		Experts: experts, ActiveExperts: 4, Vocab: 201088,
		Windows: alternating(layers, 128), NormEpsilon: 1e-5, SwiGLULimit: 7,
		Rotary: ops.YaRN(64, 150000, 32, 32, 1, 4096), MaxPositions: 131072,
	}
}

// ShapeSmall returns the configuration of a GPT-OSS that is built and measured
// in a second: everything the published models have, in little.
func ShapeSmall() Config {
	c := published(6, 16)
	c.Hidden, c.Intermediate, c.Heads, c.KVHeads, c.Vocab = 384, 384, 12, 4, 4096
	return c
}

// WithLayers returns the configuration of the first n layers, 1 <= n <= Layers.
func (c Config) WithLayers(n int) Config {
	c.Layers, c.Windows = n, c.Windows[:n:n]
	return c
}

// alternating returns the windows of GPT-OSS: even layers slide.
func alternating(layers, window int) []int {
	w := make([]int, layers)
	for i := 0; i < layers; i += 2 {
		w[i] = window
	}
	return w
}
