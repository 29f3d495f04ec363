package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/seed-796a8800/tritium/gptoss"
	"github.com/seed-796a8800/tritium/ops"
	"github.com/seed-796a8800/tritium/testdata"
	"github.com/spf13/pflag"
)

// nano names the checkpoint that is built into the program.
const nano = "nano"

// openModel opens what MODEL names: a directory, a repository that was pulled,
// or nano.
func openModel(name string, opts ...gptoss.OpenOption) (*gptoss.Checkpoint, error) {
	if name == nano {
		return gptoss.OpenFS(testdata.Nano(), opts...)
	}
	dir, err := modelDir(name)
	if err != nil {
		return nil, err
	}
	return gptoss.Open(dir, opts...)
}

// withModel calls f with an open model and closes it.
func withModel(name string, f func(*gptoss.Checkpoint) error, opts ...gptoss.OpenOption) error {
	c, err := openModel(name, opts...)
	if err != nil {
		return err
	}
	return errors.Join(f(c), c.Close())
}

// cacheFlag declares --kv.
func cacheFlag(fl *pflag.FlagSet, value *string) {
	fl.Var(newChoice(value, ops.CacheFloat32.String(), ops.CacheInt8.String()), "kv",
		"how attention keeps keys and values: int8 takes a quarter of the memory and is faster behind long texts")
}

// cacheOf is what --kv said.
func cacheOf(value string) ops.CacheFormat {
	if value == ops.CacheInt8.String() {
		return ops.CacheInt8
	}
	return ops.CacheFloat32
}

// readText reads a text file, or falls back on an embedded text where none is
// named and that is allowed.
func readText(path, flag, embedded string, allowed bool) (string, error) {
	if path == "" {
		if allowed {
			return embedded, nil
		}
		return "", usagef("%s FILE is required: the text to read", flag)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("%s: %w", flag, err)
	}
	return string(data), nil
}

// encode turns a text into tokens with the model's tokenizer: whole, without
// special tokens.
func encode(c *gptoss.Checkpoint, text string) ([]int32, error) {
	t, err := c.Tokenizer()
	if err != nil {
		return nil, err
	}
	return t.Encode(text), nil
}

// activations are how the inputs of an original checkpoint's projections are
// kept: as they are, or rounded as quantization would.
type activations string

const (
	activationsF32  = "f32"
	activationsInt8 = "int8"
)

// declare adds the flag.
func (v *activations) declare(fs *pflag.FlagSet) {
	fs.Var(newChoice((*string)(v), activationsF32, activationsInt8), "activations",
		"inputs of attention and experts in a model that is not quantized: as they are, or rounded to 8 bits (faster in MXFP4)")
}

// options are those to open a model with.
func (v activations) options() []gptoss.OpenOption {
	if v == activationsInt8 {
		return []gptoss.OpenOption{gptoss.WithInt8Activations()}
	}
	return nil
}
