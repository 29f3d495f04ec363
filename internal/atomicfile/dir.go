package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Dir is a directory being written under a temporary name.
type Dir struct {
	path    string // final
	partial string
	lock    *lock
	done    bool
}

// CreateDir starts writing the directory at path, to be made visible by Commit or dropped by Abort.
//
// Errors: path exists, or its parent does not; the operating system's.
func CreateDir(path string) (*Dir, error) {
	path = filepath.Clean(path)
	if err := checkFree(path); err != nil {
		return nil, err
	}
	partial, l, err := newPartial(path, func(name string) error { return os.Mkdir(name, 0o777) })
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("atomicfile: %s: its parent directory does not exist; create it first: %w", path, os.ErrNotExist)
	}
	if err != nil {
		return nil, err
	}
	return &Dir{path: path, partial: partial, lock: l}, nil
}

// Path returns the directory to write into until Commit.
func (d *Dir) Path() string { return d.partial }

// Commit flushes every file and directory below Path, gives the directory its final name, and flushes the parent.
// Files below Path must be closed. On error the directory keeps its temporary name; Commit again or Abort.
// After a successful Commit or an Abort, both do nothing.
//
// Errors: path has come to exist meanwhile; the operating system's.
func (d *Dir) Commit() error {
	if d.done {
		return nil
	}
	if err := syncTree(d.partial); err != nil {
		return fmt.Errorf("atomicfile: %s: %w", d.path, err)
	}
	// Renaming onto a file or a filled directory fails by itself, so losing a race after this check harms nothing.
	if err := checkFree(d.path); err != nil {
		return err
	}
	if err := os.Rename(d.partial, d.path); err != nil {
		return wrap(d.path, err)
	}
	d.done = true
	d.lock.release()
	return wrap(d.path, syncDir(filepath.Dir(d.path)))
}

// Abort removes the directory and all in it. After a successful Commit or an Abort, both do nothing.
//
// Errors: the partial cannot be removed.
func (d *Dir) Abort() error {
	if d.done {
		return nil
	}
	d.done = true
	err := os.RemoveAll(d.partial)
	d.lock.release()
	return wrap(d.path, err)
}

func checkFree(path string) error {
	switch _, err := os.Lstat(path); {
	case err == nil:
		return fmt.Errorf("atomicfile: %s: already exists; remove it or choose another name: %w", path, os.ErrExist)
	case !errors.Is(err, os.ErrNotExist):
		return wrap(path, err)
	}
	return nil
}

// syncTree flushes the files below root, and each directory's list of names. Links and devices have no content of ours.
func syncTree(root string) error {
	return filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
		case e.IsDir():
			err = syncDir(path)
		case e.Type().IsRegular():
			err = syncFile(path)
		}
		if err != nil {
			return fmt.Errorf("flush to disk: %w", err) // an os error, which names the file
		}
		return nil
	})
}
