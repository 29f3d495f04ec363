package main

import (
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// canMount says whether this process may mount file systems.
var canMount = sync.OnceValue(func() bool {
	dir, err := os.MkdirTemp("", "tritium-mount-")
	if err != nil {
		return false
	}
	defer os.Remove(dir)
	return mountMemory(dir, "size=64k") == nil && unmount(dir) == nil
})

// mountMemory mounts a tmpfs with options such as "size=1m" or "ro".
func mountMemory(dir, options string) error {
	var flags uintptr
	if options == "ro" {
		flags, options = unix.MS_RDONLY, ""
	}
	return unix.Mount("tmpfs", dir, "tmpfs", flags, options)
}

func unmount(dir string) error { return unix.Unmount(dir, unix.MNT_DETACH) }
