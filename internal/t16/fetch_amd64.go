//go:build !purego

package t16

// fetch asks for the lines of p[:n] that are not in the second-level cache, without waiting for them.
func fetch(p []byte, n int) {
	if n = min(n, len(p)); useVNNI && n > 0 {
		fetchLines(&p[0], (n+blockBytes-1)/blockBytes)
	}
}

// fetchLines prefetches lines times 64 bytes.
//
//go:noescape
func fetchLines(p *byte, lines int)
