package ternaryop

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/x448/float16"
	"pgregory.net/rapid"

	"github.com/seed-796a8800/tritium/internal/t16"
)

// shapes draws [out, in] and a group that fits.
func shapes(t *rapid.T) (out, in, group int) {
	out = rapid.IntRange(1, 40).Draw(t, "out")
	in = rapid.IntRange(1, 200).Draw(t, "in")
	cols := (in + 15) / 16 * 16
	var fit []int
	for g := 16; g <= cols; g += 16 {
		if cols%g == 0 {
			fit = append(fit, g)
		}
	}
	return out, in, rapid.SampledFrom(fit).Draw(t, "group")
}

func TestPackUnpackIdentity(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		out, in, group := shapes(t)
		groups := (in + 15) / 16 * 16 / group
		codes := rapid.SliceOfN(rapid.Int8Range(-1, 1), out*in, out*in).Draw(t, "codes")
		halves := rapid.SliceOfN(rapid.Uint16Range(0, 0x7BFF), out*groups, out*groups).Draw(t, "scales")
		scales := make([]float32, len(halves))
		for i, h := range halves {
			scales[i] = float16.Frombits(h | uint16(i)<<15).Float32()
		}
		m, err := Pack(codes, scales, out, in, group)
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Validate(); err != nil {
			t.Fatal(err)
		}
		gotCodes, gotScales := m.Unpack()
		if !slices.Equal(gotCodes, codes) || !slices.Equal(gotScales, scales) {
			t.Fatal("Unpack differs from what was packed")
		}
		dense := make([]float32, out*in)
		m.Dequantize(dense, 0, out)
		for i, v := range dense {
			if want := float32(codes[i]) * scales[i/in*groups+i%in/group]; v != want {
				t.Fatalf("weight [%d, %d] = %v, want %v", i/in, i%in, v, want)
			}
		}
		row0 := rapid.IntRange(0, out).Draw(t, "row0")
		part := make([]float32, (out-row0)*in)
		m.Dequantize(part, row0, out)
		if !slices.Equal(part, dense[row0*in:]) {
			t.Fatalf("rows from %d on differ from the whole", row0)
		}
	})
}

// The bytes on disk, written out: they are a file format.
func TestLayoutBytes(t *testing.T) {
	codes, scales := make([]int8, 18*32), make([]float32, 18*2)
	for i := range scales {
		scales[i] = float32(i)
	}
	codes[0], codes[5], codes[31] = 1, -1, 1 // row 0: columns 0, 5, 31
	codes[17*32+2] = 1                       // row 17, column 2
	m, err := Pack(codes, scales, 18, 32, 16)
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Codes) != 2*2*64 || len(m.Scales) != 2*2*16*2 {
		t.Fatalf("%d bytes of codes, %d of scales", len(m.Codes), len(m.Scales))
	}
	for at, want := range map[int]byte{0: 0x56, 1: 0x51, 64 + 3: 0x95, 128 + 4 + 2: 0x56} {
		if m.Codes[at] != want {
			t.Errorf("codes[%d] = %#02x, want %#02x", at, m.Codes[at], want)
		}
		m.Codes[at] = zeroByte
	}
	for at, b := range m.Codes {
		if b != zeroByte {
			t.Errorf("codes[%d] = %#02x, want only zero codes", at, b)
		}
	}
	for r := range 32 {
		for g := range 2 {
			want := float32(0) // padding
			if r < 18 {
				want = float32(2*r + g)
			}
			at := 2 * ((r/16*2+g)*16 + r%16)
			if got := float16.Frombits(uint16(m.Scales[at]) | uint16(m.Scales[at+1])<<8).Float32(); got != want {
				t.Errorf("scale of row %d, group %d = %v, want %v", r, g, got, want)
			}
		}
	}
}

// Scales go to the nearest half float, ties to even.
func TestPackRoundsScales(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.Float32Range(0, 65519).Draw(t, "scale")
		if rapid.Bool().Draw(t, "tie") { // halfway between two half floats
			h := rapid.Uint16Range(0, 0x7BFE).Draw(t, "half")
			s = (float16.Frombits(h).Float32() + float16.Frombits(h+1).Float32()) / 2
		}
		m, err := Pack(make([]int8, 16), []float32{s}, 1, 16, 16)
		if err != nil {
			t.Fatal(err)
		}
		_, scales := m.Unpack()
		h := float16.Fromfloat32(scales[0])
		miss := math.Abs(float64(scales[0]) - float64(s))
		for _, other := range []float16.Float16{h - 1, h + 1} {
			if other > 0x7BFF { // below 0 or above the largest
				continue
			}
			o := math.Abs(float64(other.Float32()) - float64(s))
			if o < miss || o == miss && h&1 != 0 {
				t.Fatalf("%v became %v, %v is nearer or even", s, scales[0], other.Float32())
			}
		}
	})
}

