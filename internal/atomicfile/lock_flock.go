//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package atomicfile

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

const canLock = true

// acquire locks the file or directory name without waiting. A file system without locks gives one that is not held.
//
// Errors: errLocked if another process holds it, or removed name before it could be locked.
func acquire(name string) (*lock, error) {
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errLocked
	}
	if err != nil {
		return nil, err
	}
	err = unix.EINTR
	for err == unix.EINTR {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	}
	switch err {
	case nil:
		return &lock{f}, nil
	case unix.EWOULDBLOCK:
		f.Close()
		return nil, errLocked
	default: // NFS refuses exclusive locks on read-only descriptors, others do not know flock
		f.Close()
		return &lock{}, nil
	}
}
