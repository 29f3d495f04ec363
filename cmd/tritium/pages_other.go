//go:build !linux

package main

// hugePages does nothing: the system decides by itself.
func hugePages([]uint64) {}
