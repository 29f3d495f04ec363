//go:build !linux

package main

// hugePages does nothing: the system decides by itself.
func hugePages([]uint64) {}

func availableMemory() int64 { return 0 }
func residentMemory() int64  { return 0 }
func cpuName() string        { return "" }
