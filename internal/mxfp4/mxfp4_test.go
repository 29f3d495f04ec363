package mxfp4

import (
	"encoding/binary"
	"math"
	"testing"

	"pgregory.net/rapid"
)

// codeValue computes a code's value from the E2M1 definition, independent of the table.
func codeValue(code byte) float64 {
	exp, man := int(code>>1&3), float64(code&1)
	v := man * 0.5 // subnormal
	if exp > 0 {
		v = math.Ldexp(1+man*0.5, exp-1)
	}
	if code&8 != 0 {
		return math.Copysign(v, -1)
	}
	return v
}

func sameBits(a, b float32) bool { return math.Float32bits(a) == math.Float32bits(b) }

// TestDecodeSpecVector is the vector of the GPT-OSS format description: bytes 10…1f, scale 121.
func TestDecodeSpecVector(t *testing.T) {
	blocks := make([]byte, 16)
	for i := range blocks {
		blocks[i] = byte(0x10 + i)
	}
	negZero := float32(math.Copysign(0, -1))
	const u = .0078125
	want := []float32{0, u, .0078125, u, .015625, u, .0234375, u, .03125, u, .046875, u, .0625, u, .09375, u,
		negZero, u, -.0078125, u, -.015625, u, -.0234375, u, -.03125, u, -.046875, u, -.0625, u, -.09375, u}
	got := make([]float32, 32)
	DecodeRow(got, blocks, []byte{121})
	for i := range want {
		if !sameBits(got[i], want[i]) {
			t.Errorf("weight %d = %v, want %v", i, got[i], want[i])
		}
	}
}

// TestDecodeAll checks every code under every scale, in both nibbles, against float64 rounded once to float32.
func TestDecodeAll(t *testing.T) {
	blocks := make([]byte, 16*256)
	scales := make([]byte, 256)
	for s := range scales {
		scales[s] = byte(s)
		for c := range 16 { // low nibble c, high nibble 15-c
			blocks[16*s+c] = byte(c | (15-c)<<4)
		}
	}
	dst := make([]float32, 32*256)
	DecodeRow(dst, blocks, scales)
	for s := range 256 {
		for c := range byte(16) {
			for nibble, code := range []byte{c, 15 - c} {
				got := dst[32*s+2*int(c)+nibble]
				exact := math.Ldexp(codeValue(code), s-127)
				want := float32(exact)
				switch {
				case s == 255:
					if !math.IsNaN(float64(got)) {
						t.Fatalf("scale 255 code %d = %v, want NaN", code, got)
					}
				case !sameBits(got, want):
					t.Fatalf("scale %d code %d = %v, want %v", s, code, got, want)
				case math.Abs(exact) <= math.MaxFloat32 && float64(got) != exact:
					t.Fatalf("scale %d code %d = %v is not exact (%v)", s, code, got, exact)
				}
			}
		}
	}
}

func TestValid(t *testing.T) {
	if err := Valid([]byte{0, 127, 254}); err != nil {
		t.Error(err)
	}
	if err := Valid([]byte{0, 255}); err == nil {
		t.Error("scale 255 accepted")
	}
}

func TestLengthsPanic(t *testing.T) {
	for _, n := range [][3]int{{31, 16, 1}, {32, 15, 1}, {32, 16, 2}, {64, 32, 1}} {
		for name, call := range map[string]func(){
			"DecodeRow": func() { DecodeRow(make([]float32, n[0]), make([]byte, n[1]), make([]byte, n[2])) },
			"Encode":    func() { Encode(make([]float32, n[0]), make([]byte, n[1]), make([]byte, n[2])) },
		} {
			func() {
				defer func() {
					if recover() == nil {
						t.Errorf("%s%v did not panic", name, n)
					}
				}()
				call()
			}()
		}
	}
	DecodeRow(nil, nil, nil)
	if err := Encode(nil, nil, nil); err != nil {
		t.Error(err)
	}
}

func TestEncodeRejects(t *testing.T) {
	for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		row := make([]float32, 64)
		row[40] = float32(bad)
		if err := Encode(row, make([]byte, 32), make([]byte, 2)); err == nil {
			t.Errorf("%v accepted", bad)
		}
	}
}

// TestEncodeTies pins every midpoint: the even mantissa wins, and 6 is where values saturate.
func TestEncodeTies(t *testing.T) {
	for _, c := range []struct{ in, want float32 }{
		{0.25, 0}, {0.75, 1}, {1.25, 1}, {1.75, 2}, {2.5, 2}, {3.5, 4}, {5, 4}, {7, 6}, {7.999, 6},
		{math.Nextafter32(0.25, 1), 0.5}, {math.Nextafter32(0.75, 0), 0.5}, {math.Nextafter32(5, 9), 6},
	} {
		row := make([]float32, 32)
		row[0], row[1], row[2] = 4, c.in, -c.in // 4 fixes the scale at 127, a factor of 1
		blocks, scales := make([]byte, 16), make([]byte, 1)
		if err := Encode(row, blocks, scales); err != nil || scales[0] != 127 {
			t.Fatalf("%v: scale %d, error %v", c.in, scales[0], err)
		}
		DecodeRow(row, blocks, scales)
		if row[1] != c.want || row[2] != -c.want {
			t.Errorf("±%v -> %v, %v, want ±%v", c.in, row[1], row[2], c.want)
		}
	}
}

