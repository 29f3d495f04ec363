package atomicfile

import (
	"errors"
	"os"
)

// errLocked reports a lock that a living process holds.
var errLocked = errors.New("locked by another process")

// lock is an advisory lock on a partial. It has its own descriptor, so the partial's writer may close first.
// A nil lock, or one without a file, holds nothing: the system or file system offers no locks.
type lock struct{ f *os.File }

// held reports whether the system granted the lock.
func (l *lock) held() bool { return l != nil && l.f != nil }

// holds reports whether what l locked is still what name names. Without locks nobody could have removed it.
func (l *lock) holds(name string) bool {
	if !l.held() {
		return true
	}
	locked, err := l.f.Stat()
	if err != nil {
		return false
	}
	named, err := os.Lstat(name)
	return err == nil && os.SameFile(locked, named)
}

func (l *lock) release() {
	if l.held() {
		l.f.Close() // closing the only descriptor releases the lock
	}
}
