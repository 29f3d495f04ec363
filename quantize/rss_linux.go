package quantize

import (
	"bytes"
	"fmt"
	"os"
)

// peakRSS returns the most memory the process has had resident, mapped files
// included.
func peakRSS() int64 {
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	var kb int64
	if i := bytes.Index(data, []byte("VmHWM:")); i >= 0 {
		fmt.Sscanf(string(data[i:]), "VmHWM: %d kB", &kb)
	}
	return kb << 10
}
