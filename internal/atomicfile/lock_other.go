//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package atomicfile

const canLock = false

// acquire gives a lock that is not held: this system has no flock.
func acquire(string) (*lock, error) { return &lock{}, nil }
