package ternaryop

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/x448/float16"
	"pgregory.net/rapid"

	"github.com/seed-796a8800/tritium/internal/t16"
)

// shapes draws [out, in] and a group that fits.
func shapes(t *rapid.T, f Format) (out, in, group int) {
	out = rapid.IntRange(1, 40).Draw(t, "out")
	in = rapid.IntRange(1, 300).Draw(t, "in")
	var fit []int
	for g := 16; g <= f.Cols(in); g += 16 {
		if _, _, err := Layout(f, out, in, g); err == nil {
			fit = append(fit, g)
		}
	}
	return out, in, rapid.SampledFrom(fit).Draw(t, "group")
}

func TestPackUnpackIdentity(t *testing.T) {
	eachFormat(t, func(t *testing.T, f Format) { rapid.Check(t, func(t *rapid.T) { checkIdentity(t, f) }) })
}

func checkIdentity(t *rapid.T, f Format) {
	out, in, group := shapes(t, f)
	groups, p := f.Cols(in)/group, packings[f]
	codes := rapid.SliceOfN(rapid.Int8Range(int8(p.low), int8(p.high)), out*p.planes*in, out*p.planes*in).Draw(t, "codes")
	halves := rapid.SliceOfN(rapid.Uint16Range(0, 0x7BFF), out*p.planes*groups, out*p.planes*groups).Draw(t, "scales")
	scales := make([]float32, len(halves))
	for i, h := range halves {
		scales[i] = float16.Frombits(h | uint16(i)<<15).Float32()
	}
	m, err := Pack(f, codes, scales, out, in, group)
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
	m.DecodeRows(dense, 0, out)
	for i, v := range dense {
		row, k := i/in*p.planes, i%in
		want := float32(codes[row*in+k]) * scales[row*groups+k/group]
		if p.planes == 2 {
			want += float32(float32(codes[(row+1)*in+k]) * scales[(row+1)*groups+k/group])
		}
		if v != want {
			t.Fatalf("weight [%d, %d] = %v, want %v", i/in, i%in, v, want)
		}
	}
	row0 := rapid.IntRange(0, out).Draw(t, "row0")
	n := rapid.IntRange(0, out-row0).Draw(t, "rows")
	part := slices.Repeat([]float32{-7e7}, n*in+1)
	m.DecodeRows(part, row0, n)
	if !slices.Equal(part[:n*in], dense[row0*in:][:n*in]) || part[n*in] != -7e7 {
		t.Fatalf("rows [%d, %d) differ from the whole", row0, row0+n)
	}
}

// Every byte that holds weights comes back from them; what is no byte of the format is found.
func TestBytes(t *testing.T) {
	eachFormat(t, func(t *testing.T, f Format) {
		p := packings[f]
		good := 0
		for i := range 256 {
			w, ok := f.split(byte(i)), true
			for _, v := range w[:p.digits] {
				ok = ok && int(v) >= p.low && int(v) <= p.high
			}
			ok = ok && f.join(w[:p.digits]) == byte(i)
			if ok {
				good++
			}
			for at := range 8 {
				codes := bytes.Repeat([]byte{f.join(nil)}, 24)
				codes[8+at], codes[20] = byte(i), byte(i)
				want := -1
				if !ok {
					want = 8 + at
				}
				if got := f.firstBad(codes); got != want {
					t.Fatalf("byte %#02x at %d: the first bad one is said to be at %d, want %d", i, 8+at, got, want)
				}
			}
		}
		if want := int(math.Pow(float64(p.high-p.low+1), float64(p.digits))); good != want {
			t.Errorf("%d bytes hold weights, want %d", good, want)
		}
	})
}

func TestFormatNames(t *testing.T) {
	eachFormat(t, func(t *testing.T, f Format) {
		if got, err := ParseFormat(f.String()); (got == f && err == nil) != (f < expanded) {
			t.Errorf("ParseFormat(%q) = %v, %v", f.String(), got, err)
		}
	})
	for _, name := range []string{"", "Ternary", "format 6"} {
		if _, err := ParseFormat(name); err == nil || !strings.Contains(err.Error(), strconv.Quote(name)) {
			t.Errorf("ParseFormat(%q): %v", name, err)
		}
	}
	if _, _, err := Layout(99, 16, 16, 16); err == nil || !strings.Contains(err.Error(), "unknown format 99") {
		t.Error(err)
	}
}

