package units

import "golang.org/x/sys/windows"

// Free returns how much room the file system of the store has for this user, and whether the system says so.
func (s *Store) Free() (bytes int64, ok bool) {
	path, err := windows.UTF16PtrFromString(s.dir)
	if err != nil {
		return 0, false
	}
	var free uint64
	if err := windows.GetDiskFreeSpaceEx(path, &free, nil, nil); err != nil {
		return 0, false
	}
	return int64(free), true
}
