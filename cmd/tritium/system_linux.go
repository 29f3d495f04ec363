package main

import (
	"bytes"
	"fmt"
	"os"
)

// availableMemory returns how many bytes a process may still take without
// swapping, 0 if that is unknown.
func availableMemory() int64 { return kilobytes("/proc/meminfo", "MemAvailable:") }

// residentMemory returns the bytes of this process that are in memory, mapped
// files included, 0 if that is unknown.
func residentMemory() int64 { return kilobytes("/proc/self/status", "VmRSS:") }

// kilobytes reads a line "key  123 kB".
func kilobytes(file, key string) (size int64) {
	fmt.Sscanf(afterKey(file, key), "%d kB", &size)
	return size << 10
}

// cpuName returns what the processor calls itself, "" if that is unknown.
func cpuName() string { return afterKey("/proc/cpuinfo", "model name\t:") }

// afterKey returns the rest of the first line of a file that begins with key.
func afterKey(file, key string) string {
	data, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	for line := range bytes.Lines(data) {
		if rest, ok := bytes.CutPrefix(line, []byte(key)); ok {
			return string(bytes.TrimSpace(rest))
		}
	}
	return ""
}
