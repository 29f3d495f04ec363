//go:build purego || !amd64

package t16

func nativeTernary5() bool { return false }