func TestPackRefuses(t *testing.T) {
	nan := float32(math.NaN())
	for _, c := range []struct {
		name           string
		code           int8
		scale          float32
		out, in, group int
		codes, scales  int
		want           string
	}{
		{"code 2", 2, 1, 1, 16, 16, 16, 1, "code [0, 3] is 2"},
		{"code -2", -2, 1, 1, 16, 16, 16, 1, "code [0, 3] is -2"},
		{"NaN scale", 0, nan, 1, 16, 16, 16, 1, "scale [0, 0] is NaN"},
		{"infinite scale", 0, float32(math.Inf(1)), 1, 16, 16, 16, 1, "scale [0, 0] is +Inf"},
		{"scale too large", 0, 65520, 1, 16, 16, 16, 1, "scale [0, 0] is 65520"},
		{"short codes", 0, 1, 1, 16, 16, 15, 1, "15 codes"},
		{"long scales", 0, 1, 1, 16, 16, 16, 2, "2 scales"},
		{"empty", 0, 1, 0, 16, 16, 16, 1, "is empty"},
		{"negative", 0, 1, 1, -16, 16, 16, 1, "is empty"},
		{"group 24", 0, 1, 1, 48, 24, 48, 2, "groups of 24"},
		{"group 0", 0, 1, 1, 48, 0, 48, 2, "groups of 0"},
		{"group does not divide", 0, 1, 1, 48, 32, 48, 2, "groups of 32"},
		{"too wide", 0, 1, 1, 1<<18 + 1, 16, 16, 1, "columns"},
		{"overflow", 0, 1, math.MaxInt, 16, 16, 16, 1, "address space"},
	} {
		t.Run(c.name, func(t *testing.T) {
			codes, scales := make([]int8, c.codes), slices.Repeat([]float32{c.scale}, c.scales)
			codes[3] = c.code
			_, err := Pack(codes, scales, c.out, c.in, c.group)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v, want one with %q", err, c.want)
			}
		})
	}
}

func TestFromBytes(t *testing.T) {
	codes, scales := make([]byte, 2*3*64), make([]byte, 2*3*32)
	for i := range codes {
		codes[i] = zeroByte
	}
	m, err := FromBytes(20, 40, 16, codes, scales)
	if err != nil {
		t.Fatal(err)
	}
	if &m.Codes[0] != &codes[0] || &m.Scales[0] != &scales[0] {
		t.Error("the bytes were copied")
	}
	if err := m.Validate(); err != nil {
		t.Error(err)
	}
	if _, err := FromBytes(20, 40, 16, codes[1:], scales); err == nil {
		t.Error("short codes pass")
	}
	if _, err := FromBytes(20, 40, 16, codes, scales[1:]); err == nil {
		t.Error("short scales pass")
	}
	for shift := 0; shift < 8; shift += 2 {
		codes[101] = zeroByte | 3<<shift
		if err := m.Validate(); err == nil || !strings.Contains(err.Error(), "byte 101") {
			t.Errorf("fourth code at bit %d: %v", shift, err)
		}
	}
	codes[101] = zeroByte
	scales[9] = 0x7C
	if err := m.Validate(); err == nil || !strings.Contains(err.Error(), "scale 4 ") {
		t.Errorf("infinite scale: %v", err)
	}
	m.Scales = m.Scales[:4]
	if m.Validate() == nil {
		t.Error("a matrix with scales missing is valid")
	}
}

func TestGroups(t *testing.T) {
	for _, c := range []struct{ in, want, group int }{
		{2880, 192, 192}, {2880, 128, 96}, {2880, 256, 192}, {2880, 5000, 2880}, {2880, 31, 16}, {2880, 1, 16}, {2880, -5, 16},
		{4096, 192, 128}, {48, 128, 48}, {48, 40, 16}, {1, 64, 16}, {40, 64, 48}, {0, 64, 16}, {640, 128, 128},
	} {
		if got := Groups(c.in, c.want); got != c.group {
			t.Errorf("Groups(%d, %d) = %d, want %d", c.in, c.want, got, c.group)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		in, want := rapid.IntRange(1, 5000).Draw(t, "in"), rapid.IntRange(0, 5000).Draw(t, "want")
		if g := Groups(in, want); g > max(want, 16) {
			t.Fatalf("Groups(%d, %d) = %d", in, want, g)
		} else if _, _, err := Layout(1, in, g); err != nil {
			t.Fatal(err)
		}
	})
}

