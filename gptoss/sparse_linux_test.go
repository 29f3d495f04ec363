package gptoss

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/seed-796a8800/tritium/internal/reference"
)

// residentBytes is the memory that the process holds, its mappings of files
// included.
func residentBytes(t *testing.T) int64 {
	t.Helper()
	data, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skip(err)
	}
	var size, resident int64
	if _, err := fmt.Sscan(string(data), &size, &resident); err != nil {
		t.Fatal(err)
	}
	return resident * int64(os.Getpagesize())
}

// writeSparse writes the first layers of gpt-oss-20b as holes.
func writeSparse(t *testing.T, layers int) string {
	t.Helper()
	dir := t.TempDir()
	if err := reference.WriteSparse20B(dir, layers); err != nil {
		t.Fatal(err)
	}
	var st syscall.Stat_t
	if err := syscall.Stat(filepath.Join(dir, "model.safetensors"), &st); err != nil {
		t.Fatal(err)
	}
	if st.Blocks*512 > 64<<20 {
		t.Skipf("the file system has no holes: %d MB", st.Blocks*512>>20)
	}
	return dir
}

// The 13.8 GB of gpt-oss-20b open without being read.
func TestOpens20B(t *testing.T) {
	dir := writeSparse(t, 24)
	before, start := residentBytes(t), time.Now()
	c := open(t, dir)
	took, grown := time.Since(start), residentBytes(t)-before
	if c.Bytes() != 13761264768 || len(c.Tensors()) != 459 {
		t.Errorf("%d bytes in %d tensors", c.Bytes(), len(c.Tensors()))
	}
	t.Logf("opened in %v, %d MB more in memory", took.Round(time.Millisecond), grown>>20)
	if took > time.Second {
		t.Errorf("opening took %v", took)
	}
	if grown > 300<<20 {
		t.Errorf("opening took %d MB", grown>>20)
	}
}

// A token of one layer of gpt-oss-20b touches the weights it needs, 4 experts
// of 32, and takes little memory beside them.
func TestRunsOneLayerOf20B(t *testing.T) {
	if testing.Short() {
		t.Skip("reads 1.3 GB of zeros")
	}
	c := open(t, writeSparse(t, 1))
	before := residentBytes(t)
	m := compile(t, c.Config(), c, newCPU(t, 0), 1)
	r := newRunner(t, m, 1)
	if err := m.Append(r.batch, r.seqs[0], []int32{199998}); err != nil {
		t.Fatal(err)
	}
	for i, v := range m.Logits(0) {
		if v != 0 {
			t.Fatalf("logit %d of a model of zeros is %v", i, v)
		}
	}
	// The head takes 1.16 GB, attention 53 MB, four experts 53 MB.
	grown := residentBytes(t) - before
	t.Logf("%d MB more in memory", grown>>20)
	if grown > 1500<<20 {
		t.Errorf("a token took %d MB", grown>>20)
	}
}
