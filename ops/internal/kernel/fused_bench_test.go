package kernel

import (
	"fmt"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"
)

// coldBytes is more than any cache: a benchmark walks that much of distinct
// weights before it meets the same again.
const coldBytes = 640 << 20

// blockOfRows is how many rows a thread takes at a time, as the operators do.
const blockOfRows = 60

// parallel runs f for every i < n on some threads.
func parallel(threads, n int, f func(worker, i int)) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for w := range threads {
		wg.Go(func() {
			runtime.LockOSThread()
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				f(w, i)
			}
		})
	}
	wg.Wait()
}

// read reads memory with as many threads.
func read(threads int, mem []float32) {
	const block = 64 << 10
	parallel(threads, len(mem)/block, func(_, i int) { AbsMax(mem[i*block : (i+1)*block]) })
}

// coldWeights is as many [rows, cols] matrices as coldBytes holds, in order of
// their blocks, on one backing memory.
type coldWeights struct {
	storedFormat
	mem        []float32
	w          storedWeights // of all rows of all matrices
	rows, cols int
}

func newColdWeights(f storedFormat, mem []float32, rows, cols int) coldWeights {
	copies := max(1, coldBytes/(rows*cols*f.bits/8))
	n := copies * rows
	w := storedWeights{n: n, k: cols}
	w.codes = unsafe.Slice((*byte)(unsafe.Pointer(&mem[0])), n*cols*f.bits/8)
	w.scales = make([]byte, f.scales(w))
	for i := range w.scales {
		w.scales[i] = 127
	}
	return coldWeights{f, mem, w, n, cols}
}

// block returns a block of rows as weights of their own.
func (c coldWeights) block(i int) storedWeights {
	lo, hi := i*blockOfRows, min((i+1)*blockOfRows, c.rows)
	part := func(n int) (int, int) { return n / c.rows * lo, n / c.rows * hi }
	w := storedWeights{n: hi - lo, k: c.cols}
	a, b := part(len(c.w.codes))
	w.codes = c.w.codes[a:b]
	a, b = part(len(c.w.scales))
	w.scales = c.w.scales[a:b]
	return w
}

// BenchmarkMulRows reports GB/s of weights that come from memory, and what part
// that is of reading memory, measured between the iterations. An iteration is
// one region; a run of less than coldBytes/regionBytes of them leaves some of
// the weights in the cache from the run before.
func BenchmarkMulRows(b *testing.B) {
	mem := make([]float32, (201088*2880*2+coldBytes)/4)
	for i := range mem {
		mem[i] = math.Float32frombits(0x3F803F80 + uint32(i)&0x000F000F)
	}
	eachISA(b, func(b *testing.B, name string) {
		if name == "generic" {
			b.Skip("seconds a product")
		}
		for _, s := range []struct {
			format     string
			rows, cols int
		}{
			{"bf16", 4096, 2880}, {"mxfp4", 5760, 2880},
			{"bf16", 201088, 2880},
		} {
			for _, f := range storedFormats {
				if f.name != s.format {
					continue
				}
				for _, m := range []int{1, 4, 8, 9} {
					for threads := 1; threads <= 2; threads++ {
						b.Run(fmt.Sprintf("format=%s/rows=%d/cols=%d/tokens=%d/threads=%d", s.format, s.rows, s.cols, m, threads), func(b *testing.B) {
							benchMulRows(b, newColdWeights(f, mem, s.rows, s.cols), m, threads)
						})
					}
				}
			}
		}
	})
}

// regionBytes is how much memory is read, and how much of the weights then
// multiplied, in one turn: a few milliseconds each.
const regionBytes = 16 << 20

func benchMulRows(b *testing.B, c coldWeights, m, threads int) {
	x := make([]float32, m*c.cols)
	fill(newRand(), x, fills["normal"])
	dst, scratch := make([]float32, m*c.rows), make([][]float32, threads)
	for w := range scratch {
		scratch[w] = make([]float32, blockOfRows*c.cols)
	}
	bytesPerRow := (len(c.w.codes) + len(c.w.scales)) / c.rows
	blocks := regionBytes / (bytesPerRow * blockOfRows)
	region := blocks * blockOfRows * bytesPerRow
	b.SetBytes(int64(region))
	var times, reads []float64
	at, cold := 0, 0
	b.ResetTimer()
	for range b.N {
		b.StopTimer()
		start := time.Now()
		read(threads, c.mem[cold:cold+region/4])
		reads = append(reads, float64(time.Since(start).Nanoseconds()))
		b.StartTimer()
		start = time.Now()
		parallel(threads, blocks, func(worker, i int) {
			w := c.block(at + i)
			c.mul(dst[(at+i)*blockOfRows:], c.rows, x, m, w, scratch[worker])
		})
		times = append(times, float64(time.Since(start).Nanoseconds()))
		if at += blocks; (at+blocks)*blockOfRows > c.rows {
			at = 0
		}
		if cold += region / 4; cold+region/4 > len(c.mem) {
			cold = 0
		}
	}
	rate, read := float64(region)/quarter(times), float64(region)/quarter(reads)
	b.ReportMetric(rate, "GB/s")
	b.ReportMetric(read, "read-GB/s")
	b.ReportMetric(100*rate/read, "%read")
}
