package hub

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-796a8800/tritium/internal/atomicfile"
	"github.com/seed-796a8800/tritium/internal/hub/hubtest"
)

// TestMain lets the test binary be its own victim: with an endpoint in the environment it pulls from there.
func TestMain(m *testing.M) {
	if endpoint := os.Getenv("HUB_TEST_ENDPOINT"); endpoint != "" {
		c, err := New(Options{Endpoint: endpoint, Workers: 4, Range: testStep})
		if err == nil {
			_, err = pull(context.Background(), c, toDir(os.Getenv("HUB_TEST_DIR")))
		}
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1) // it is there to be killed
	}
	os.Exit(m.Run())
}

// recorded returns the ranges that the record of a download says are there, by file.
func recorded(t *testing.T, dir string, files map[string]int) map[string]map[int64]bool {
	t.Helper()
	there := map[string]map[int64]bool{}
	for name, size := range files {
		there[name] = map[int64]bool{}
		_, path := partialName(filepath.Join(dir, name))
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		for line := range bytes.Lines(text) {
			if i, _, ok := parseLine(string(line), (size+testStep-1)/testStep); ok {
				there[name][int64(i)*testStep] = true
			}
		}
	}
	return there
}

// TestKilled: a pull that is killed at any byte goes on with the ranges that were not finished, and fetches no other.
func TestKilled(t *testing.T) {
	files := tree()
	sizes := map[string]int{}
	for name, f := range files {
		if Wanted(File{Path: name}) {
			sizes[name] = len(f.Data)
		}
	}
	for trial := range 4 {
		t.Run(fmt.Sprint(trial), func(t *testing.T) {
			t.Parallel()
			s, c := newHub(t, files)
			dir := t.TempDir()
			random := rand.New(rand.NewPCG(uint64(trial), 1))
			for range 2 {
				killVictim(t, s, dir, random.Int64N(15*testStep))
			}
			there := recorded(t, dir, sizes)
			s.SetFault(nil)
			s.Forget()
			r, err := pull(t.Context(), c, toDir(dir))
			if err != nil {
				t.Fatal(err)
			}
			checkDir(t, dir, files)
			kept, fetched := int64(0), int64(0)
			for name, ranges := range there {
				for from := range ranges {
					kept += min(testStep, int64(sizes[name])-from)
				}
			}
			for _, q := range s.Log() {
				if q.File == "" || !q.CDN && (strings.HasSuffix(q.File, ".safetensors") || q.File == "tokenizer.json") {
					continue // a question, a redirect
				}
				fetched += q.End - q.From
				if there[q.File][q.From] {
					t.Errorf("%s: the finished range at %d was fetched again", q.File, q.From)
				}
			}
			t.Logf("%d of %d bytes were kept", kept, r.Bytes)
			// The server may see the last requests of the victim's 4 workers only after its death.
			if r.Fetched != r.Bytes-kept || fetched > r.Bytes-kept+4*testStep {
				t.Errorf("%d bytes were fetched (%d asked for) though %d of %d were there", r.Fetched, fetched, kept, r.Bytes)
			}
		})
	}
}

// killVictim starts a pull in another process and kills it when it has been sent so many bytes of files.
func killVictim(t *testing.T, s *hubtest.Server, dir string, after int64) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "HUB_TEST_ENDPOINT="+s.URL, "HUB_TEST_DIR="+dir)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	var sent atomic.Int64
	reached := make(chan struct{})
	s.SetFault(func(w http.ResponseWriter, q hubtest.Request) bool {
		if !q.CDN {
			return false
		}
		part(w, q)
		for b := q.Content; len(b) > 0; {
			n := min(len(b), 1000)
			if now := sent.Add(int64(n)); now > after && now-int64(n) <= after { // of several writers, one
				close(reached)
			}
			if _, err := w.Write(b[:n]); err != nil {
				break
			}
			http.NewResponseController(w).Flush()
			time.Sleep(time.Millisecond)
			b = b[n:]
		}
		return true
	})
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-reached:
	case <-time.After(20 * time.Second):
		t.Error("the pull did not get that far")
	}
	cmd.Process.Kill()
	cmd.Wait()
	if stderr.Len() > 0 {
		t.Fatalf("the pull ended before it was killed: %s", stderr.String())
	}
}

