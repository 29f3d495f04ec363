//go:build !linux

package main

func availableMemory() int64 { return 0 }
func residentMemory() int64  { return 0 }
func cpuName() string        { return "" }
