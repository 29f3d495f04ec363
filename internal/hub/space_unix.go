//go:build linux || darwin

package hub

import "golang.org/x/sys/unix"

// freeSpace returns how many bytes a user may still write to the disk of dir.
func freeSpace(dir string) (n int64, known bool) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, false
	}
	return int64(min(s.Bavail, 1<<40)) * int64(s.Bsize), true
}
