package main

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// hugePages asks for large pages; with small ones a probe measures the address
// translation. It is a wish: the probe works without.
func hugePages(words []uint64) {
	b := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(words))), 8*len(words))
	_ = unix.Madvise(b, unix.MADV_HUGEPAGE)
}
