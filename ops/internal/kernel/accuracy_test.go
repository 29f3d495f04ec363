package kernel

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"

	"github.com/x448/float16"
)

// exactFMA rounds a·b + c once, by arbitrary precision.
func exactFMA(a, b, c float32) float32 {
	p := new(big.Float).SetPrec(2000).SetFloat64(float64(a))
	p.Mul(p, big.NewFloat(float64(b)))
	p.Add(p, big.NewFloat(float64(c)))
	f, _ := p.Float32()
	return f
}

func checkFMA(t *testing.T, a, b, c float32) {
	t.Helper()
	got, p := fma32(a, b, c), float64(a)*float64(b)
	if p-p != 0 || c-c != 0 { // big.Float has no NaN; float64 is exact for these
		if want := float32(p + float64(c)); !same(got, want) {
			t.Fatalf("fma32(%x, %x, %x) = %x, want %x", a, b, c, got, want)
		}
		return
	}
	want := exactFMA(a, b, c)
	if want == 0 { // big.Float's zero sums are +0 as IEEE wants only if they are exact
		want = float32(math.FMA(float64(a), float64(b), float64(c)))
	}
	if !same(got, want) {
		t.Fatalf("fma32(%x, %x, %x) = %x, want %x", a, b, c, got, want)
	}
}

func TestFMA32Hostile(t *testing.T) {
	for _, a := range hostile {
		for _, b := range hostile {
			for _, c := range hostile {
				checkFMA(t, a, b, c)
			}
		}
	}
}

// TestFMA32Ties aims at the one case that two roundings get wrong: a float64
// sum that lands between two float32 values, with a remainder below it.
func TestFMA32Ties(t *testing.T) {
	r := newRand()
	fixed := 0
	for range 200_000 {
		c := math.Float32frombits(r.Uint32N(0x7f800000))
		_, e := math.Frexp(float64(c))
		ulp := math.Ldexp(1, max(e-24, -149))
		// The product is half an ulp of c, give or take far less than 2^-53·c.
		half := math.Sqrt(ulp / 2)
		a := float32(half * (1 + r.Float64()))
		b := float32(ulp / 2 / float64(a))
		if r.IntN(2) == 0 { // or exactly a power of two, nudged in the last bit
			s := r.IntN(60) - 30
			a = float32(math.Ldexp(1, s))
			b = float32(ulp / 2 / float64(a))
			b = math.Float32frombits(math.Float32bits(b) + r.Uint32N(3) - 1)
		}
		if r.IntN(2) == 0 {
			a = -a
		}
		if float32(float64(a)*float64(b)+float64(c)) != fma32(a, b, c) {
			fixed++
		}
		checkFMA(t, a, b, c)
	}
	// Crafted: c has its last bit set, the product is a tie's half with a tail
	// 2^-60 below: (1+2^-12)·(1-2^-12) = 1 - 2^-24.
	for s := -100; s < 100; s++ {
		a := float32(math.Ldexp(1+0x1p-23, -s))
		b := float32(math.Ldexp(1-0x1p-23, s-30))
		for _, c := range []float32{0x1.000002p-7, 0x1.000004p-7, -0x1.000002p-7, -0x1.000004p-7, 0x1.8p-6, 0x1.000002p-6, 0x1.fffffep-7} {
			for _, sign := range []float32{1, -1} {
				checkFMA(t, sign*a, b, c)
				if float32(float64(sign*a)*float64(b)+float64(c)) != fma32(sign*a, b, c) {
					fixed++
				}
			}
		}
	}
	if fixed == 0 {
		t.Error("no case needed the correction, so it is not tested")
	}
}

func TestFMA32Random(t *testing.T) {
	r := newRand()
	for range 200_000 {
		a, b := math.Float32frombits(r.Uint32()), math.Float32frombits(r.Uint32())
		c := float32(float64(a) * float64(b) * math.Ldexp(r.NormFloat64(), r.IntN(60)-30))
		checkFMA(t, a, b, c)
	}
}

// ulps returns the distance of got from want in units of the last place of want.
func ulps(got float32, want float64) float64 {
	if float64(got) == want || math.IsInf(float64(got), 1) && want > math.MaxFloat32 {
		return 0
	}
	_, e := math.Frexp(want)
	return math.Abs(float64(got)-want) / math.Ldexp(1, max(e-24, -149))
}

