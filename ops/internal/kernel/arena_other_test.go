//go:build !unix

package kernel

import "testing"

func newArena(_ testing.TB, pages int) arena { return arena{make([]byte, pages*4096)} }