func TestStack(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var codes, scales []byte
	var each []*Matrix
	for range 3 {
		m := randomMatrix(t, rng, 18, 40, 16)
		each = append(each, m)
		codes, scales = append(codes, m.Codes...), append(scales, m.Scales...)
	}
	s, err := StackFromBytes(3, 18, 40, 16, codes, scales)
	if err != nil {
		t.Fatal(err)
	}
	for e, want := range each {
		got := s.At(e)
		if got.Out != 18 || got.In != 40 || got.Group != 16 || !slices.Equal(got.Codes, want.Codes) || !slices.Equal(got.Scales, want.Scales) {
			t.Errorf("expert %d differs", e)
		}
		if err := got.Validate(); err != nil {
			t.Error(err)
		}
	}
	if a := testing.AllocsPerRun(10, func() { _ = s.At(1) }); a != 0 {
		t.Errorf("At allocates %v times", a)
	}
	for _, bad := range []struct{ e, codes, scales int }{{0, 0, 0}, {-1, len(codes), len(scales)}, {2, len(codes), len(scales)},
		{3, len(codes) - 1, len(scales)}, {3, len(codes), len(scales) - 3}} {
		if _, err := StackFromBytes(bad.e, 18, 40, 16, codes[:bad.codes], scales[:bad.scales]); err == nil {
			t.Errorf("%+v passes", bad)
		}
	}
	for _, e := range []int{-1, 3} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("At(%d) does not panic", e)
				}
			}()
			s.At(e)
		}()
	}
}

func randomMatrix(t testing.TB, rng *rand.Rand, out, in, group int) *Matrix {
	t.Helper()
	codes, scales := make([]int8, out*in), make([]float32, out*((in+15)/16*16/group))
	for i := range codes {
		codes[i] = int8(rng.IntN(3) - 1)
	}
	for i := range scales {
		scales[i] = rng.Float32() + .01
	}
	m, err := Pack(codes, scales, out, in, group)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// The whole path: what was packed, multiplied by the kernels, is the dequantized product in float64.
func TestProductOfPackedMatrix(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for _, c := range []struct{ out, in, group, tokens int }{{1, 1, 16, 1}, {16, 16, 16, 3}, {33, 100, 112, 9}, {50, 250, 64, 31}, {20, 2880, 192, 2}} {
		m := randomMatrix(t, rng, c.out, c.in, c.group)
		dense := make([]float32, c.out*c.in)
		m.Dequantize(dense, 0, c.out)
		bias := make([]float32, c.out)
		for r := range bias {
			bias[r] = rng.Float32()
		}
		var p t16.Panel
		p.Reset(t16.Ternary2, m.Cols(), m.Group, c.tokens)
		q, scale := make([][]int8, c.tokens), make([]float32, c.tokens)
		for i := range c.tokens {
			x := make([]float32, c.in)
			for k := range x {
				x[k] = float32(rng.NormFloat64())
			}
			q[i] = make([]int8, c.in)
			scale[i] = t16.QuantizeRow(q[i], x)
			p.Set(i, x, i)
		}
		w, dst := m.weights(bias), make([]float32, c.tokens*c.out)
		t16.MatMul(dst, c.out, &w, 0, w.Tiles(), &p)
		for i, got := range dst {
			tok, r := i/c.out, i%c.out
			want, size := float64(bias[r]), math.Abs(float64(bias[r]))
			for k, a := range q[tok] {
				v := float64(dense[r*c.in+k]) * float64(a) * float64(scale[tok])
				want, size = want+v, size+math.Abs(v)
			}
			if math.Abs(float64(got)-want) > 1e-6*size {
				t.Fatalf("%+v: token %d row %d = %v, want %v", c, tok, r, got, want)
			}
		}
	}
}

func ExamplePack() {
	codes := []int8{ // two rows of three columns
		1, 0, -1,
		-1, -1, 1,
	}
	m, err := Pack(codes, []float32{0.5, 2}, 2, 3, 16)
	if err != nil {
		fmt.Println(err)
		return
	}
	dense := make([]float32, 6)
	m.Dequantize(dense, 0, 2)
	fmt.Println(dense)
	// Output: [0.5 0 -0.5 -2 -2 2]
}