// checkRow asserts the encoder's contract on one row of whole blocks.
func checkRow(t interface{ Fatalf(string, ...any) }, row []float32) {
	n := len(row) / BlockSize
	blocks, scales, back := make([]byte, 16*n), make([]byte, n), make([]float32, len(row))
	if err := Encode(row, blocks, scales); err != nil {
		t.Fatalf("%v", err)
	}
	DecodeRow(back, blocks, scales)
	for g := range n {
		amax := 0.0
		for _, v := range row[32*g : 32*g+32] {
			amax = max(amax, math.Abs(float64(v)))
		}
		want := 0
		if amax > 0 {
			_, e := math.Frexp(amax) // amax in [2^(e-1), 2^e)
			want = max(e-1-2+127, 0)
		}
		if int(scales[g]) != want {
			t.Fatalf("block %d: scale %d, want %d for max %v", g, scales[g], want, amax)
		}
		for i := 32 * g; i < 32*g+32; i++ {
			best := math.Inf(1)
			for c := range byte(16) {
				best = min(best, math.Abs(math.Ldexp(codeValue(c), want-127)-float64(row[i])))
			}
			if d := math.Abs(float64(back[i]) - float64(row[i])); d != best {
				t.Fatalf("weight %d: %v -> %v, off by %v, nearest is off by %v", i, row[i], back[i], d, best)
			}
			if math.Signbit(float64(back[i])) != math.Signbit(float64(row[i])) {
				t.Fatalf("weight %d: %v -> %v lost its sign", i, row[i], back[i])
			}
		}
	}
	checkRoundTrip(t, back)
}

// checkRoundTrip asserts that decoded values survive another encode and decode bit for bit.
func checkRoundTrip(t interface{ Fatalf(string, ...any) }, row []float32) {
	n := len(row) / BlockSize
	blocks, scales, back := make([]byte, 16*n), make([]byte, n), make([]float32, len(row))
	if err := Encode(row, blocks, scales); err != nil {
		t.Fatalf("%v", err)
	}
	DecodeRow(back, blocks, scales)
	for i := range row {
		if !sameBits(row[i], back[i]) {
			t.Fatalf("weight %d: %v -> %v", i, row[i], back[i])
		}
	}
}

func TestEncodeProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		exp := rapid.IntRange(-149, 127).Draw(t, "exponent")
		row := make([]float32, 32*rapid.IntRange(1, 3).Draw(t, "blocks"))
		for i := range row {
			m := rapid.Float64Range(-1.9, 1.9).Draw(t, "mantissa")
			row[i] = float32(math.Ldexp(m, exp-rapid.IntRange(0, 6).Draw(t, "below")))
		}
		checkRow(t, row)
	})
}

// FuzzRoundTrip decodes arbitrary bytes and encodes arbitrary floats.
func FuzzRoundTrip(f *testing.F) {
	seed := make([]byte, 128)
	for i := range seed {
		seed[i] = byte(i * 37)
	}
	f.Add(seed, byte(121))
	f.Add(make([]byte, 128), byte(0))
	f.Add(seed, byte(254))
	f.Fuzz(func(t *testing.T, b []byte, scale byte) {
		if len(b) < 128 {
			return
		}
		row := make([]float32, 32)
		DecodeRow(row, b[:16], []byte{scale})
		if finite(row) {
			checkRoundTrip(t, row)
		} else if err := Encode(row, make([]byte, 16), make([]byte, 1)); err == nil {
			t.Fatalf("scale %d: Encode took NaN or Inf", scale)
		}
		for i := range row {
			row[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
		}
		if finite(row) {
			checkRow(t, row)
		}
	})
}

func finite(row []float32) bool {
	for _, v := range row {
		if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
			return false
		}
	}
	return true
}

// BenchmarkDecodeRow decodes one row of a GPT-OSS expert; bytes are those of the float32 output.
func BenchmarkDecodeRow(b *testing.B) {
	const groups = 90
	blocks, scales, dst := make([]byte, 16*groups), make([]byte, groups), make([]float32, 32*groups)
	for i := range blocks {
		blocks[i] = byte(i * 73)
	}
	for i := range scales {
		scales[i] = 121
	}
	b.SetBytes(int64(4 * len(dst)))
	for b.Loop() {
		DecodeRow(dst, blocks, scales)
	}
}
