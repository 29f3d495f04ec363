//go:build !(linux || darwin || freebsd || windows)

package units

// Free returns how much room the file system of the store has for this user, and whether the system says so.
func (s *Store) Free() (bytes int64, ok bool) { return 0, false }
