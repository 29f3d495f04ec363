package hub

import "golang.org/x/sys/windows"

// freeSpace returns how many bytes a user may still write to the disk of dir.
func freeSpace(dir string) (n int64, known bool) {
	name, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return 0, false
	}
	var free uint64
	if err := windows.GetDiskFreeSpaceEx(name, &free, nil, nil); err != nil {
		return 0, false
	}
	return int64(min(free, 1<<62)), true
}
