package safetensors

import (
	"encoding/binary"
	"math"
	"testing"
)

// halfValue computes a binary16's value from its definition.
func halfValue(h uint16) float64 {
	exp, man := int(h>>10&31), float64(h&1023)
	v := math.Ldexp(man, -24)
	switch {
	case exp == 31 && man == 0:
		v = math.Inf(1)
	case exp == 31:
		return math.NaN()
	case exp > 0:
		v = math.Ldexp(1024+man, exp-25)
	}
	if h>>15 == 1 {
		v = math.Copysign(v, -1)
	}
	return v
}

func TestHalfAllValues(t *testing.T) {
	data := make([]byte, 2<<16)
	for h := range 1 << 16 {
		binary.LittleEndian.PutUint16(data[2*h:], uint16(h))
	}
	got, err := Tensor{Dtype: F16, Shape: []int{1 << 16}, Data: data}.Float32s()
	if err != nil {
		t.Fatal(err)
	}
	for h, g := range got {
		want := halfValue(uint16(h))
		if math.IsNaN(want) {
			if !math.IsNaN(float64(g)) {
				t.Fatalf("%#04x = %v, want NaN", h, g)
			}
		} else if math.Float64bits(float64(g)) != math.Float64bits(want) {
			t.Fatalf("%#04x = %v, want %v", h, g, want)
		}
	}
}

func TestDecodeFloat32(t *testing.T) {
	values := []float64{0, math.Copysign(0, -1), 1, -1.5, 0.0078125, 65280, math.Inf(-1), 0x1p-133}
	bf16, f32, f64 := []byte{}, []byte{}, []byte{}
	for _, v := range values {
		bits := math.Float32bits(float32(v)) // every value above fits bfloat16
		bf16 = binary.LittleEndian.AppendUint16(bf16, uint16(bits>>16))
		f32 = binary.LittleEndian.AppendUint32(f32, bits)
		f64 = binary.LittleEndian.AppendUint64(f64, math.Float64bits(v))
	}
	for d, data := range map[Dtype][]byte{BF16: bf16, F32: f32, F64: f64} {
		unaligned := append(make([]byte, 1, 1+len(data)), data...)[1:]
		x := Tensor{Dtype: d, Shape: []int{2, 4}, Data: unaligned}
		all, err := x.Float32s()
		if err != nil || len(all) != x.Len() {
			t.Fatalf("%s: %d values, %v", d, len(all), err)
		}
		for from := range len(values) + 1 {
			for n := range len(values) - from + 1 {
				dst := make([]float32, n)
				if err := x.DecodeFloat32(dst, from); err != nil {
					t.Fatal(err)
				}
				for i, g := range dst {
					if w := float32(values[from+i]); math.Float32bits(g) != math.Float32bits(w) || g != all[from+i] {
						t.Fatalf("%s[%d] = %v, want %v", d, from+i, g, w)
					}
				}
			}
		}
		for _, bad := range [][2]int{{-1, 1}, {8, 1}, {9, 0}, {0, 9}, {math.MaxInt, 1}, {math.MinInt, 0}} {
			if x.DecodeFloat32(make([]float32, bad[1]), bad[0]) == nil {
				t.Errorf("%s: range %v accepted", d, bad)
			}
		}
		dst := make([]float32, 3)
		if n := testing.AllocsPerRun(10, func() { x.DecodeFloat32(dst, 2) }); n != 0 {
			t.Errorf("%s: %v allocations", d, n)
		}
	}
}

func TestFloat32sOtherDtypes(t *testing.T) {
	for _, d := range []Dtype{U8, I8, I16, U16, I32, U32, I64, U64, Bool, F8E4M3, F8E5M2, "FP4", ""} {
		if _, err := (Tensor{Name: "x", Dtype: d, Shape: []int{8}, Data: make([]byte, 64)}).Float32s(); err == nil {
			t.Errorf("%s: no error", d)
		}
	}
}

func TestF64Rounds(t *testing.T) {
	data := binary.LittleEndian.AppendUint64(nil, math.Float64bits(1e300))
	data = binary.LittleEndian.AppendUint64(data, math.Float64bits(0.1))
	got, err := Tensor{Dtype: F64, Shape: []int{2}, Data: data}.Float32s()
	if err != nil || !math.IsInf(float64(got[0]), 1) || got[1] != float32(0.1) {
		t.Fatalf("%v, %v", got, err)
	}
}
