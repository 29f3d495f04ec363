//go:build !purego

package t16

func nativeTernary5() bool { return false }
