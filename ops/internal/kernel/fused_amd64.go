//go:build !purego

package kernel

// fewTokens returns how many tokens the fused kernels serve.
func fewTokens() int {
	switch {
	case useAVX512:
		return 8
	case useAVX2:
		return 4
	}
	return 0
}

// stripRows returns the rows of weights in one strip for m tokens.
func stripRows(m int) int {
	if useAVX512 || m == 1 {
		return 4
	}
	return 1
}

// mulStrip multiplies a strip: by its first token if tokens is 1, else by all.
func mulStrip(f format, tokens int, s *strip) {
	switch {
	case useAVX512 && tokens == 1:
		mulStrip1AVX512(f, s)
	case useAVX512:
		mulStrip4AVX512(f, s)
	case tokens == 1:
		mulStrip1AVX2(f, s)
	default:
		mulStrip4AVX2(f, s)
	}
}

func mulStrip1AVX512(f format, s *strip) {
	switch f {
	case formatBF16:
		mulBF16x1AVX512(s)
	case formatMXFP4:
		mulMXFP4x1AVX512(s)
	}
}

func mulStrip4AVX512(f format, s *strip) {
	switch f {
	case formatBF16:
		mulBF16x4AVX512(s)
	case formatMXFP4:
		mulMXFP4x4AVX512(s)
	}
}

func mulStrip1AVX2(f format, s *strip) {
	switch f {
	case formatBF16:
		mulBF16x1AVX2(s)
	case formatMXFP4:
		mulMXFP4x1AVX2(s)
	}
}

func mulStrip4AVX2(f format, s *strip) {
	switch f {
	case formatBF16:
		mulBF16x4AVX2(s)
	case formatMXFP4:
		mulMXFP4x4AVX2(s)
	}
}

// The fused kernels compute, for rows r and tokens t of a strip (four rows by
// one token x1, four tokens x4; x4AVX2 takes one row), with k a multiple of 16,
// of 32 for MXFP4:
//
//	for i := range k { lane[t][r][i%16] = fma(weight(r, i), x[t][i], lane[t][r][i%16]) }
//	out[t][r] = foldLanes(lane[t][r])
//
// They ask for the strip behind this one to be brought into the cache, which
// may lie outside the matrix.

//go:noescape
func mulBF16x1AVX512(s *strip)

//go:noescape
func mulBF16x4AVX512(s *strip)

//go:noescape
func mulMXFP4x1AVX512(s *strip)

//go:noescape
func mulMXFP4x4AVX512(s *strip)

//go:noescape
func mulBF16x1AVX2(s *strip)

//go:noescape
func mulBF16x4AVX2(s *strip)

//go:noescape
func mulMXFP4x1AVX2(s *strip)

//go:noescape
func mulMXFP4x4AVX2(s *strip)
