package kernel

import (
	"math"
	"math/rand/v2"
	"unsafe"
)

func newRand() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }

var inf = float32(math.Inf(1))

// hostile holds values whose sums, products and exponentials round, overflow,
// underflow and cancel in the ways that tell implementations apart.
var hostile = []float32{
	0, math.Float32frombits(1 << 31), 1, -1, inf, -inf, float32(math.NaN()), math.Float32frombits(0xffc00001),
	math.MaxFloat32, -math.MaxFloat32, 0x1p-149, -0x1p-149, 0x1p-126, -0x1.fffffcp-127, 0x1.fffffep-127,
	0x1p-75, -0x1p-75, 0x1.8p-75, 0x1.000002p0, -0x1.fffffep-1, 0x1p64, -0x1p63, 0x1.000002p12, -0x1.fffffep11,
	88.72284, 88.72283, -87.33655, -103.97208, -103.97207, -103.2789, 7, -7, 0.5, 1e-20, -3e19,
}

// fills are the ways to fill an operand.
var fills = map[string]func(*rand.Rand) float32{
	"normal":  func(r *rand.Rand) float32 { return float32(r.NormFloat64()) },
	"bits":    func(r *rand.Rand) float32 { return math.Float32frombits(r.Uint32()) },
	"hostile": func(r *rand.Rand) float32 { return hostile[r.IntN(len(hostile))] },
	"finite": func(r *rand.Rand) float32 { // hostile without what turns every sum into NaN
		for {
			if v := hostile[r.IntN(len(hostile))]; v-v == 0 {
				return v
			}
		}
	},
	"tiny": func(r *rand.Rand) float32 { return float32(r.NormFloat64() * 0x1p-70) },
}

func fill(r *rand.Rand, x []float32, value func(*rand.Rand) float32) {
	for i := range x {
		x[i] = value(r)
	}
}

// same reports equal bits, all NaNs being equal.
func same(a, b float32) bool {
	return math.Float32bits(a) == math.Float32bits(b) || a != a && b != b
}

// firstDiff returns the first index where the two differ, or -1.
func firstDiff(got, want []float32) int {
	for i := range want {
		if !same(got[i], want[i]) {
			return i
		}
	}
	return -1
}

// arena hands out memory between two inaccessible pages (where the system has
// mmap), so that a kernel that touches one byte too many crashes.
type arena struct{ mem []byte }

// place says where in its arena an operand lies.
type place int

const (
	atStart place = iota
	atEnd
	odd // one element in: 4-byte aligned floats, 1-byte aligned bytes
	places
)

func (a arena) bytes(n int, p place) []byte {
	switch p {
	case atStart:
		return a.mem[:n:n]
	case odd:
		return a.mem[1 : 1+n : 1+n]
	}
	return a.mem[len(a.mem)-n:]
}

func (a arena) floats(n int, p place) []float32 {
	at := 0
	switch p {
	case atEnd:
		at = len(a.mem) - 4*n
	case odd:
		at = 4
	}
	return unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(a.mem[at:]))), n)
}

// guard is an arena filled with a pattern; intact tells whether only the
// window changed.
func (a arena) guard() {
	for i := range a.mem {
		a.mem[i] = 0xA5
	}
}

func (a arena) intact(n int, p place) bool {
	from, to := 0, 4*n
	switch p {
	case atEnd:
		from, to = len(a.mem)-4*n, len(a.mem)
	case odd:
		from, to = 4, 4+4*n
	}
	for i, b := range a.mem {
		if (i < from || i >= to) && b != 0xA5 {
			return false
		}
	}
	return true
}
