package graph

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"gorgonia.org/tensor"
)

// CPU is the device every machine has: buffers are Go slices and work is
// spread over a fixed pool of OS threads.
//
// A CPU may be shared by any number of plans. Parallel regions of different
// plans do not overlap: a region that finds the pool busy runs on its caller.
type CPU struct {
	threads int
	region  sync.Mutex // held while a parallel region is open

	// The open region. fn and n are written before state says open and are
	// not written again until every worker that joined has left.
	fn func(worker, i int)

	// What threads fight over has a cache line of its own.
	_     [cacheLine]byte
	state atomic.Uint64 // counts openings and closings: odd while a region is open
	_     [cacheLine]byte

	slots   []slot // of the workers, the caller's first
	parked  atomic.Int32
	wake    chan struct{}
	closed  atomic.Bool
	workers sync.WaitGroup
}

// slot is where one worker says which region it is in; 0 is none. The worker
// writes its slot and then looks whether the region is still open; the caller
// closes the region and then looks at the slots. One of the two sees the
// other, so the caller waits for the workers that joined, and never for one
// that the system has not scheduled yet.
//
// A worker has a share of the region's indices, which it takes in order, so
// that what it reads from memory is one stream; when it is through it helps
// the others with theirs. So a worker that does not run delays nobody.
type slot struct {
	region atomic.Uint64
	_      [cacheLine - 8]byte
	next   atomic.Int64 // the index of the share to hand out
	end    int64        // of the share
	_      [cacheLine - 16]byte
}

// cacheLine is the size of two lines, which processors fetch together.
const cacheLine = 128

// spinTime is how long an idle worker looks for the next region before it
// parks. A decode step opens a region every few microseconds; parking between
// them would cost more than the work.
const spinTime = 80 * time.Microsecond

// NewCPU returns a CPU device that computes on the given number of threads;
// 0 means all the process may use (GOMAXPROCS, which respects container
// limits).
func NewCPU(threads int) *CPU {
	if threads <= 0 {
		threads = runtime.GOMAXPROCS(0)
	}
	c := &CPU{threads: threads, slots: make([]slot, threads), wake: make(chan struct{}, threads)}
	for w := 1; w < threads; w++ {
		c.workers.Go(func() { c.work(w) })
	}
	return c
}

// Name returns "cpu".
func (c *CPU) Name() string { return "cpu" }

// Threads returns the number of threads a parallel region may use. Worker
// indices given to a region's function are below it.
func (c *CPU) Threads() int { return c.threads }

// Alloc returns a zeroed buffer.
func (c *CPU) Alloc(shape tensor.Shape, dt tensor.Dtype) (Buffer, error) {
	n := shape.TotalSize()
	switch dt {
	case tensor.Float32:
		return NewHostBuffer(shape, make([]float32, n)), nil
	case tensor.Int32:
		return NewHostBuffer(shape, make([]int32, n)), nil
	case tensor.Float64:
		return NewHostBuffer(shape, make([]float64, n)), nil
	}
	return Buffer{}, fmt.Errorf("graph: cpu: no buffers of type %v", dt)
}

// Close ends the pool's threads and waits for them and for an open region.
// Afterwards Parallel still works, on its caller alone. Close may be called
// again, but not from inside a region.
func (c *CPU) Close() error {
	if c.closed.Swap(true) {
		return nil
	}
	c.region.Lock() // for good: no region opens any more
	c.unpark(c.threads - 1)
	c.workers.Wait()
	return nil
}

// Parallel calls fn(worker, i) once for every i in [0, n), spread over the
// device's threads; worker < Threads() tells apart the calls that run at the
// same time, for scratch memory. Indices are handed out one at a time, so
// fn(i) should be worth a few microseconds; a thread mostly gets neighbours. Parallel returns when all calls
// have returned. It allocates nothing; the results must not depend on which
// worker ran what.
//
// Inside a region, or while another goroutine's region is open, Parallel runs
// every call on the calling goroutine as worker 0. So scratch memory must
// belong to one caller, as that of a prepared kernel does.
func (c *CPU) Parallel(n int, fn func(worker, i int)) {
	if n <= 1 || c.threads == 1 || !c.region.TryLock() {
		for i := 0; i < n; i++ {
			fn(0, i)
		}
		return
	}
	c.fn = fn
	for w := range c.slots {
		s := &c.slots[w]
		s.next.Store(int64(w * n / c.threads))
		s.end = int64((w + 1) * n / c.threads)
	}
	c.state.Add(1) // open
	if c.parked.Load() > 0 {
		c.unpark(min(c.threads, n) - 1)
	}
	defer c.join() // also where fn panics
	c.drain(0)
}

// unpark wakes up to n workers.
func (c *CPU) unpark(n int) {
	for range n {
		select {
		case c.wake <- struct{}{}:
		default:
			return
		}
	}
}

// join closes the region and waits for the workers that joined it.
func (c *CPU) join() {
	region := c.state.Add(1) - 1 // nobody joins from here on
	for w := 1; w < c.threads; w++ {
		for spins := 0; c.slots[w].region.Load() == region; spins++ {
			if spins > 1000 {
				runtime.Gosched()
			}
		}
	}
	c.fn = nil
	c.region.Unlock()
}

// drain runs the open region's calls until none are left: those of the
// worker's share, then those of the others'.
func (c *CPU) drain(worker int) {
	for k := range c.slots {
		s := &c.slots[(worker+k)%len(c.slots)]
		for {
			i := s.next.Add(1) - 1
			if i >= s.end {
				break
			}
			c.fn(worker, int(i))
		}
	}
}

// work is the life of one pool thread.
func (c *CPU) work(worker int) {
	// A goroutine that moves between threads pays the scheduler at every
	// region; a locked one is simply there.
	runtime.LockOSThread()
	var seen uint64
	mine := &c.slots[worker].region
	for !c.closed.Load() {
		region, ok := c.await(seen)
		if !ok {
			c.parked.Add(1)
			// The caller opens first and reads parked second; we count
			// ourselves first and look again second. One of us notices. Close
			// leaves a token for everybody, so nobody sleeps through it.
			if s := c.state.Load(); !isOpen(s) || s == seen {
				<-c.wake
			}
			c.parked.Add(-1)
			continue
		}
		seen = region
		mine.Store(region)
		if c.state.Load() == region {
			c.drain(worker)
		}
		mine.Store(0)
	}
}

// await spins until a region other than the one seen is open.
func (c *CPU) await(seen uint64) (region uint64, ok bool) {
	var deadline time.Time
	for i := 1; ; i++ {
		if s := c.state.Load(); isOpen(s) && s != seen {
			return s, true
		}
		if i%256 == 0 {
			now := time.Now()
			if deadline.IsZero() {
				deadline = now.Add(spinTime)
			} else if now.After(deadline) {
				return 0, false
			}
		}
	}
}

func isOpen(state uint64) bool { return state%2 == 1 }
