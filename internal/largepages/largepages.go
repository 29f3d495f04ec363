// Package largepages holds large arrays outside of Go's heap, in pages as large
// as the system gives.
//
// With pages of 4 KB, reading an array as fast as memory can is bounded by the
// translation of addresses. Memory of this package reads like a mapped file.
package largepages

// least is how many words are worth a mapping: a large page of amd64 and arm64.
const least = 2 << 20 / 8

// Alloc returns n zeroed words. [Free] gives them back; the garbage collector
// does not.
//
// Errors: the system has no memory left.
func Alloc(n int) ([]uint64, error) {
	if n < least {
		return make([]uint64, n), nil
	}
	return alloc(n)
}

// Free gives back what Alloc returned, whole. Nothing may use it afterwards.
func Free(words []uint64) error {
	if len(words) < least {
		return nil // the heap's
	}
	return free(words)
}
