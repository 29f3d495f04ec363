package quantize

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seed-796a8800/tritium/gptoss"
	"github.com/seed-796a8800/tritium/graph"
	"github.com/seed-796a8800/tritium/internal/reference"
	"github.com/seed-796a8800/tritium/internal/units"
)

// kills is how often TestKilled kills: `go test ./quantize -run Killed -kills 200`.
var kills = flag.Int("kills", 15, "how often TestKilled kills a run")

// childEnv in the environment makes the test binary a process that quantizes.
const childEnv = "QUANTIZE_TEST_CHILD"

func TestMain(m *testing.M) {
	if arguments := os.Getenv(childEnv); arguments != "" {
		var j job
		if err := json.Unmarshal([]byte(arguments), &j); err != nil {
			panic(err)
		}
		if _, err := j.run(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// job is a run on a tiny model.
type job struct {
	Source, Out, Store string
	Method             Method
	Blocks             string
	Workers, Threads   int
	Shard              Shard
	KeepStore          bool
	WindowBlocks       int // of Distill
}

const jobWindow = 32

func (j job) options() Options {
	o := Options{Method: j.Method, Blocks: j.Blocks, Group: 32, Window: jobWindow, Rows: 2 * jobWindow, Embedding: StoreInt8, Fit: FitOptions{Passes: 2},
		Train: TrainOptions{Steps: 6, Batch: 2, Seed: 1}, Store: j.Store, KeepStore: j.KeepStore, Workers: j.Workers, Shard: j.Shard,
		shardTokens: 3 * jobWindow, checkpointEvery: time.Microsecond}
	if j.Method == Distill {
		o.SelfText, o.Distill = 3, DistillOptions{TrainOptions: TrainOptions{Steps: 6, Batch: 2, Every: 2}, WindowBlocks: j.WindowBlocks}
	}
	return o
}

func (j job) open() (*gptoss.Checkpoint, []int32, error) {
	c, err := gptoss.Open(j.Source)
	if err != nil {
		return nil, nil, err
	}
	tokens := make([]int32, 10*jobWindow+5)
	for i := range tokens {
		tokens[i] = int32(i * i * 7 % (c.Config().Vocab - 8))
	}
	return c, tokens, nil
}

func (j job) run(ctx context.Context) (*Report, error) {
	c, tokens, err := j.open()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	cpu := graph.NewCPU(max(1, j.Threads))
	defer cpu.Close()
	return Run(ctx, cpu, c, tokens, j.Out, j.options())
}

// start runs the job in a process of its own.
func (j job) start(t *testing.T) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	arguments, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	cmd, said := exec.Command(os.Args[0]), &bytes.Buffer{}
	cmd.Env = append(os.Environ(), childEnv+"="+string(arguments))
	cmd.Stdout, cmd.Stderr = said, said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return cmd, said
}

// tinyModel writes a model of three layers and returns its directory.
func tinyModel(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "source")
	s := reference.Shape{Layers: 3, Hidden: 64, Intermediate: 64, Heads: 2, KVHeads: 1, HeadDim: 32, Experts: 4, TopK: 2, Vocab: 128, Window: 16}
	if err := reference.Write(dir, s, 1); err != nil {
		t.Fatal(err)
	}
	return dir
}

// filesOf reads the files of a model, but for the times in its report.
func filesOf(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if e.Name() == ReportName {
			var r Report
			if err := json.Unmarshal(data, &r); err != nil {
				t.Fatal(err)
			}
			r.Seconds, r.PeakRSS, r.Phases = 0, 0, nil
			if data, err = json.Marshal(r); err != nil {
				t.Fatal(err)
			}
		}
		files[e.Name()] = string(data)
	}
	if len(files) < 3 {
		t.Fatalf("%s holds %d files", dir, len(files))
	}
	return files
}

func same(t *testing.T, got, want map[string]string) {
	t.Helper()
	for name := range want {
		if got[name] != want[name] {
			t.Fatalf("%s differs", name)
		}
	}
	if len(got) != len(want) {
		t.Fatalf("%d files, want %d", len(got), len(want))
	}
}

// quiet is the result of one run that nobody disturbs, and the time it took.
func quiet(t *testing.T, j job) (map[string]string, time.Duration) {
	t.Helper()
	j.Out = filepath.Join(t.TempDir(), "quiet")
	start := time.Now()
	if _, err := j.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	took := time.Since(start)
	if _, err := os.Stat(j.Out + StoreSuffix); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the store is still there: %v", err)
	}
	return filesOf(t, j.Out), took
}

