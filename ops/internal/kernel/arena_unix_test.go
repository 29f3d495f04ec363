//go:build unix

package kernel

import (
	"testing"

	"golang.org/x/sys/unix"
)

// newArena returns an arena of pages·pagesize bytes.
func newArena(t testing.TB, pages int) arena {
	t.Helper()
	page := unix.Getpagesize()
	size := pages * page
	all, err := unix.Mmap(-1, 0, size+2*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Munmap(all); err != nil {
			t.Error(err)
		}
	})
	for _, fence := range [][]byte{all[:page], all[page+size:]} {
		if err := unix.Mprotect(fence, unix.PROT_NONE); err != nil {
			t.Fatal(err)
		}
	}
	return arena{all[page : page+size]}
}
