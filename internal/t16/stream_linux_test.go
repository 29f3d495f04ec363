package t16

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/seed-796a8800/tritium/internal/largepages"
	"github.com/seed-796a8800/tritium/internal/readprobe"
)

// streamBytes is more than the caches of any machine that this runs on hold.
const streamBytes = 768 << 20

// largePages is memory that reads as a mapped file in the page cache may.
func largePages(b *testing.B, size int) []byte {
	words, err := largepages.Alloc(size / 8)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { largepages.Free(words) })
	return unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), size)
}

// stream is memory of huge pages, as a mapped file in the page cache may be, filled with random bytes.
func stream(b *testing.B) []byte {
	mem := largePages(b, streamBytes)
	rng, words := rand.New(rand.NewPCG(1, 2)), unsafe.Slice((*uint64)(unsafe.Pointer(&mem[0])), streamBytes/8)
	for i := range words {
		words[i] = rng.Uint64()
	}
	return mem
}

// onThreads times f on all processors at once, part i of them each.
func onThreads(f func(i, n int)) time.Duration {
	var wg sync.WaitGroup
	n := runtime.GOMAXPROCS(0)
	start := time.Now()
	for i := range n {
		wg.Go(func() { f(i, n) })
	}
	wg.Wait()
	return time.Since(start)
}

// compareWithRead runs f over bytes of mem and the plain read of as many by turns.
func compareWithRead(b *testing.B, mem []byte, bytes int, f func(i, n int)) {
	words := unsafe.Slice((*uint64)(unsafe.Pointer(&mem[0])), bytes/8)
	var mul, read time.Duration
	for b.Loop() {
		mul += onThreads(f)
		read += onThreads(func(i, n int) { readprobe.Xor(words[i*len(words)/n : (i+1)*len(words)/n]) })
	}
	gbs := func(d time.Duration) float64 { return float64(b.N) * float64(bytes) / d.Seconds() / 1e9 }
	b.ReportMetric(gbs(mul), "GB/s")
	b.ReportMetric(gbs(read), "read-GB/s")
	b.ReportMetric(100*gbs(mul)/gbs(read), "%read")
}

// BenchmarkIntStream is decoding: all threads, weights that come from memory.
func BenchmarkIntStream(b *testing.B) {
	mem := stream(b)
	eachISA(b, func(b *testing.B) {
		for _, format := range []Format{Int4, Int8} {
			for _, tokens := range []int{1, 2, 4} {
				const k, group = 2880, 64
				row := format.tileBytes(k) + k/group*TileRows*scaleBytes
				w := &Weights{Format: format, Out: len(mem) / row * TileRows, K: k, Group: group}
				w.Codes = mem[:w.Tiles()*format.tileBytes(k)]
				w.Scales = mem[len(w.Codes):][:w.Tiles()*k/group*TileRows*scaleBytes]
				b.Run(fmt.Sprintf("format=%d/tokens=%d", format, tokens), func(b *testing.B) {
					var p Panel
					p.Reset(format, k, group, tokens)
					for i := range tokens {
						p.Set(i, randomRow(rand.New(rand.NewPCG(2, 2)), k), i)
					}
					dst := make([]float32, tokens*w.Out)
					compareWithRead(b, mem, len(w.Codes)+len(w.Scales), func(i, n int) {
						MatMul(dst, w.Out, w, i*w.Tiles()/n, (i+1)*w.Tiles()/n, &p)
					})
				})
			}
		}
	})
}

// BenchmarkMXFP4Stream is decoding from rows as they are published.
func BenchmarkMXFP4Stream(b *testing.B) {
	mem := stream(b)
	eachISA(b, func(b *testing.B) {
		for _, tokens := range []int{1, 2, 4} {
			const k = 2880
			w := &MXFP4Rows{Out: len(mem) / (k/2 + k/32) / TileRows * TileRows, K: k}
			w.Blocks = mem[:w.Out*k/2]
			w.Scales = mem[len(w.Blocks):][:w.Out*k/32]
			b.Run(fmt.Sprintf("tokens=%d", tokens), func(b *testing.B) {
				var p Panel
				p.Reset(MXFP4, k, 32, tokens)
				for i := range tokens {
					p.Set(i, randomRow(rand.New(rand.NewPCG(2, 2)), k), i)
				}
				dst, turned := make([]float32, tokens*w.Out), make([]MXFP4Tile, runtime.GOMAXPROCS(0))
				compareWithRead(b, mem, len(w.Blocks)+len(w.Scales), func(i, n int) {
					MatMulMXFP4(dst, w.Out, w, i*w.Tiles()/n, (i+1)*w.Tiles()/n, &p, &turned[i])
				})
			})
		}
	})
}
