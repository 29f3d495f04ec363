package t16

import (
	"encoding/binary"
	"testing"
)

// Each byte of a paired strip is where the definition says, and each place is taken once.
func TestSpreadPaired(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		for _, f := range []Format{Ternary2, Int4, Int8} {
			for pairs := 1; pairs <= 5; pairs++ {
				spreadsPairs(t, f, pairs, 4)
			}
		}
	})
}

func spreadsPairs(t *testing.T, f Format, pairs, width int) {
	k := 2 * pairs * f.BlockCols()
	dst := make([]uint32, k/4*width)
	want := make(map[int]byte)
	for token := range width {
		q := make([]byte, k)
		var sum int32
		for i := range q {
			q[i] = byte(token*k + i - 128)
			sum += int32(int8(q[i]))
			block, col := i/f.BlockCols(), i%f.BlockCols()
			dword := ((block/2*f.BlockCols()/4+col/4)*width+token)*2 + block%2
			want[4*dword+i%4] = q[i]
			if got := pairedAt(f, width, i/4) + 2*token; got != dword {
				t.Errorf("format %d: pairedAt column %d = %d, want %d", f, i, got, dword)
			}
		}
		if got := spreadPaired(f, dst[2*token:], width, q); got != sum {
			t.Errorf("format %d, %d pairs, token %d: sum %d, want %d", f, pairs, token, got, sum)
		}
	}
	if len(want) != 4*len(dst) {
		t.Fatalf("format %d: %d places of %d", f, len(want), 4*len(dst))
	}
	for at, b := range want {
		if got := byte(dst[at/4] >> (8 * (at % 4))); got != b {
			t.Errorf("format %d, %d pairs: byte %d is %d, want %d", f, pairs, at, got, b)
		}
	}
}

// Every length and stride, sums to the extremes, and nothing between the dwords.
func TestSpread(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		for n := 0; n <= quantChunk; n += 4 {
			for _, stride := range []int{1, 2, 3, 8, 24} {
				for fill, step := range map[int]int{-128: 0, 127: 0, 5: 37} {
					q, dst := make([]byte, n), make([]uint32, (n/4+1)*stride)
					var want int32
					for i := range q {
						q[i] = byte(fill + i*step)
						want += int32(int8(q[i]))
					}
					if got := spread(dst, stride, q); got != want {
						t.Fatalf("%d bytes of %d: sum %d, want %d", n, fill, got, want)
					}
					for at, v := range dst {
						k := at / stride * 4
						if in := at%stride == 0 && k < n; in && v != binary.LittleEndian.Uint32(q[k:]) || !in && v != 0 {
							t.Fatalf("%d bytes %d apart: dword %d is %08x", n, stride, at, v)
						}
					}
				}
			}
		}
	})
}
