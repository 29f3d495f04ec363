package atomicfile

import (
	"errors"
	"fmt"
	"os"
)

// ErrHeld says that another process works on a file.
var ErrHeld = errors.New("another process is writing it")

// Hold opens the file at path for reading and writing, creating it where it is missing, and keeps other callers of Hold
// away from it until release: for a file that grows over several runs, which Create would begin anew. Where the system
// has no locks it keeps nobody away. Close the file before release.
//
// Errors: ErrHeld; the operating system's.
func Hold(path string) (f *os.File, release func(), err error) {
	// Whoever held the file before may give it its final name between open and lock; then there is another to open.
	for range 100 {
		if f, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o666); err != nil {
			return nil, nil, wrap(path, err)
		}
		l, err := acquire(path)
		switch {
		case errors.Is(err, errLocked):
			err = ErrHeld
			if _, gone := os.Lstat(path); errors.Is(gone, os.ErrNotExist) {
				err = nil // and try again
			}
		case err == nil && l.holds(path) && opened(f, path):
			return f, l.release, nil
		}
		l.release()
		f.Close() // nothing was written
		if err != nil {
			return nil, nil, wrap(path, err)
		}
	}
	return nil, nil, fmt.Errorf("atomicfile: %s: another process keeps renaming it", path)
}

// opened says whether f is what path names now.
func opened(f *os.File, path string) bool {
	mine, err := f.Stat()
	if err != nil {
		return false
	}
	named, err := os.Lstat(path)
	return err == nil && os.SameFile(mine, named)
}
