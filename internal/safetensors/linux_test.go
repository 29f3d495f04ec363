//go:build linux && !nommap

package safetensors

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// residentBytes returns the process's resident set size.
func residentBytes(t *testing.T) int64 {
	t.Helper()
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	var total, resident int64
	if _, err := fmt.Sscan(string(b), &total, &resident); err != nil {
		t.Fatal(err)
	}
	return resident * int64(os.Getpagesize())
}

// TestLargeFile opens a sparse 12 GB file and reads one tensor at its end: only what is touched may become resident.
func TestLargeFile(t *testing.T) {
	if strconv.IntSize < 64 {
		t.Skip("a 32-bit address space cannot map 12 GB")
	}
	const big, small int64 = 12_000_000_000, 1 << 20
	header := fmt.Sprintf(`{"big":{"dtype":"U8","shape":[%d],"data_offsets":[0,%d]},"small":{"dtype":"BF16","shape":[%d],"data_offsets":[%d,%d]}}`,
		big, big, small/2, big, big+small)
	head := raw(header, 0)
	path := put(t, filepath.Join(t.TempDir(), "sparse.safetensors"), head)
	if err := os.Truncate(path, int64(len(head))+big+small); err != nil {
		t.Skip("cannot make a sparse file here: ", err)
	}
	debug.FreeOSMemory()
	before := residentBytes(t)
	a, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	x, err := a.Tensor("small")
	if err != nil || a.Bytes() != big+small {
		t.Fatal(a.Bytes(), err)
	}
	dst := make([]float32, x.Len())
	if err := x.DecodeFloat32(dst, 0); err != nil {
		t.Fatal(err)
	}
	if grown := residentBytes(t) - before; grown > 16<<20 {
		t.Errorf("resident memory grew by %d bytes", grown)
	}
}

// TestNoSpace fills a 1 MB file system: one clear line, and nothing under a final name.
func TestNoSpace(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skip("needs the right to mount: ", err)
	}
	defer unix.Unmount(dir, 0)
	spec := Spec{"a", U8, []int{2 << 20}}
	_, err := Create(dir, []Spec{spec}, Options{})
	oneLine(t, err, "reserve", filepath.Join(dir, singleName), "no space left on device")
	if got := listing(t, dir); !errors.Is(err, unix.ENOSPC) || len(got) != 0 {
		t.Errorf("%v; left behind: %v", err, got)
	}
	// Where space cannot be reserved, the write fails; truncating takes the reservation away again.
	spec.Shape[0] = 1 << 19
	w := mustCreate(t, dir, []Spec{spec}, Options{})
	s := w.tensors["a"].shard
	if err := os.Truncate(filepath.Join(dir, listing(t, dir)[0]), 0); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(dir, "filler"), make([]byte, 900<<10))
	err = w.Write("a", content(spec))
	oneLine(t, err, `"a"`, s.name, "no space left on device")
	oneLine(t, w.Commit(), `"a"`, "bytes were written")
	if err := w.Abort(); err != nil {
		t.Fatal(err)
	}
	if got := listing(t, dir); len(got) != 1 || got[0] != "filler" {
		t.Errorf("left behind: %v", got)
	}
}

// TestDataIsReadOnly asserts that the mapping refuses writes instead of changing the checkpoint.
func TestDataIsReadOnly(t *testing.T) {
	file := raw(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, 1)
	path := put(t, filepath.Join(t.TempDir(), "x.safetensors"), file)
	a, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	x, _ := a.Lookup("a")
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	func() {
		defer func() {
			if recover() == nil {
				t.Error("a write to Data went through")
			}
		}()
		x.Data[0] = 9
	}()
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, file) {
		t.Errorf("the file changed: %v", err)
	}
}
