package graph_test

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-796a8800/tritium/graph"
	"gorgonia.org/tensor"
)

func TestParallelCallsEveryIndexOnce(t *testing.T) {
	for _, threads := range []int{1, 2, 3, 8} {
		c := graph.NewCPU(threads)
		for n := range 40 {
			calls := make([]atomic.Int32, n)
			busy := make([]atomic.Int32, threads)
			c.Parallel(n, func(worker, i int) {
				if busy[worker].Add(1) != 1 {
					t.Error("two calls at a time as one worker")
				}
				calls[i].Add(1)
				busy[worker].Add(-1)
			})
			for i := range calls {
				if calls[i].Load() != 1 {
					t.Fatalf("%d threads: index %d of %d called %d times", threads, i, n, calls[i].Load())
				}
			}
		}
		c.Close()
	}
}

// Regions see what their callers wrote and callers what the regions wrote,
// through any mixture of spinning, parking, waiting and nesting.
func TestParallelUnderLoad(t *testing.T) {
	c := graph.NewCPU(4)
	defer c.Close()
	var wg sync.WaitGroup
	for g := range 6 {
		wg.Go(func() {
			plain := make([]int, 16) // unsynchronized on purpose: -race watches
			for round := range 60 {
				c.Parallel(len(plain), func(_, i int) {
					plain[i] += i
					if i == 3 {
						c.Parallel(4, func(worker, j int) {
							if worker != 0 {
								t.Error("a nested region has another worker")
							}
							plain[i] += j
						})
					}
				})
				if round%20 == g {
					time.Sleep(300 * time.Microsecond) // long enough for the pool to park
				}
			}
			for i, v := range plain {
				want := 60 * i
				if i == 3 {
					want += 60 * 6
				}
				if v != want {
					t.Errorf("element %d is %d, want %d", i, v, want)
				}
			}
		})
	}
	wg.Wait()
}

// A worker that is woken takes part: two calls that wait for each other end.
func TestParallelWakesParkedWorkers(t *testing.T) {
	if runtime.GOMAXPROCS(0) < 2 {
		t.Skip("one processor")
	}
	c := graph.NewCPU(2)
	defer c.Close()
	for range 5 {
		time.Sleep(2 * time.Millisecond) // the worker parks
		var met sync.WaitGroup
		met.Add(2)
		done := make(chan struct{})
		go func() {
			c.Parallel(2, func(int, int) { met.Done(); met.Wait() })
			close(done)
		}()
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			t.Fatal("the parked worker was not woken")
		}
	}
}

func TestParallelSurvivesAPanic(t *testing.T) {
	c := graph.NewCPU(2)
	defer c.Close()
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		called := make(chan struct{})
		c.Parallel(64, func(worker, _ int) {
			if worker == 0 {
				close(called)
				panic("wrong length")
			}
			<-called // leave the caller an index; a worker's panic ends the process
		})
	}()
	var sum atomic.Int64
	c.Parallel(10, func(_, i int) { sum.Add(int64(i)) })
	if sum.Load() != 45 {
		t.Error(sum.Load())
	}
}

func TestCloseEndsTheThreads(t *testing.T) {
	before := runtime.NumGoroutine()
	for _, idle := range []time.Duration{0, 50 * time.Microsecond, 3 * time.Millisecond} {
		for range 20 {
			c := graph.NewCPU(4)
			c.Parallel(8, func(int, int) {})
			time.Sleep(idle) // spinning, about to park, parked
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			calls := 0
			c.Parallel(5, func(worker, _ int) { calls += 1 + worker })
			if calls != 5 {
				t.Errorf("after Close: %d calls", calls)
			}
		}
	}
	for range 100 { // an exiting goroutine is counted a moment longer
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Errorf("%d goroutines, %d before", runtime.NumGoroutine(), before)
}

func TestCloseWaitsForARegion(t *testing.T) {
	c := graph.NewCPU(2)
	started, closed := make(chan struct{}), make(chan struct{})
	var once sync.Once
	var finished atomic.Bool
	go c.Parallel(2, func(int, int) {
		once.Do(func() { close(started) })
		time.Sleep(20 * time.Millisecond)
		finished.Store(true)
	})
	<-started
	go func() { c.Close(); close(closed) }()
	<-closed
	if !finished.Load() {
		t.Error("Close returned within a region")
	}
}

func TestParallelAllocatesNothing(t *testing.T) {
	c := graph.NewCPU(3)
	defer c.Close()
	var sum atomic.Int64
	f := func(_, i int) { sum.Add(int64(i)) }
	if n := testing.AllocsPerRun(200, func() { c.Parallel(16, f) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestAllocTypes(t *testing.T) {
	c := graph.NewCPU(0)
	defer c.Close()
	if c.Threads() != runtime.GOMAXPROCS(0) {
		t.Error(c.Threads())
	}
	f, err := c.Alloc(tensor.Shape{2, 3}, tensor.Float32)
	if err != nil || len(f.Float32s()) != 6 || f.Int32s() != nil || len(f.Shape()) != 2 {
		t.Error(f, err)
	}
	i, err := c.Alloc(tensor.Shape{2}, tensor.Int32)
	if err != nil || len(i.Int32s()) != 2 || i.Float32s() != nil {
		t.Error(i, err)
	}
	if d, err := c.Alloc(tensor.Shape{2}, tensor.Float64); err != nil || len(d.Data().([]float64)) != 2 {
		t.Error(d, err)
	}
	if _, err := c.Alloc(tensor.Shape{2}, tensor.Bool); err == nil {
		t.Error("a buffer of bool")
	}
}

// BenchmarkParallel is the price of a region that does nothing: opening it,
// every thread's part, closing it.
func BenchmarkParallel(b *testing.B) {
	for _, threads := range []int{1, 2, 4, 8, 16} {
		if threads > runtime.GOMAXPROCS(0) {
			break
		}
		b.Run(fmt.Sprintf("threads=%d", threads), func(b *testing.B) {
			c := graph.NewCPU(threads)
			defer c.Close()
			f := func(int, int) {}
			b.ReportAllocs()
			for b.Loop() {
				c.Parallel(threads, f)
			}
		})
	}
}
