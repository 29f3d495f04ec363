//go:build !unix

package atomicfile

import (
	"errors"
	"os"
)

// syncFile flushes a closed file; Windows flushes only through a descriptor that may write.
func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// syncDir does nothing: directories cannot be flushed here, and NTFS journals renames.
func syncDir(string) error { return nil }
