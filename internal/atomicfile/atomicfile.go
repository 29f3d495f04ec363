// Package atomicfile writes files and directories that appear complete under their final name, or not at all.
//
// Everything is written beside its destination under a temporary name, .<base>.partial-<random>, then flushed to
// disk, renamed, and the rename itself flushed. A process that is killed, or a machine that loses power, leaves at
// most such a partial behind.
//
// # Stale partials
//
// A writer holds an advisory lock (flock) on its partial. The next writer of the same destination removes partials
// whose lock is free, since their owner is dead: the system releases locks with the process. Where flock is missing
// (Windows, Solaris) or the file system refuses it, partials are left for the user to delete.
package atomicfile

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
)

// WriteFile replaces the file at path by what write produces. Readers see the old content or the new, never a mix.
//
// A symbolic link at path is replaced, not followed. The new file has mode 0666 less the umask.
//
// Errors: write's error as it is; the operating system's; path existing as something other than a file. On any
// error path is unchanged and nothing is left beside it.
func WriteFile(path string, write func(io.Writer) error) error {
	f, err := Create(path)
	if err != nil {
		return err
	}
	defer f.Abort() // after an error or a panic of write; does nothing after Commit
	if err := write(f); err != nil {
		return err
	}
	return f.Commit()
}

// File is a file being written under a temporary name. Its WriteAt may be called concurrently.
type File struct {
	path string // final
	f    *os.File
	lock *lock
	done bool
}

// Create starts writing the file at path, to be made visible by Commit or dropped by Abort.
//
// Errors: path exists but is not a regular file; the operating system's.
func Create(path string) (*File, error) {
	path = filepath.Clean(path)
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("atomicfile: %s: exists and is not a regular file; choose another name", path)
	}
	partial, l, err := newPartial(path, func(name string) error {
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
		if err != nil {
			return err
		}
		return f.Close()
	})
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(partial, os.O_RDWR, 0)
	if err != nil {
		os.Remove(partial)
		l.release()
		return nil, wrap(path, err)
	}
	return &File{path: path, f: f, lock: l}, nil
}

// Write appends to the file.
func (f *File) Write(b []byte) (int, error) {
	n, err := f.f.Write(b)
	return n, wrap(f.path, err)
}

// WriteAt writes at an offset; parallel calls may not overlap.
func (f *File) WriteAt(b []byte, off int64) (int, error) {
	n, err := f.f.WriteAt(b, off)
	return n, wrap(f.path, err)
}

// Reserve sets the file's size and, where the system can, claims the disk space now rather than failing midway.
//
// Errors: no space left on the device.
func (f *File) Reserve(size int64) error { return wrap(f.path, reserve(f.f, size)) }

// Sync flushes what was written to disk.
func (f *File) Sync() error { return wrap(f.path, f.f.Sync()) }

// Commit flushes the file, gives it its final name, and flushes the directory. On error the file is dropped.
// After Commit or Abort, both do nothing.
func (f *File) Commit() error {
	if f.done {
		return nil
	}
	err := f.f.Sync()
	if err == nil {
		err = f.f.Close() // Windows renames only closed files
	}
	if err == nil {
		err = os.Rename(f.f.Name(), f.path)
	}
	if err != nil {
		f.Abort() // what it cannot remove, the next writer of the path will
		return wrap(f.path, err)
	}
	f.done = true
	f.lock.release()
	return wrap(f.path, syncDir(filepath.Dir(f.path)))
}

// Abort drops the file. After Commit or Abort, both do nothing.
//
// Errors: the partial cannot be removed.
func (f *File) Abort() error {
	if f.done {
		return nil
	}
	f.done = true
	f.f.Close() // nothing to lose; a file Commit closed reports ErrClosed
	err := os.Remove(f.f.Name())
	f.lock.release()
	return wrap(f.path, err)
}

// newPartial removes stale partials of path, then creates and locks a new one. path is clean.
func newPartial(path string, create func(name string) error) (string, *lock, error) {
	prefix := "." + filepath.Base(path) + ".partial-"
	removeStale(filepath.Dir(path), prefix)
	// A concurrent removeStale can win the moment between creation and lock; that name is lost, another is tried.
	for range 100 {
		name := filepath.Join(filepath.Dir(path), fmt.Sprintf("%s%016x", prefix, rand.Uint64()))
		if err := create(name); errors.Is(err, os.ErrExist) {
			continue
		} else if err != nil {
			return "", nil, wrap(path, err)
		}
		l, err := acquire(name)
		if err != nil && !errors.Is(err, errLocked) {
			os.RemoveAll(name)
			return "", nil, wrap(path, err)
		}
		if err == nil && l.holds(name) {
			return name, l, nil
		}
		l.release()
	}
	return "", nil, fmt.Errorf("atomicfile: %s: cannot create a temporary beside it; another process keeps removing it", path)
}

// removeStale deletes the partials whose owner is dead. It is a courtesy: what it cannot delete it leaves.
func removeStale(dir, prefix string) {
	if !canLock {
		return
	}
	list, err := os.ReadDir(dir)
	if err != nil {
		return // creating the partial will report it
	}
	for _, e := range list {
		random, ok := strings.CutPrefix(e.Name(), prefix)
		if !ok || len(random) != 16 || !(e.IsDir() || e.Type().IsRegular()) {
			continue
		}
		name := filepath.Join(dir, e.Name())
		if l, err := acquire(name); err == nil {
			// An owner that commits holds its lock until after the rename, so a free lock on a name that still
			// exists is a dead owner's; RemoveAll goes by name and cannot touch a committed file.
			if l.held() {
				os.RemoveAll(name)
			}
			l.release()
		}
	}
}

// wrap says which destination failed; the temporary name in an os error would only confuse.
func wrap(path string, err error) error {
	if err == nil {
		return nil
	}
	if pe, ok := errors.AsType[*os.PathError](err); ok {
		err = pe.Err
	} else if le, ok := errors.AsType[*os.LinkError](err); ok {
		err = le.Err
	}
	return fmt.Errorf("atomicfile: %s: %w", path, err)
}