// TestKilled kills runs at random moments, and starts them again until they are
// through. The model is the one of a run that was left alone.
func TestKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("starts many processes")
	}
	j := job{Source: tinyModel(t), Method: Distill, Threads: 2, Workers: 2}
	want, took := quiet(t, j)
	rng := rand.New(rand.NewPCG(1, 2))
	dir, finished, killed := t.TempDir(), 0, 0
	for killed < *kills {
		j.Out = filepath.Join(dir, fmt.Sprint("q", finished))
		child, said := j.start(t)
		late := time.AfterFunc(time.Duration(rng.Float64()*float64(took)), func() { child.Process.Kill() })
		err := child.Wait()
		late.Stop()
		if _, exists := os.Stat(j.Out); exists == nil { // killed behind its end, or not at all
			same(t, filesOf(t, j.Out), want)
			finished++
		} else if err == nil || said.Len() > 0 {
			t.Fatalf("the child ended without a model: %v, %s", err, said)
		}
		if err != nil {
			killed++
		}
	}
	j.Out = filepath.Join(dir, fmt.Sprint("q", finished))
	if _, err := j.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	same(t, filesOf(t, j.Out), want)
	t.Logf("%d kills, %d runs that came through", killed, finished+1)
}

// TestCooperate lets three processes work in one store and kills two.
func TestCooperate(t *testing.T) {
	if testing.Short() {
		t.Skip("starts many processes")
	}
	j := job{Source: tinyModel(t), Method: Reconstruct, Threads: 1}
	want, took := quiet(t, j)
	for round := range 3 {
		j.Out = filepath.Join(t.TempDir(), "q")
		var said [3]*bytes.Buffer
		var children [3]*exec.Cmd
		for i := range children {
			children[i], said[i] = j.start(t)
		}
		for i, c := range children[:2] {
			time.Sleep(took / 4)
			c.Process.Kill()
			c.Wait()
			if said[i].Len() > 0 {
				t.Fatalf("round %d: process %d: %s", round, i, said[i])
			}
		}
		if err := children[2].Wait(); err != nil {
			t.Fatalf("round %d: %v: %s", round, err, said[2])
		}
		same(t, filesOf(t, j.Out), want)
	}
	// All three come to the end.
	j.Out = filepath.Join(t.TempDir(), "q")
	var said [3]*bytes.Buffer
	var children [3]*exec.Cmd
	for i := range children {
		children[i], said[i] = j.start(t)
	}
	for i, c := range children {
		if err := c.Wait(); err != nil {
			t.Errorf("process %d: %v: %s", i, err, said[i])
		}
	}
	same(t, filesOf(t, j.Out), want)
	if _, err := os.Stat(j.Out + StoreSuffix); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the store is still there: %v", err)
	}
}

// TestWorkers: no number of workers, of threads, or size of a shard of the
// stream changes a byte.
func TestWorkers(t *testing.T) {
	source := tinyModel(t)
	for _, m := range []job{{Method: GPTQWithDescent}, {Method: Reconstruct}, {Method: Distill}, {Method: Distill, WindowBlocks: 2}} {
		if testing.Short() && (m.Method == Reconstruct || m == job{Method: Distill}) {
			continue // the two others run the same units
		}
		for _, blocks := range []string{Sequential, Independent} {
			j := m
			j.Source, j.Blocks, j.Threads = source, blocks, 1
			want, _ := quiet(t, j)
			combinations := []struct{ workers, threads int }{{2, 2}, {3, 2}, {1, 3}}
			if testing.Short() {
				combinations = combinations[:1]
			}
			for _, x := range combinations {
				j.Workers, j.Threads = x.workers, x.threads
				got, _ := quiet(t, j)
				same(t, got, want)
			}
			j.Out = filepath.Join(t.TempDir(), "q")
			c, tokens, err := j.open()
			if err != nil {
				t.Fatal(err)
			}
			o := j.options()
			o.shardTokens = 0
			_, err = Run(t.Context(), newCPU(t, 2), c, tokens, j.Out, o)
			c.Close()
			if err != nil {
				t.Fatal(err)
			}
			same(t, filesOf(t, j.Out), want)
		}
	}
}

// TestDamagedUnit spoils a unit of an interrupted run; it is made again, and the
// caller is told.
func TestDamagedUnit(t *testing.T) {
	j := job{Source: tinyModel(t), Method: PTBitNet, KeepStore: true}
	want, _ := quiet(t, job{Source: j.Source, Method: PTBitNet})
	dir := t.TempDir()
	j.Out, j.Store = filepath.Join(dir, "q"), filepath.Join(dir, "store")
	if _, err := j.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	same(t, filesOf(t, j.Out), want)
	entries, err := os.ReadDir(j.Store)
	if err != nil {
		t.Fatal(err)
	}
	damaged := 0
	for _, e := range entries {
		if strings.Contains(e.Name(), ".") || e.IsDir() {
			continue
		}
		path := filepath.Join(j.Store, e.Name())
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		data[len(data)/3] ^= 4
		if err := os.WriteFile(path, data, 0o666); err != nil {
			t.Fatal(err)
		}
		if damaged++; damaged == 6 {
			break
		}
	}
	c, tokens, err := j.open()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var notices []string
	o := j.options()
	o.Notice = func(err error) { notices = append(notices, err.Error()) }
	again := filepath.Join(dir, "again")
	if _, err := Run(t.Context(), newCPU(t, 1), c, tokens, again, o); err != nil {
		t.Fatal(err)
	}
	same(t, filesOf(t, again), want)
	if len(notices) == 0 || len(notices) > damaged {
		t.Errorf("%d units were damaged, notices: %q", damaged, notices)
	}
}

