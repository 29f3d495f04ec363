//go:build unix && !nommap

package safetensors

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// mapFile maps the first size bytes of f read-only; pages are read when touched and stay evictable.
func mapFile(f *os.File, size int64) ([]byte, error) {
	if int64(int(size)) != size {
		return nil, errors.New("larger than this machine's address space")
	}
	return unix.Mmap(int(f.Fd()), 0, int(size), unix.PROT_READ, unix.MAP_SHARED)
}

func unmap(b []byte) error { return unix.Munmap(b) }

// release lets go of the pages that were read; the next touch finds them in the system's cache, or reads them again.
func release(b []byte) error { return unix.Madvise(b, unix.MADV_DONTNEED) }
