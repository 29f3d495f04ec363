//go:build linux || darwin || freebsd

package units

import "golang.org/x/sys/unix"

// Free returns how much room the file system of the store has for this user, and whether the system says so.
func (s *Store) Free() (bytes int64, ok bool) {
	var st unix.Statfs_t
	if err := unix.Statfs(s.dir, &st); err != nil {
		return 0, false
	}
	return int64(st.Bavail) * int64(st.Bsize), true
}