// TestMerge: two shares, in two stores or in one, give the model of one run.
func TestMerge(t *testing.T) {
	source := tinyModel(t)
	for _, blocks := range []string{Independent, Sequential} {
		for _, method := range []Method{PTBitNet, Reconstruct} {
			want, _ := quiet(t, job{Source: source, Method: method, Blocks: blocks})
			dir := t.TempDir()
			j := job{Source: source, Out: filepath.Join(dir, "q"), Method: method, Blocks: blocks}
			c, tokens, err := j.open()
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			merge := func(stores ...string) error {
				_, err := Merge(t.Context(), newCPU(t, 1), c, tokens, j.Out, stores, j.options())
				return err
			}
			var stores []string
			for i := range 2 {
				j.Shard, j.Store = Shard{i, 2}, filepath.Join(dir, fmt.Sprint("store", i))
				report, err := j.run(t.Context())
				if err != nil || report != nil {
					t.Fatalf("share %d: %v, %v", i, report, err)
				}
				if stores = append(stores, j.Store); i == 0 {
					if err := merge(stores...); err == nil || !strings.Contains(err.Error(), "do not have") || strings.Contains(err.Error(), "\n") {
						t.Errorf("half a model: error %v", err)
					}
				}
			}
			if _, err := os.Stat(j.Out); err == nil {
				t.Fatal("a share has written a model")
			}
			if err := merge(stores...); err != nil {
				t.Fatal(err)
			}
			same(t, filesOf(t, j.Out), want)
			if err := merge(filepath.Join(dir, "nowhere")); err == nil {
				t.Error("a store that is not there was taken")
			}
		}
	}
}

// TestNothingLeft: when all is done the store holds the model's units and
// nothing else.
func TestNothingLeft(t *testing.T) {
	j := job{Source: tinyModel(t), Method: Reconstruct, KeepStore: true}
	dir := t.TempDir()
	j.Out, j.Store = filepath.Join(dir, "q"), filepath.Join(dir, "store")
	if _, err := j.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	s, err := units.Open(j.Store)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	entries, err := os.ReadDir(j.Store)
	if err != nil {
		t.Fatal(err)
	}
	if want := 1 + 2*(1+3+1); len(entries) != want { // claims; embedding, layers, report, each with its checksum
		t.Errorf("%d files are left, want %d: %v", len(entries), want, entries)
	}
}

// TestDiskForecast compares what store and result take with what was foreseen.
func TestDiskForecast(t *testing.T) {
	if testing.Short() {
		t.Skip("compares numbers for several seconds")
	}
	c := openNano(t)
	tokens := nanoTokens(t, c, 64*64)
	for _, x := range []Options{{Method: PTBitNet}, {Method: Reconstruct, Train: TrainOptions{Steps: 2, Batch: 2}},
		{Method: GPTQ, Attention: StoreInt8, Blocks: Independent, Shard: Shard{1, 2}}} {
		o, dir := x, t.TempDir()
		o.Window, o.Rows = 64, 256
		o.Fit.Passes = 1
		o.checkpointEvery = time.Microsecond
		f, err := NewForecast(c.Config(), o, len(tokens))
		if err != nil {
			t.Fatal(err)
		}
		peak := int64(0)
		o.Progress = func(Progress) {
			var size int64
			filepath.WalkDir(dir, func(_ string, e fs.DirEntry, _ error) error { // files come and go
				if info, err := e.Info(); err == nil && !e.IsDir() {
					size += info.Size()
				}
				return nil
			})
			peak = max(peak, size)
		}
		if _, err := Run(t.Context(), newCPU(t, 2), c, tokens, filepath.Join(dir, "q"), o); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %.1f MB at the peak, %.1f MB foreseen", o.Method, float64(peak)/1e6, float64(f.Disk)/1e6)
		if peak > f.Disk || peak < f.Disk/4 {
			t.Errorf("%s: %d bytes at the peak, %d foreseen", o.Method, peak, f.Disk)
		}
	}
}
