package main

import (
	"slices"
	"time"

	"github.com/seed-796a8800/tritium/graph"
	"github.com/seed-796a8800/tritium/internal/largepages"
	"github.com/seed-796a8800/tritium/internal/readprobe"
	"github.com/seed-796a8800/tritium/ops"
	"github.com/seed-796a8800/tritium/ternaryop"
)

// The probes' lengths: long enough for the clock to be exact, short enough to
// meet the same machine as what is measured between them.
const (
	readBytes = 1 << 30 // several times the last-level caches of today
	readBlock = 1 << 20
	peakTime  = 50 * time.Millisecond
)

// limits measures what the machine can do at this moment, on all threads of a
// pool.
type limits struct {
	cpu   *graph.CPU
	words []uint64
	sums  []uint64 // one a block, so that no read can be left out
}

func newLimits(cpu *graph.CPU) (*limits, error) {
	words, err := largepages.Alloc(readBytes / 8)
	if err != nil {
		return nil, err
	}
	l := &limits{cpu: cpu, words: words, sums: make([]uint64, readBytes/readBlock)}
	cpu.Parallel(len(l.sums), func(_, i int) { // written once, or all pages are the same one
		for j := range l.block(i) {
			l.block(i)[j] = uint64(j)
		}
	})
	return l, nil
}

func (l *limits) close() error { return largepages.Free(l.words) }

func (l *limits) block(i int) []uint64 {
	const n = readBlock / 8
	return l.words[i*n : (i+1)*n]
}

// read reads memory that no cache holds: bytes a second.
func (l *limits) read() float64 {
	start := time.Now()
	l.cpu.Parallel(len(l.sums), func(_, i int) { l.sums[i] = readprobe.Xor(l.block(i)) })
	return readBytes / time.Since(start).Seconds()
}

// int8Peak is the multiply-adds a second of the instruction that ternary
// products are made of, 0 where there is none.
func (l *limits) int8Peak() float64 { return l.peak(ternaryop.Peak) }

// float32Peak is the multiply-adds a second in float32. Where there are only
// portable kernels it is what their matrix product does.
func (l *limits) float32Peak() float64 {
	if rate := l.peak(ops.Peak); rate > 0 {
		return rate
	}
	return matMulRate(l.cpu, peakTime)
}

func (l *limits) peak(probe func(rounds int) (macs int)) float64 {
	if probe(1) == 0 {
		return 0
	}
	return rate(l.cpu, peakTime, func(int) int { return probe(1000) })
}

// rate calls work on all threads for a while: what it returns, a second.
func rate(cpu *graph.CPU, d time.Duration, work func(worker int) int) float64 {
	macs := make([]int, cpu.Threads()*16)
	region := func(worker, i int) { macs[i] += work(worker) }
	cpu.Parallel(len(macs), region) // brings the clock up and the threads in
	clear(macs)
	start := time.Now()
	for time.Since(start) < d {
		cpu.Parallel(len(macs), region)
	}
	elapsed, total := time.Since(start), 0
	for _, n := range macs {
		total += n
	}
	return float64(total) / elapsed.Seconds()
}

// matMulRate measures what this machine does of ops.MatMulNT now, on all
// threads, with operands that stay in the caches: multiply-adds a second.
func matMulRate(cpu *graph.CPU, d time.Duration) float64 {
	const m, n, k = 96, 384, 384
	type operands struct{ a, b, c []float32 }
	threads := make([]operands, cpu.Threads())
	for i := range threads {
		threads[i] = operands{ones(m * k), ones(n * k), make([]float32, m*n)}
	}
	return rate(cpu, d, func(worker int) int {
		t := threads[worker]
		ops.MatMulNT(t.c, n, t.a, k, t.b, k, m, n, k, false)
		return m * n * k
	})
}

func ones(n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = 1
	}
	return x
}

// series is one quantity measured several times.
type series []float64

func (s series) median() float64 {
	if len(s) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s))
	n := len(sorted)
	return (sorted[n/2] + sorted[(n-1)/2]) / 2
}

// spread is (largest - smallest) / median.
func (s series) spread() float64 {
	m := s.median()
	if m == 0 {
		return 0
	}
	return (slices.Max(s) - slices.Min(s)) / m
}

// over divides term by term: a ratio of what was measured at the same time
// says more than the ratio of two medians.
func (s series) over(t series) series {
	r := make(series, len(s))
	for i := range s {
		r[i] = s[i] / t[i]
	}
	return r
}

// times multiplies by a factor.
func (s series) times(x float64) series {
	r := make(series, len(s))
	for i := range s {
		r[i] = s[i] * x
	}
	return r
}

// reciprocal is 1 over each.
func (s series) reciprocal() series {
	r := make(series, len(s))
	for i := range s {
		r[i] = 1 / s[i]
	}
	return r
}
