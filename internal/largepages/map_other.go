//go:build !linux

package largepages

// The heap's memory, which the garbage collector frees: what pages it has is
// the system's decision.
func alloc(n int) ([]uint64, error) { return make([]uint64, n), nil }

func free([]uint64) error { return nil }
