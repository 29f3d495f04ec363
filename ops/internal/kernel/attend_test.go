package kernel

import (
	"fmt"
	"testing"
)

// Every head size up to three vectors and the usual ones, odd numbers of tiles,
// operands that end at an inaccessible page.
func TestAttendScores(t *testing.T) {
	qm, km, dm := newArena(t, 2), newArena(t, 16), newArena(t, 3)
	eachISA(t, func(t *testing.T, _ string) {
		r := newRand()
		for _, d := range append(seq(1, 50), 64, 128) {
			for tiles := range 6 {
				for values := range fills {
					q, k := qm.floats(AttendRows*d, atEnd), km.floats(tiles*AttendTile*d, atEnd)
					fill(r, q, fills[values])
					fill(r, k, fills[values])
					ldd := tiles*AttendTile + 3
					want := make([]float32, (AttendRows-1)*ldd+tiles*AttendTile)
					fill(r, want, fills["normal"])
					dm.guard()
					dst := dm.floats(len(want), atEnd)
					copy(dst, want)
					AttendScores(dst, ldd, q, k, d, tiles)
					attendScoresGeneric(want, ldd, q, k, d, tiles)
					if i := firstDiff(dst, want); i >= 0 {
						t.Fatalf("d=%d tiles=%d %s: [%d, %d] = %x, want %x", d, tiles, values, i/ldd, i%ldd, dst[i], want[i])
					}
					if !dm.intact(len(dst), atEnd) {
						t.Fatalf("d=%d tiles=%d: wrote outside dst", d, tiles)
					}
				}
			}
		}
	})
}

func seq(from, to int) (s []int) {
	for i := from; i <= to; i++ {
		s = append(s, i)
	}
	return s
}

func TestAttendValues(t *testing.T) {
	wm, vm, dm := newArena(t, 2), newArena(t, 10), newArena(t, 2)
	eachISA(t, func(t *testing.T, _ string) {
		r := newRand()
		for _, width := range []int{16, 32, 48, 64, 128} {
			for n := range AttendBlock + 1 {
				for values := range fills {
					if n > 20 && n < AttendBlock && values != "normal" {
						continue
					}
					ldw := n + 1
					w, v := wm.floats((AttendRows-1)*ldw+n, atEnd), vm.floats(n*width, atEnd)
					fill(r, w, fills[values])
					fill(r, v, fills[values])
					want := make([]float32, AttendRows*width)
					fill(r, want, fills[values])
					dm.guard()
					dst := dm.floats(len(want), atEnd)
					copy(dst, want)
					AttendValues(dst, w, ldw, v, n, width)
					if n > 0 {
						attendValuesGeneric(want, w, ldw, v, n, width)
					}
					if i := firstDiff(dst, want); i >= 0 {
						t.Fatalf("n=%d width=%d %s: [%d, %d] = %x, want %x", n, width, values, i/width, i%width, dst[i], want[i])
					}
					if !dm.intact(len(dst), atEnd) {
						t.Fatalf("n=%d width=%d: wrote outside dst", n, width)
					}
				}
			}
		}
	})
}

func TestAttendWrongLengthsPanic(t *testing.T) {
	x := make([]float32, 8*64)
	for i, f := range []func(){
		func() { AttendScores(x, 16, x[:8], x[:16], 0, 1) },
		func() { AttendScores(x, 16, x[:8], x[:16], 1, -1) },
		func() { AttendScores(x, 16, x[:9], x[:16], 1, 1) },
		func() { AttendScores(x, 16, x[:8], x[:17], 1, 1) },
		func() { AttendScores(x, 15, x[:8], x[:16], 1, 1) },
		func() { AttendScores(x[:127], 16, x[:8], x[:16], 1, 1) },
		func() { AttendValues(x[:128], x, 1, x[:16], -1, 16) },
		func() { AttendValues(x[:64], x, 1, x[:8], 1, 8) },
		func() { AttendValues(x[:0], x, 1, x[:0], 1, 0) },
		func() { AttendValues(x[:127], x, 1, x[:16], 1, 16) },
		func() { AttendValues(x[:128], x, 1, x[:17], 1, 16) },
		func() { AttendValues(x[:128], x, 0, x[:16], 1, 16) },
		func() { AttendValues(x[:128], x[:7], 1, x[:16], 1, 16) },
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			f()
		})
	}
}

// BenchmarkAttend is one panel over positions that no cache holds (context
// 8192), and over a block that the first one does.
func BenchmarkAttend(b *testing.B) {
	const d = 64
	eachISA(b, func(b *testing.B, name string) {
		for _, n := range []int{AttendBlock, 8192} {
			q, k, w, o := make([]float32, AttendRows*d), make([]float32, n*d), make([]float32, AttendRows*(n+16)), make([]float32, AttendRows*d)
			fill(newRand(), k, fills["normal"])
			b.Run(fmt.Sprintf("scores/positions=%d", n), func(b *testing.B) {
				benchAttend(b, name, n*d, func() { AttendScores(w, n+16, q, k, d, n/AttendTile) })
			})
			b.Run(fmt.Sprintf("values/positions=%d", n), func(b *testing.B) {
				benchAttend(b, name, n*d, func() {
					for p := 0; p < n; p += AttendBlock {
						AttendValues(o, w[p:], n+16, k[p*d:(p+AttendBlock)*d], AttendBlock, d)
					}
				})
			})
		}
	})
}

func benchAttend(b *testing.B, name string, floats int, f func()) {
	best := peak(name)
	b.SetBytes(int64(4 * floats))
	for range b.N {
		f()
	}
	rate := float64(AttendRows*floats) * float64(b.N) / float64(b.Elapsed().Nanoseconds())
	b.ReportMetric(rate, "GMAC/s")
	if best > 0 {
		b.ReportMetric(100*rate/best, "%peak")
	}
}
