//go:build !linux

package atomicfile

import "os"

// reserve sets the size; blocks are allocated when written.
func reserve(f *os.File, size int64) error { return f.Truncate(size) }
