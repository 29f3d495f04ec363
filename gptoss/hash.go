package gptoss

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"

	"github.com/seed-796a8800/tritium/internal/safetensors"
)

// SHA256 identifies the weights: the SHA-256 over all tensors in order of
// name, each as "name dtype shape\n" and its bytes. It does not depend on how
// the tensors are spread over files, nor on whether the file uses
// Transformers' names or OpenAI's.
func (c *Checkpoint) SHA256(ctx context.Context) (string, error) {
	h := sha256.New()
	for _, t := range c.Tensors() {
		if err := hashTensor(ctx, h, t); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func hashTensor(ctx context.Context, h hash.Hash, t safetensors.Tensor) error {
	fmt.Fprintf(h, "%s %s %v\n", t.Name, t.Dtype, t.Shape)
	for data := t.Data; len(data) > 0; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := min(len(data), 64<<20)
		h.Write(data[:n])
		data = data[n:]
	}
	return nil
}

// fingerprinter is Weights that say which they are.
type fingerprinter interface{ Fingerprint() [sha256.Size]byte }

// sampleBytes is what Fingerprint reads at a time of a tensor.
const sampleBytes = 4096

// Fingerprint tells models apart in a moment, where SHA256 reads all of them:
// the SHA-256 over all tensors in order of name, each as "name dtype shape\n"
// and the first, middle and last 4096 bytes. Weights that differ elsewhere alone
// have the same.
func (c *Checkpoint) Fingerprint() (sum [sha256.Size]byte) {
	h := sha256.New()
	for _, t := range c.Tensors() {
		fmt.Fprintf(h, "%s %s %v\n", t.Name, t.Dtype, t.Shape)
		if len(t.Data) <= 3*sampleBytes {
			h.Write(t.Data)
			continue
		}
		for _, at := range []int{0, (len(t.Data) - sampleBytes) / 2, len(t.Data) - sampleBytes} {
			h.Write(t.Data[at : at+sampleBytes])
		}
	}
	h.Sum(sum[:0])
	return sum
}
