//go:build purego || !amd64

package t16

func turnSIMD(*MXFP4Tile, []byte, []byte, int) bool { return false }