// The bytes on disk, written out: they are a file format.
func TestLayoutBytes(t *testing.T) {
	codes, scales := make([]int8, 18*32), make([]float32, 18*2)
	for i := range scales {
		scales[i] = float32(i)
	}
	codes[0], codes[5], codes[31] = 1, -1, 1 // row 0: columns 0, 5, 31
	codes[17*32+2] = 1                       // row 17, column 2
	const zero = 0x55                        // four codes 0
	m, err := Pack(Ternary2, codes, scales, 18, 32, 16)
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
		m.Codes[at] = zero
	}
	for at, b := range m.Codes {
		if b != zero {
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

// The same of the other formats: one weight each in bytes of zeros.
func TestLayoutBytesOfFormats(t *testing.T) {
	for _, c := range []struct {
		f             Format
		r, k          int
		code          int8
		bytes, groups int // of two tiles
		zero          byte
		at            int
		want          byte
	}{
		{Ternary5, 0, 0, 1, 2 * 8 * 64, 2, 121, 0, 122},
		{Ternary5, 0, 19, -1, 2 * 8 * 64, 2, 121, 3, 121 - 81},                     // column 16 + 3 of the block
		{Ternary5, 17, 47, 1, 2 * 8 * 64, 2, 121, 8*64 + 2*64 + 4 + 3, 121 + 3},    // block 2, column 4 + 3
		{Int4, 0, 3, -8, 2 * 20 * 64, 10, 0x88, 3, 0x80},                           // low bits of block 0
		{Int4, 17, 15, 7, 2 * 20 * 64, 10, 0x88, 20*64 + 64 + 4 + 3, 0xF8},         // high bits of block 1
		{Int8, 0, 3, -128, 2 * 40 * 64, 10, 0x80, 3, 0},                            //
		{Int8, 17, 6, 127, 2 * 40 * 64, 10, 0x80, 40*64 + 64 + 4 + 2, 255},         // block 1, column 2
		{Ternary2, 17, 159, -1, 2 * 10 * 64, 10, 0x55, 10*64 + 9*64 + 4 + 3, 0x15}, // block 9, column 12 + 3
	} {
		group := packings[c.f].align
		codes, scales := make([]int8, 18*160), make([]float32, 18*160/group)
		codes[c.r*160+c.k] = c.code
		m, err := Pack(c.f, codes, scales, 18, 160, group)
		if err != nil {
			t.Fatal(err)
		}
		if len(m.Codes) != c.bytes || len(m.Scales) != 2*c.groups*16*2 {
			t.Fatalf("%v: %d bytes of codes, %d of scales", c.f, len(m.Codes), len(m.Scales))
		}
		for at, b := range m.Codes {
			if want := map[bool]byte{true: c.want, false: c.zero}[at == c.at]; b != want {
				t.Errorf("%v, code [%d, %d] = %d: byte %d is %#02x, want %#02x", c.f, c.r, c.k, c.code, at, b, want)
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
		m, err := Pack(Ternary2, make([]int8, 16), []float32{s}, 1, 16, 16)
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
		f              Format
		code           int8
		scale          float32
		out, in, group int
		codes, scales  int
		want           string
	}{
		{"code 2", Ternary2, 2, 1, 1, 16, 16, 16, 1, "code [0, 3] is 2"},
		{"code -2", Ternary2, -2, 1, 1, 16, 16, 16, 1, "code [0, 3] is -2"},
		{"NaN scale", Ternary2, 0, nan, 1, 16, 16, 16, 1, "scale [0, 0] is NaN"},
		{"infinite scale", Ternary2, 0, float32(math.Inf(1)), 1, 16, 16, 16, 1, "scale [0, 0] is +Inf"},
		{"scale too large", Ternary2, 0, 65520, 1, 16, 16, 16, 1, "scale [0, 0] is 65520"},
		{"short codes", Ternary2, 0, 1, 1, 16, 16, 15, 1, "15 codes"},
		{"long scales", Ternary2, 0, 1, 1, 16, 16, 16, 2, "2 scales"},
		{"empty", Ternary2, 0, 1, 0, 16, 16, 16, 1, "is empty"},
		{"negative", Ternary2, 0, 1, 1, -16, 16, 16, 1, "is empty"},
		{"group 24", Ternary2, 0, 1, 1, 48, 24, 48, 2, "groups of 24"},
		{"group 0", Ternary2, 0, 1, 1, 48, 0, 48, 2, "groups of 0"},
		{"group does not divide", Ternary2, 0, 1, 1, 48, 32, 48, 2, "groups of 32"},
		{"too wide", Ternary2, 0, 1, 1, 1<<18 + 1, 16, 16, 1, "columns"},
		{"overflow", Ternary2, 0, 1, math.MaxInt, 16, 16, 16, 1, "address space"},
		{"overflow of bytes", Int8, 0, 1, math.MaxInt / 16, 16, 16, 16, 1, "address space"},
		{"five in a byte, code 2", Ternary5, 2, 1, 1, 80, 80, 80, 1, "code [0, 3] is 2, none of -1 to 1"},
		{"five in a byte, group 40", Ternary5, 0, 1, 1, 80, 40, 80, 2, "take a multiple of 80 that divides 80"},
		{"five in a byte, group 160", Ternary5, 0, 1, 1, 240, 160, 240, 2, "groups of 160 do not fit 240 columns of ternary1.6"},
		{"five in a byte, too wide", Ternary5, 0, 1, 1, 1<<18 - 1, 80, 80, 1, "columns"},
		{"4 bits, code 8", Int4, 8, 1, 1, 16, 16, 16, 1, "code [0, 3] is 8, none of -8 to 7"},
		{"4 bits, code -9", Int4, -9, 1, 1, 16, 16, 16, 1, "code [0, 3] is -9"},
		{"8 bits, too wide", Int8, 0, 1, 1, 1<<16 + 1, 16, 16, 1, "at most 65536"},
		{"two planes, codes of one", Planes2, 0, 1, 1, 16, 16, 16, 2, "16 codes and 2 scales for a two-planes matrix [1, 16]"},
		{"two planes, scales of one", Planes2, 0, 1, 1, 16, 16, 32, 1, "32 codes and 1 scales"},
		{"two planes, code 2", Planes5, 2, 1, 1, 80, 80, 160, 2, "code [0, 3] is 2, none of -1 to 1"},
		{"two planes, too wide", Planes2, 0, 1, 1, 1<<17 + 1, 16, 16, 1, "at most 131072"},
		{"no format", 99, 0, 1, 1, 16, 16, 16, 1, "unknown format 99"},
	} {
		t.Run(c.name, func(t *testing.T) {
			codes, scales := make([]int8, c.codes), slices.Repeat([]float32{c.scale}, c.scales)
			codes[3] = c.code
			_, err := Pack(c.f, codes, scales, c.out, c.in, c.group)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v, want one with %q", err, c.want)
			}
		})
	}
}

func TestFromBytes(t *testing.T) {
	const zero = 0x55
	codes, scales := make([]byte, 2*3*64), make([]byte, 2*3*32)
	for i := range codes {
		codes[i] = zero
	}
	m, err := FromBytes(Ternary2, 20, 40, 16, codes, scales)
	if err != nil {
		t.Fatal(err)
	}
	if &m.Codes[0] != &codes[0] || &m.Scales[0] != &scales[0] {
		t.Error("the bytes were copied")
	}
	if err := m.Validate(); err != nil {
		t.Error(err)
	}
	if _, err := FromBytes(Ternary2, 20, 40, 16, codes[1:], scales); err == nil {
		t.Error("short codes pass")
	}
	if _, err := FromBytes(Ternary2, 20, 40, 16, codes, scales[1:]); err == nil {
		t.Error("short scales pass")
	}
	for shift := 0; shift < 8; shift += 2 {
		codes[101] = zero | 3<<shift
		if err := m.Validate(); err == nil || !strings.Contains(err.Error(), "byte 101") {
			t.Errorf("fourth code at bit %d: %v", shift, err)
		}
	}
	codes[101] = zero
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
	for _, c := range []struct {
		f               Format
		in, want, group int
	}{
		{Ternary2, 2880, 192, 192}, {Ternary2, 2880, 128, 96}, {Ternary2, 2880, 256, 192}, {Ternary2, 2880, 5000, 2880},
		{Ternary2, 2880, 31, 16}, {Ternary2, 2880, 1, 16}, {Ternary2, 2880, -5, 16}, {Ternary2, 4096, 192, 128}, {Ternary2, 48, 128, 48},
		{Ternary2, 48, 40, 16}, {Ternary2, 1, 64, 16}, {Ternary2, 40, 64, 48}, {Ternary2, 0, 64, 16}, {Ternary2, 640, 128, 128},
		{Ternary5, 2880, 320, 320}, {Ternary5, 2880, 192, 160}, {Ternary5, 2880, 128, 80}, {Ternary5, 4096, 320, 320}, {Ternary5, 4096, 5000, 4160},
		{Ternary5, 4096, 1, 80}, {Ternary5, 1, 64, 80}, {Ternary5, 192, 160, 80}, {Ternary5, 192, 240, 240}, {Int4, 2880, 64, 64}, {Int4, 192, 100, 96},
		{Int8, 2880, 2880, 2880},
	} {
		if got := c.f.Groups(c.in, c.want); got != c.group {
			t.Errorf("%v: Groups(%d, %d) = %d, want %d", c.f, c.in, c.want, got, c.group)
		}
	}
	eachFormat(t, func(t *testing.T, f Format) {
		rapid.Check(t, func(t *rapid.T) {
			in, want := rapid.IntRange(1, 5000).Draw(t, "in"), rapid.IntRange(0, 5000).Draw(t, "want")
			if g := f.Groups(in, want); g > max(want, packings[f].align) {
				t.Fatalf("Groups(%d, %d) = %d", in, want, g)
			} else if _, _, err := Layout(f, 1, in, g); err != nil {
				t.Fatal(err)
			}
		})
	})
}

func TestStack(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var codes, scales []byte
	var each []*Matrix
	for range 3 {
		m := randomMatrix(t, rng, Ternary2, 18, 40, 16)
		each = append(each, m)
		codes, scales = append(codes, m.Codes...), append(scales, m.Scales...)
	}
	s, err := StackFromBytes(Ternary2, 3, 18, 40, 16, codes, scales)
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
		if _, err := StackFromBytes(Ternary2, bad.e, 18, 40, 16, codes[:bad.codes], scales[:bad.scales]); err == nil {
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

// Expanded weights are the same weights, whatever the split over goroutines.
func TestExpand(t *testing.T) {
	for _, f := range []Format{Ternary5, Planes5} {
		t.Run(f.String(), func(t *testing.T) { checkExpand(t, f) })
	}
}

func checkExpand(t *testing.T, f Format) {
	rng := rand.New(rand.NewPCG(8, 9))
	for _, c := range []struct{ e, out, in, group int }{{1, 1, 1, 80}, {1, 40, 192, 240}, {3, 33, 100, 80}, {2, 16, 4096, 320}, {1, 9000, 2880, 320}} {
		s, _ := randomStack(t, rng, f, c.e, c.out, c.in, c.group)
		x, err := s.Expand(make([]byte, s.ExpandedBytes()))
		if err != nil {
			t.Fatal(err)
		}
		for e := range c.e {
			five, two := s.At(e), x.At(e)
			if err := two.Validate(); err != nil {
				t.Fatal(err)
			}
			codes, scales := five.Unpack()
			gotCodes, gotScales := two.Unpack()
			if !slices.Equal(gotCodes, codes) || !slices.Equal(gotScales, scales) {
				t.Fatalf("%+v: expert %d changed", c, e)
			}
		}
		if _, err := s.Expand(make([]byte, s.ExpandedBytes()-1)); err == nil {
			t.Error("expanded into too few bytes")
		}
		if _, err := x.Expand(make([]byte, x.ExpandedBytes())); err == nil || !strings.Contains(err.Error(), "want ternary1.6") {
			t.Errorf("expanded twice: %v", err)
		}
		s.Codes = s.Codes[:len(s.Codes)-1]
		if _, err := s.Expand(make([]byte, s.ExpandedBytes())); err == nil {
			t.Error("expanded a broken stack")
		}
	}
}

// The whole path: what was packed, multiplied by the kernels, is the dequantized product in float64.
func TestProductOfPackedMatrix(t *testing.T) {
	eachFormat(t, func(t *testing.T, f Format) {
		rng := rand.New(rand.NewPCG(3, 4))
		for _, c := range []struct{ out, in, group, tokens int }{{1, 1, 16, 1}, {16, 16, 16, 3}, {33, 100, 112, 9}, {50, 250, 64, 31}, {20, 2880, 192, 2}} {
			checkProduct(t, rng, f, c.out, c.in, f.Groups(c.in, c.group), c.tokens)
		}
	})
}

func checkProduct(t *testing.T, rng *rand.Rand, f Format, out, in, group, tokens int) {
	m, dense := drawMatrix(t, rng, f, out, in, group)
	bias := make([]float32, out)
	for r := range bias {
		bias[r] = rng.Float32()
	}
	var p t16.Panel
	p.Reset(packings[f].kernel, packings[f].planes*m.Cols(), m.Group, tokens)
	q, scale := make([][]int8, tokens), make([]float32, tokens)
	for i := range tokens {
		x := random(rng, in)
		q[i] = make([]int8, in)
		scale[i] = t16.QuantizeRow(q[i], x)
		p.SetRepeated(i, x, m.Cols(), i)
	}
	w, dst := m.weights(bias), make([]float32, tokens*out)
	t16.MatMul(dst, out, &w, 0, w.Tiles(), &p)
	for i, got := range dst {
		tok, r := i/out, i%out
		want, size := float64(bias[r]), math.Abs(float64(bias[r]))
		for k, a := range q[tok] {
			v := float64(dense[r*in+k]) * float64(a) * float64(scale[tok])
			want, size = want+v, size+math.Abs(v)
		}
		if math.Abs(float64(got)-want) > 1e-6*size {
			t.Fatalf("[%d, %d] in groups of %d: token %d row %d = %v, want %v", out, in, group, tok, r, got, want)
		}
	}
}

func ExamplePack() {
	codes := []int8{ // two rows of three columns
		1, 0, -1,
		-1, -1, 1,
	}
	m, err := Pack(Ternary2, codes, []float32{0.5, 2}, 2, 3, 16)
	if err != nil {
		fmt.Println(err)
		return
	}
	dense := make([]float32, 6)
	m.DecodeRows(dense, 0, 2)
	fmt.Println(dense)
	// Output: [0.5 0 -0.5 -2 -2 2]
}
