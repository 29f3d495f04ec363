//go:build !(linux || darwin || windows)

package hub

// freeSpace does not know here.
func freeSpace(string) (n int64, known bool) { return 0, false }