func TestExpAccuracy(t *testing.T) {
	eachISA(t, func(t *testing.T, name string) {
		step := uint32(1 << 9)
		if name == "generic" {
			step = 1 << 14
		}
		var x, y [1024]float32
		worst, at := 0.0, float32(0)
		for u := uint32(0); u < 0x43000000; { // up to 128, both signs
			for i := range x {
				x[i] = math.Float32frombits(u | uint32(i&1)<<31)
				u += step / 2 * uint32(i&1+1)
			}
			Exp(y[:], x[:])
			for i := range x {
				if d := ulps(y[i], math.Exp(float64(x[i]))); d > worst {
					worst, at = d, x[i]
				}
			}
		}
		t.Logf("worst error %.3f ulp at %v", worst, at)
		if worst > 1 {
			t.Errorf("error of %.3f ulp at %v (%x)", worst, at, at)
		}
	})
}

func TestExpEdges(t *testing.T) {
	nan := float32(math.NaN())
	eachISA(t, func(t *testing.T, _ string) {
		for _, c := range [][2]float32{
			{0, 1}, {math.Float32frombits(1 << 31), 1}, {-inf, 0}, {inf, inf}, {nan, nan},
			{88.72283, 0x1.ffff08p127}, {88.72284, inf}, {math.MaxFloat32, inf}, {-math.MaxFloat32, 0},
			{-103.97207, 0x1p-149}, {-103.972084, 0}, {0x1p-149, 1}, {-0x1p-149, 1},
		} {
			y := []float32{c[0]}
			Exp(y, y)
			if !same(y[0], c[1]) {
				t.Errorf("Exp(%v) = %x, want %x", c[0], y[0], c[1])
			}
		}
	})
}

// TestDotAccuracy bounds the error by the textbook bound of the summation.
func TestDotAccuracy(t *testing.T) {
	const n = 2880
	r := rand.New(rand.NewPCG(3, 4))
	a, b := make([]float32, n), make([]float32, n)
	fill(r, a, fills["normal"])
	fill(r, b, fills["normal"])
	sum, abs := 0.0, 0.0
	for i := range a {
		p := float64(a[i]) * float64(b[i])
		sum, abs = sum+p, abs+math.Abs(p)
	}
	eachISA(t, func(t *testing.T, _ string) {
		if d := math.Abs(float64(Dot(a, b)) - sum); d > abs*(n/lanes+4)*0x1p-24 {
			t.Errorf("Dot is off by %g", d)
		}
	})
}

func TestDecodeExhaustive(t *testing.T) {
	halves := make([]byte, 2<<16)
	for i := range 1 << 16 {
		halves[2*i], halves[2*i+1] = byte(i), byte(i>>8)
	}
	dst := make([]float32, 1<<16)
	eachISA(t, func(t *testing.T, _ string) {
		DecodeF16(dst, halves)
		for i, got := range dst {
			if want := float16.Frombits(uint16(i)).Float32(); !same(got, want) {
				t.Fatalf("F16 %04x = %x, want %x", i, got, want)
			}
		}
		DecodeBF16(dst, halves)
		for i, got := range dst {
			if want := math.Float32frombits(uint32(i) << 16); !same(got, want) {
				t.Fatalf("BF16 %04x = %x, want %x", i, got, want)
			}
		}
		for s := range 256 {
			DecodeMXFP4(dst[:32], []byte{0x10, 0x32, 0x54, 0x76, 0x98, 0xba, 0xdc, 0xfe, 0, 0, 0, 0, 0, 0, 0, 0}, []byte{byte(s)})
			for c, m := range []float64{0, .5, 1, 1.5, 2, 3, 4, 6, math.Copysign(0, -1), -.5, -1, -1.5, -2, -3, -4, -6} {
				want := float32(math.Ldexp(m, s-127))
				if s == 255 {
					want = float32(math.NaN())
				}
				if !same(dst[c], want) {
					t.Fatalf("MXFP4 code %d scale %d = %x, want %x", c, s, dst[c], want)
				}
			}
		}
	})
}

// TestSignsOfZero pins what differs between instruction sets unless it is
// defined: the padding of a tail and the maximum of both zeros.
func TestSignsOfZero(t *testing.T) {
	zero, negative := float32(0), math.Float32frombits(1<<31)
	x, y, z := make([]float32, 33), make([]float32, 33), make([]float32, 33)
	for i := range x {
		x[i], y[i], z[i] = -0x1p-100, 0x1p-100, negative
	}
	eachISA(t, func(t *testing.T, _ string) {
		for n := 1; n <= len(x); n++ {
			want := zero // a padded lane adds +0
			if n%lanes == 0 {
				want = negative
			}
			if got, def := Dot(x[:n], y[:n]), dotGeneric(x[:n], y[:n]); !same(got, want) || !same(def, want) {
				t.Errorf("n=%d: Dot of products that underflow = %v, by definition %v, want %v", n, got, def, want)
			}
			if got := Max(z[:n]); !same(got, zero) {
				t.Errorf("n=%d: Max = %v, want +0", n, got)
			}
		}
	})
}
