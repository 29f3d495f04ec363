//go:build !purego

package kernel

// fewTokens returns how many tokens the fused kernels serve.
func fewTokens() int {
	if useNEON {
		return 4
	}
	return 0
}

// stripRows returns the rows of weights in one strip for m tokens.
func stripRows(m int) int {
	if m == 1 {
		return 4
	}
	return 1
}

// mulStrip multiplies a strip: by its first token if tokens is 1, else by all.
func mulStrip(f format, tokens int, s *strip) {
	if tokens == 1 {
		mulStrip1NEON(f, s)
	} else {
		mulStrip4NEON(f, s)
	}
}

func mulStrip1NEON(f format, s *strip) {
	switch f {
	case formatBF16:
		mulBF16x1NEON(s)
	case formatMXFP4:
		mulMXFP4x1NEON(s)
	}
}

func mulStrip4NEON(f format, s *strip) {
	switch f {
	case formatBF16:
		mulBF16x4NEON(s)
	case formatMXFP4:
		mulMXFP4x4NEON(s)
	}
}

// The fused kernels compute, for rows r and tokens t of a strip (four rows by
// one token x1, one row by four tokens x4), with k a multiple of 16, of 32 for
// MXFP4:
//
//	for i := range k { lane[t][r][i%16] = fma(weight(r, i), x[t][i], lane[t][r][i%16]) }
//	out[t][r] = foldLanes(lane[t][r])

//go:noescape
func mulBF16x1NEON(s *strip)

//go:noescape
func mulBF16x4NEON(s *strip)

//go:noescape
func mulMXFP4x1NEON(s *strip)

//go:noescape
func mulMXFP4x4NEON(s *strip)
