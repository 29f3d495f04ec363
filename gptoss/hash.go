package gptoss

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// SHA256 identifies the weights: the SHA-256 over all tensors in order of
// name, each as "name dtype shape\n" and its bytes. It does not depend on how
// the tensors are spread over files, nor on whether the file uses
// Transformers' names or OpenAI's.
func (c *Checkpoint) SHA256(ctx context.Context) (string, error) {
	h := sha256.New()
	for _, t := range c.Tensors() {
		fmt.Fprintf(h, "%s %s %v\n", t.Name, t.Dtype, t.Shape)
		for data := t.Data; len(data) > 0; {
			if err := ctx.Err(); err != nil {
				return "", err
			}
			n := min(len(data), 64<<20)
			h.Write(data[:n])
			data = data[n:]
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
