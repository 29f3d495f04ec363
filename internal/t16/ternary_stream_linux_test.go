package t16

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/seed-796a8800/tritium/internal/readprobe"
)

// hugePages is such memory, full of bytes that Ternary5 has.
func hugePages(b *testing.B, size int) []byte {
	mem := largePages(b, size)
	for i := range mem {
		mem[i] = byte(i % 81 * 3)
	}
	return mem
}

// onThreads runs f(0..n-1) on locked threads, who take the numbers in turn as those of a thread pool do, and returns
// how long all of it took.
func streamOnThreads(threads, n int, f func(i int)) time.Duration {
	var ready, done sync.WaitGroup
	var next atomic.Int64
	begin := make(chan struct{})
	for range threads {
		ready.Add(1)
		done.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			ready.Done()
			<-begin
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				f(int(i))
			}
		})
	}
	ready.Wait()
	start := time.Now()
	close(begin)
	done.Wait()
	return time.Since(start)
}

// BenchmarkStream is decoding: weights that come from memory, eight tiles a call, and beside it the plain read of as
// many bytes, by turns so that both meet the same neighbours.
func BenchmarkStream(b *testing.B) {
	const size, chunk = 1 << 30, 8
	mem := hugePages(b, size)
	words := unsafe.Slice((*uint64)(unsafe.Pointer(&mem[0])), size/8)
	for _, c := range []struct {
		format   Format
		k, group int
	}{{Ternary2, 2880, 192}, {Ternary2, 2880, 64}, {Ternary5, 2880, 320}, {Ternary5, 2880, 160}} {
		tile := c.format.tileBytes(c.k) + c.k/c.group*TileRows*scaleBytes
		w := &Weights{Format: c.format, Out: size / tile / chunk * chunk * TileRows, K: c.k, Group: c.group}
		w.Codes = mem[:w.Tiles()*c.format.tileBytes(c.k)]
		w.Scales = mem[len(w.Codes):][:w.Tiles()*c.k/c.group*TileRows*scaleBytes]
		for _, tokens := range []int{1, 2, 4} {
			for _, threads := range []int{1, 2} {
				b.Run(fmt.Sprintf("format=%d/group=%d/tokens=%d/threads=%d", c.format, c.group, tokens, threads), func(b *testing.B) {
					var p Panel
					p.Reset(c.format, c.k, c.group, tokens)
					for i := range tokens {
						p.Set(i, randomRow(rand.New(rand.NewPCG(2, 2)), c.k), i)
					}
					dst := make([]float32, tokens*w.Out)
					bytes := len(w.Codes) + len(w.Scales)
					var mul, read time.Duration
					for b.Loop() {
						read += streamOnThreads(threads, w.Tiles()/chunk, func(i int) {
							at := i * chunk * tile / 8
							readprobe.Xor(words[at : at+chunk*tile/8])
						})
						mul += streamOnThreads(threads, w.Tiles()/chunk, func(i int) {
							MatMul(dst, w.Out, w, i*chunk, (i+1)*chunk, &p)
						})
					}
					gbs := func(d time.Duration) float64 { return float64(b.N) * float64(bytes) / d.Seconds() / 1e9 }
					b.ReportMetric(gbs(mul), "GB/s")
					b.ReportMetric(gbs(read), "read-GB/s")
					b.ReportMetric(100*gbs(mul)/gbs(read), "%read")
				})
			}
		}
	}
}
