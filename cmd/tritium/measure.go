package main

import (
	"slices"
	"time"

	"github.com/seed-796a8800/tritium/gptoss"
	"github.com/seed-796a8800/tritium/graph"
	"github.com/seed-796a8800/tritium/ops"
)

// matMulRate measures what this machine does of ops.MatMulNT now, on all
// threads, with operands that stay in the caches: multiply-adds a second.
func matMulRate(cpu *graph.CPU, d time.Duration) float64 {
	const m, n, k = 96, 384, 384
	type operands struct{ a, b, c []float32 }
	threads := make([]operands, cpu.Threads())
	for i := range threads {
		threads[i] = operands{ones(m * k), ones(n * k), make([]float32, m*n)}
	}
	region := func(rounds int) {
		cpu.Parallel(rounds, func(worker, _ int) {
			t := threads[worker]
			ops.MatMulNT(t.c, n, t.a, k, t.b, k, m, n, k, false)
		})
	}
	region(2 * cpu.Threads())
	rounds := 0
	start := time.Now()
	for time.Since(start) < d {
		region(16 * cpu.Threads())
		rounds += 16 * cpu.Threads()
	}
	return float64(rounds) * m * n * k / time.Since(start).Seconds()
}

func ones(n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = 1
	}
	return x
}

// readProbe reads memory that no cache holds.
type readProbe struct {
	words []uint64
	sums  []uint64 // one a block, so that no read can be left out
}

// readBytes is several times larger than the last-level caches of today.
const (
	readBytes = 512 << 20
	readBlock = 1 << 20
)

func newReadProbe(cpu *graph.CPU) *readProbe {
	p := &readProbe{words: make([]uint64, readBytes/8), sums: make([]uint64, readBytes/readBlock)}
	hugePages(p.words)
	cpu.Parallel(len(p.sums), func(_, i int) { // written once, or all pages are the same one
		for j := range p.block(i) {
			p.block(i)[j] = uint64(j)
		}
	})
	return p
}

func (p *readProbe) block(i int) []uint64 {
	const n = readBlock / 8
	return p.words[i*n : (i+1)*n]
}

// rate reads all of it once on all threads: bytes a second.
func (p *readProbe) rate(cpu *graph.CPU) float64 {
	start := time.Now()
	cpu.Parallel(len(p.sums), func(_, i int) {
		var a, b, c, d uint64
		for w := p.block(i); len(w) >= 8; w = w[8:] {
			a += w[0] + w[4]
			b += w[1] + w[5]
			c += w[2] + w[6]
			d += w[3] + w[7]
		}
		p.sums[i] = a + b + c + d
	})
	return readBytes / time.Since(start).Seconds()
}

// speedometer measures a model's tokens a second.
type speedometer struct {
	model  *gptoss.Model
	ids    []int32
	prompt int // of them are read at once, the rest one by one
}

// newSpeedometer prepares to read ids, the first prompt of them at once.
func newSpeedometer(c *gptoss.Checkpoint, cpu *graph.CPU, ids []int32, prompt int) (*speedometer, error) {
	m, err := c.Compile(cpu, min(prompt, prefillRows))
	if err != nil {
		return nil, err
	}
	return &speedometer{m, ids, prompt}, nil
}

// measure runs the tokens once. Decoding reads the tokens that are there
// instead of sampling, so every run does the same work.
func (s *speedometer) measure() (prefill, decode float64, err error) {
	seq, err := s.model.Plan.NewSequence()
	if err != nil {
		return 0, 0, err
	}
	if err := seq.Reserve(len(s.ids)); err != nil {
		return 0, 0, err
	}
	b := graph.NewBatch()
	start := time.Now()
	if err := s.model.Append(b, seq, s.ids[:s.prompt]); err != nil {
		return 0, 0, err
	}
	prefill = float64(s.prompt) / time.Since(start).Seconds()
	start = time.Now()
	for i := s.prompt; i < len(s.ids); i++ {
		if err := s.model.Append(b, seq, s.ids[i:i+1]); err != nil {
			return 0, 0, err
		}
	}
	return prefill, float64(len(s.ids)-s.prompt) / time.Since(start).Seconds(), nil
}

// series is one quantity measured several times.
type series []float64

func (s series) median() float64 {
	sorted := slices.Sorted(slices.Values(s))
	n := len(sorted)
	return (sorted[n/2] + sorted[(n-1)/2]) / 2
}

// spread is (largest - smallest) / median.
func (s series) spread() float64 { return (slices.Max(s) - slices.Min(s)) / s.median() }
