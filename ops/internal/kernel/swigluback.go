package kernel

// SwiGLUBack computes the derivative of SwiGLU by its interleaved inputs, given
// dy, that by its output:
//
//	g = min(gate, limit); l = clamp(up, -limit, limit); s = 1 / (1 + Exp(-1.702·g))
//	dst[2i]   = dy·(l + 1)·(1.702·g·s·(1 - s) + s)  where gate < limit, else 0
//	dst[2i+1] = dy·g·s                              where -limit < up < limit, else 0
//
// Shapes: dst, gateUp [2·I], dy [I]; dst may be gateUp. The limit is positive.
func SwiGLUBack(dst, dy, gateUp []float32, limit float32) {
	checkLen("dst", len(dst), 2*len(dy))
	checkLen("gateUp", len(gateUp), 2*len(dy))
	if !(limit > 0) {
		panic("kernel: the SwiGLU limit must be positive")
	}
	n := len(dy) &^ (lanes - 1)
	if n > 0 {
		swiGLUBack(dst[:2*n], dy[:n], gateUp[:2*n], limit)
	}
	if n < len(dy) {
		swiGLUBackGeneric(dst[2*n:], dy[n:], gateUp[2*n:], limit)
	}
}

// swiGLUBackGeneric leaves the exponentials to Exp, which every instruction set
// computes alike.
func swiGLUBackGeneric(dst, dy, gateUp []float32, limit float32) {
	var room [256]float32
	for at := 0; at < len(dy); at += len(room) {
		n := min(len(room), len(dy)-at)
		e, x, d, to := room[:n], gateUp[2*at:2*(at+n)], dy[at:at+n], dst[2*at:2*(at+n)]
		for i := range e {
			e[i] = -swigluAlpha * min(x[2*i], limit)
		}
		Exp(e, e)
		for i, e := range e {
			gate, up := x[2*i], x[2*i+1]
			g, l := min(gate, limit), max(min(up, limit), -limit)
			s := 1 / (1 + e)
			t := float32(g * s)
			var byGate, byUp float32
			if gate < limit {
				byGate = float32(d[i]*(l+1)) * (float32(float32(swigluAlpha*t)*(1-s)) + s)
			}
			if -limit < up && up < limit {
				byUp = d[i] * t
			}
			to[2*i], to[2*i+1] = byGate, byUp
		}
	}
}
