//go:build purego || !amd64

package t16

func turnCodes(*MXFP4Tile, []byte, int) bool { return false }

func turnScales(*MXFP4Tile, []byte, int) bool { return false }
