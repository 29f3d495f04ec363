package hub

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/seed-796a8800/tritium/internal/atomicfile"
)

// A Place is where a Pull puts files: Dir, or a Cache's Place.
type Place interface {
	dir() string               // of the snapshot
	file(f File) string        // where a complete file is
	finish(files []File) error // makes a snapshot of them
}

// Dir is a plain directory.
type Dir string

func (d Dir) dir() string         { return string(d) }
func (d Dir) file(f File) string  { return filepath.Join(string(d), f.Path) }
func (d Dir) finish([]File) error { return nil }

// Cache is the directory of the cache that tools share, such as ~/.cache/huggingface/hub.
type Cache string

// ErrNotCached says that the cache lacks a snapshot.
var ErrNotCached = errors.New("it is not in the cache")

// root is the directory of a repository.
func (c Cache) root(repo string) string {
	return filepath.Join(string(c), "models--"+strings.ReplaceAll(repo, "/", "--"))
}

// Snapshot returns the directory of a revision that was fetched before.
//
// Errors: ErrNotCached; a cache that is damaged.
func (c Cache) Snapshot(repo, revision string) (string, error) {
	if !IsRepo(repo) {
		return "", wrap(ErrNotCached, repo)
	}
	if err := checkRevision(revision); err != nil {
		return "", wrap(err, repo)
	}
	commit := revision
	if !commitID.MatchString(commit) {
		ref := filepath.Join(c.root(repo), "refs", filepath.FromSlash(revision))
		text, err := readRef(ref)
		if errors.Is(err, fs.ErrNotExist) {
			return "", wrap(ErrNotCached, repo, "revision "+revision)
		}
		if err != nil {
			return "", wrap(err, repo)
		}
		if commit = strings.TrimSpace(text); !commitID.MatchString(commit) {
			return "", wrap(fmt.Errorf("%s holds no commit; remove it and pull again", ref), repo)
		}
	}
	dir := filepath.Join(c.root(repo), "snapshots", commit)
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return "", wrap(ErrNotCached, repo, "revision "+revision)
	}
	return dir, nil
}

// readRef reads a file that holds a commit, and no more of it than that takes.
func readRef(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("%s is not a file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 100))
	return string(text), err
}

// Place returns where a commit of a repository goes. Revision, where it is not the commit itself, is what Snapshot will
// find it by.
func (c Cache) Place(repo, revision, commit string) Place {
	return &cached{root: c.root(repo), revision: revision, commit: commit, link: os.Symlink}
}

type cached struct {
	root, revision, commit string
	link                   func(old, new string) error
}

func (c *cached) dir() string        { return filepath.Join(c.root, "snapshots", c.commit) }
func (c *cached) file(f File) string { return filepath.Join(c.root, "blobs", f.id()) }

// finish makes the snapshot, then the name that leads to it.
func (c *cached) finish(files []File) error {
	if err := os.MkdirAll(c.dir(), 0o777); err != nil {
		return err
	}
	for _, f := range files {
		if err := c.show(f); err != nil {
			return err
		}
	}
	syncDir(c.dir())
	if c.revision == c.commit {
		return nil
	}
	ref := filepath.Join(c.root, "refs", filepath.FromSlash(c.revision))
	if err := os.MkdirAll(filepath.Dir(ref), 0o777); err != nil {
		return err
	}
	return atomicfile.WriteFile(ref, func(w io.Writer) error {
		_, err := io.WriteString(w, c.commit)
		return err
	})
}

// show puts a blob into the snapshot: as a link, and where the system allows none as another name of the file or as a
// copy.
func (c *cached) show(f File) error {
	name, blob := filepath.Join(c.dir(), f.Path), c.file(f)
	there, err := os.Stat(name)
	if want, e := os.Stat(blob); err == nil && e == nil && os.SameFile(there, want) {
		return nil
	}
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if c.link(filepath.Join("..", "..", "blobs", f.id()), name) == nil || os.Link(blob, name) == nil {
		return nil
	}
	from, err := os.Open(blob)
	if err != nil {
		return err
	}
	defer from.Close()
	return atomicfile.WriteFile(name, func(w io.Writer) error {
		_, err := io.Copy(w, from)
		return err
	})
}