// TestDamage: bytes that came wrong, and bytes that the disk changed, are found and mended.
func TestDamage(t *testing.T) {
	t.Run("on the way", func(t *testing.T) {
		files := tree()
		s, c := newHub(t, files)
		var corrupted atomic.Bool
		s.Fault = func(w http.ResponseWriter, q hubtest.Request) bool {
			if q.CDN && q.File == shard && q.From == 5*testStep && !corrupted.Swap(true) {
				part(w, q)
				wrong := bytes.Clone(q.Content)
				wrong[1234] ^= 4
				w.Write(wrong)
				return true
			}
			return false
		}
		dir := t.TempDir()
		r, err := pull(t.Context(), c, toDir(dir))
		if err != nil {
			t.Fatal(err)
		}
		checkDir(t, dir, files)
		// The search ends with the batch that has the wrong range: 8 ranges of 16 KiB.
		if more := r.Fetched - r.Bytes; more != 8*testStep {
			t.Errorf("%d bytes were fetched again, want %d", more, 8*testStep)
		}
	})
	t.Run("on the disk", func(t *testing.T) {
		files := tree()
		s, c := newHub(t, files)
		dir := t.TempDir()
		damaged := false
		s.Fault = func(w http.ResponseWriter, q hubtest.Request) bool {
			if q.File != shard || q.From != 5*testStep || damaged {
				return false
			}
			// With one worker the ranges before are there by now.
			data, _ := partialName(filepath.Join(dir, shard))
			damaged = true
			f, err := os.OpenFile(data, os.O_WRONLY, 0)
			if err != nil {
				t.Error(err)
				return false
			}
			f.WriteAt([]byte("damage"), 2*testStep+5)
			f.Close()
			return false
		}
		c.o.Workers = 1
		r, err := pull(t.Context(), c, toDir(dir))
		if err != nil {
			t.Fatal(err)
		}
		checkDir(t, dir, files)
		if more := r.Fetched - r.Bytes; more != testStep {
			t.Errorf("%d bytes were fetched again, want one range of %d", more, testStep)
		}
	})
	t.Run("another file halfway", func(t *testing.T) {
		files := tree()
		s, c := newHub(t, files)
		c.o.Workers = 1
		var n atomic.Int64
		s.Fault = func(w http.ResponseWriter, q hubtest.Request) bool {
			if q.CDN && q.File == shard && n.Add(1) <= 10 { // the first half is an older version
				part(w, q)
				w.Write(random(int(q.End-q.From), uint64(q.From)))
				return true
			}
			return false
		}
		dir := t.TempDir()
		if _, err := pull(t.Context(), c, toDir(dir)); err != nil {
			t.Fatal(err)
		}
		checkDir(t, dir, files)
	})
}

// TestRecord: whatever a record holds, only its undamaged beginning is believed.
func TestRecord(t *testing.T) {
	const header, size, ranges = "tritium download 1 abc 100 #", 100, 10
	final := filepath.Join(t.TempDir(), "f")
	_, recordPath := partialName(final)
	reopen := func() int {
		t.Helper()
		p, err := openPartial(final, header, size, ranges)
		if err != nil {
			t.Fatal(err)
		}
		defer p.close()
		return p.have
	}
	p, err := openPartial(final, header, size, ranges)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := openPartial(final, header, size, ranges); !errors.Is(err, atomicfile.ErrHeld) && runtime.GOOS != "windows" {
		t.Error("two processes download one file")
	}
	for i := range ranges {
		complete, err := p.finish(i, sum{1, byte(i)})
		if err != nil || complete != (i == ranges-1) {
			t.Fatalf("range %d: %v, %v", i, complete, err)
		}
	}
	p.close()
	if n := reopen(); n != ranges {
		t.Fatalf("%d ranges, want %d", n, ranges)
	}
	whole, err := os.ReadFile(recordPath)
	if err != nil {
		t.Fatal(err)
	}
	put := func(b []byte) {
		if err := os.WriteFile(recordPath, b, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	lines := bytes.SplitAfter(whole, []byte("\n"))
	start := len(lines[0])
	each := (len(whole) - start) / ranges
	for cut := range whole {
		put(whole[:cut])
		if n, want := reopen(), max(0, (cut-start)/each); n != want {
			t.Fatalf("cut at byte %d: %d ranges, want %d", cut, n, want)
		}
		if cut < start { // begun anew: the data is as before, but nothing of it is believed
			continue
		}
		torn := bytes.Clone(whole)
		torn[cut] ^= 1
		put(torn)
		if n, want := reopen(), (cut-start)/each; n != want {
			t.Fatalf("damaged at byte %d: %d ranges, want %d", cut, n, want)
		}
	}
	// A file of another size or hash begins anew.
	put(whole)
	if err := os.Truncate(final[:len(final)-1]+".f.download", 99); err != nil {
		t.Fatal(err)
	}
	if n := reopen(); n != 0 {
		t.Errorf("%d ranges of a file that was cut", n)
	}
	put(whole)
	p, err = openPartial(final, strings.Replace(header, "abc", "abd", 1), size, ranges)
	if err != nil || p.have != 0 {
		t.Errorf("%d ranges of another file: %v", p.have, err)
	}
	p.close()
	endless, err := os.Create(recordPath)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(endless, seal(header))
	endless.Truncate(1 << 40)
	endless.Close()
	if n := reopen(); n != 0 {
		t.Errorf("%d ranges in an endless record", n)
	}
}
