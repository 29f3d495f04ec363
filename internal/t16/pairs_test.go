package t16

import "testing"

// Each byte of a paired strip is where the definition says, and each place is taken once.
func TestSpreadPaired(t *testing.T) {
	const width = 4
	for _, f := range []Format{Ternary2, Int4, Int8} {
		k := 6 * f.BlockCols()
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
				t.Errorf("format %d, token %d: sum %d, want %d", f, token, got, sum)
			}
		}
		if len(want) != 4*len(dst) {
			t.Fatalf("format %d: %d places of %d", f, len(want), 4*len(dst))
		}
		for at, b := range want {
			if got := byte(dst[at/4] >> (8 * (at % 4))); got != b {
				t.Errorf("format %d: byte %d is %d, want %d", f, at, got, b)
			}
		}
	}
}
