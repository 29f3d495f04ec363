package atomicfile

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// reserve allocates the blocks of [0, size) and sets the size.
func reserve(f *os.File, size int64) error {
	if size == 0 { // fallocate refuses an empty range
		return f.Truncate(0)
	}
	var err error
	for { // a signal may interrupt a long allocation
		if err = unix.Fallocate(int(f.Fd()), 0, 0, size); err != unix.EINTR {
			break
		}
	}
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		return f.Truncate(size)
	}
	return err
}
