// Package testdata embeds what the tests and the demo need: a small trained
// GPT-OSS and two texts. README.md says where each file comes from.
package testdata

import (
	"embed"
	"io/fs"
)

//go:embed nano/config.json nano/generation_config.json nano/golden.safetensors nano/model.safetensors nano/tokenizer.json
var files embed.FS

//go:embed text/calibration.txt
var calibration string

//go:embed text/heldout.txt
var heldout string

// Nano returns a checkpoint directory in Hugging Face layout with the golden
// values that Transformers computed for it, golden.safetensors.
func Nano() fs.FS {
	dir, err := fs.Sub(files, "nano")
	if err != nil {
		panic(err) // only for a path that is not valid, and this one is constant
	}
	return dir
}

// Calibration returns the prose to gather statistics on.
func Calibration() string { return calibration }

// Heldout returns the prose to measure on. Its authors are not in Calibration;
// calibrating on it would make every measurement a lie.
func Heldout() string { return heldout }
