//go:build !unix || nommap

package safetensors

import (
	"errors"
	"io"
	"os"
)

// mapFile reads the first size bytes of f, for systems without mmap (or builds with the tag nommap).
func mapFile(f *os.File, size int64) ([]byte, error) {
	if int64(int(size)) != size {
		return nil, errors.New("larger than this machine's address space")
	}
	b := make([]byte, size)
	if _, err := io.ReadFull(io.NewSectionReader(f, 0, size), b); err != nil {
		return nil, err
	}
	return b, nil
}

func unmap([]byte) error { return nil }

func release([]byte) error { return nil }
