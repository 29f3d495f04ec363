package largepages

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

func alloc(n int) ([]uint64, error) {
	mem, err := unix.Mmap(-1, 0, 8*n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, fmt.Errorf("largepages: %d bytes: %w", 8*n, err)
	}
	_ = unix.Madvise(mem, unix.MADV_HUGEPAGE) // a wish: everything works without
	return unsafe.Slice((*uint64)(unsafe.Pointer(unsafe.SliceData(mem))), n), nil
}

func free(words []uint64) error {
	mem := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(words))), 8*len(words))
	if err := unix.Munmap(mem); err != nil {
		return fmt.Errorf("largepages: freeing %d bytes: %w", len(mem), err)
	}
	return nil
}
