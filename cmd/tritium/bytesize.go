package main

import (
	"fmt"
	"strconv"
	"strings"
)

// byteSize is a flag that takes "8GiB", "500 MB" or a plain number of bytes.
type byteSize int64

var byteUnits = []struct {
	suffix string
	size   float64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"kB", 1e3}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12},
	{"k", 1e3}, {"K", 1 << 10}, {"M", 1 << 20}, {"G", 1 << 30}, {"T", 1 << 40}, {"B", 1},
}

func (b *byteSize) String() string { return strconv.FormatInt(int64(*b), 10) }
func (b *byteSize) Type() string   { return "BYTES" }

func (b *byteSize) Set(s string) error {
	number, size := strings.TrimSpace(s), 1.0
	for _, u := range byteUnits {
		if rest, ok := strings.CutSuffix(number, u.suffix); ok {
			number, size = strings.TrimSpace(rest), u.size
			break
		}
	}
	x, err := strconv.ParseFloat(number, 64)
	if err != nil || !(x > 0 && x*size < 1<<62) {
		return fmt.Errorf("%q is no size; write 8GiB, 500MB or a number of bytes", s)
	}
	*b = byteSize(x * size)
	return nil
}
