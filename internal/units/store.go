// Package units keeps the results of a long computation in a directory, each under a name that is the hash of what it
// was made from, so that a computation that was interrupted goes on where it was, several processes share one, and
// nothing is made twice.
//
// # Files
//
//	<key>              a finished unit, exactly as it was written
//	<key>.sha256       its checksum, as sha256sum writes it: `sha256sum -c *.sha256` checks a store
//	<key>.partial      being written by the process that has the claim
//	<key>.checkpoint   what that process wants to find again if it dies
//	claims/<key>       empty; locked by the process that makes the unit
//	claims/store       empty; locked, shared, by every process that has the store open
//
// The checksum is on disk before the unit gets its name, so a unit without a checksum that fits it is damaged and
// counts as missing.
//
// # Claims
//
// A claim is an advisory lock of the operating system, which ends with its process however that ends: a unit whose
// maker was killed is free at once. The file system must have locks; where it has none every call fails and says so.
package units

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/gofrs/flock"
	"github.com/seed-796a8800/tritium/internal/atomicfile"
)

// poll is how often a claim that another process holds is tried again.
const poll = 100 * time.Millisecond

const (
	claims        = "claims"
	sumSuffix     = ".sha256"
	partialSuffix = ".partial"
)

// Store is a directory of units. Its methods may be called by several goroutines at a time.
type Store struct {
	// Notice, if set before the first call, is told of what was repaired: a unit that was damaged and is made again.
	Notice func(error)

	dir  string
	open *flock.Flock

	mu       sync.Mutex
	verified map[Key]bool
	freed    chan struct{} // closed when this process gives up a claim
}

// Open opens the store in dir, which is created if it is not there, and removes what dead processes left half written.
//
// Errors: no directory, or one that has other files; a file system without locks.
func Open(dir string) (*Store, error) {
	s := &Store{dir: filepath.Clean(dir), verified: map[Key]bool{}, freed: newSignal()}
	if err := s.check(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(s.dir, claims), 0o777); err != nil {
		return nil, fmt.Errorf("units: %w", err)
	}
	s.open = s.lock("store")
	// Whoever holds it exclusively is about to remove the directory.
	if ok, err := s.open.TryRLock(); err != nil || !ok {
		return nil, s.failed(ok, err)
	}
	s.sweep()
	return s, nil
}

func (s *Store) failed(locked bool, err error) error {
	if err == nil && !locked {
		return fmt.Errorf("units: %s: another process is removing it; try again", s.dir)
	}
	return fmt.Errorf("units: %s: cannot lock a file there; choose a directory on a file system with locks: %w", s.dir, err)
}

// check refuses a directory that is something else: it would be removed in the end.
func (s *Store) check() error {
	entries, err := os.ReadDir(s.dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("units: %w", err)
	}
	for _, e := range entries {
		if _, ok := keyOf(e.Name()); !ok && e.Name() != claims {
			return fmt.Errorf("units: %s has %s in it and is no store; choose another directory", s.dir, e.Name())
		}
	}
	return nil
}

// keyOf returns the key that a file's name starts with, or that its temporary's does.
func keyOf(name string) (k Key, ok bool) {
	name, _, _ = strings.Cut(strings.TrimPrefix(name, "."), ".")
	if len(name) != 2*len(k) {
		return k, false
	}
	_, err := hex.Decode(k[:], []byte(name))
	return k, err == nil
}

// sweep removes what is left of units that nobody is making. It is a courtesy: what it cannot remove it leaves.
func (s *Store) sweep() {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		k, ok := keyOf(e.Name())
		stale := strings.Contains(e.Name(), ".partial")
		if !ok || !stale {
			continue
		}
		if l := s.lock(k.String()); tryLock(l) {
			os.Remove(filepath.Join(s.dir, e.Name()))
			l.Unlock()
		}
	}
}

func tryLock(l *flock.Flock) bool {
	ok, err := l.TryLock()
	return ok && err == nil
}

func (s *Store) lock(name string) *flock.Flock {
	return flock.New(filepath.Join(s.dir, claims, name), flock.SetFlag(os.O_CREATE|os.O_RDWR), flock.SetPermissions(0o666))
}

// Dir returns the store's directory.
func (s *Store) Dir() string { return s.dir }

// Path returns where a finished unit is. What is there may be read, and is never changed.
func (s *Store) Path(k Key) string { return filepath.Join(s.dir, k.String()) }

// Checkpoint returns where the maker of a unit may keep what it wants to find if it has to start again. It is written
// with atomicfile by whoever has the claim, and removed when the unit is finished.
func (s *Store) Checkpoint(k Key) string { return s.Path(k) + ".checkpoint" }

// Has says whether a unit is finished and undamaged. Its checksum is computed once in a process.
func (s *Store) Has(k Key) bool { return s.verify(k) == nil }

// verify returns an error that is os.ErrNotExist for a unit that is not there.
func (s *Store) verify(k Key) error {
	if _, err := os.Stat(s.Path(k)); err != nil {
		return err
	}
	s.mu.Lock()
	ok := s.verified[k]
	s.mu.Unlock()
	if ok {
		return nil
	}
	want, err := os.ReadFile(s.Path(k) + sumSuffix)
	if err != nil {
		return fmt.Errorf("units: %s: its checksum cannot be read: %v", s.Path(k), err)
	}
	got, err := sumLine(s.Path(k), k)
	if err != nil {
		return err
	}
	if !bytes.Equal(want, got) {
		return fmt.Errorf("units: %s does not have its checksum", s.Path(k))
	}
	s.remember(k, true)
	return nil
}

func (s *Store) remember(k Key, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.verified[k] = ok
}

// sumLine returns the checksum of a file as sha256sum writes it.
func sumLine(path string, k Key) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return nil, fmt.Errorf("units: %w", err)
	}
	return fmt.Appendf(nil, "%x  %v\n", h.Sum(nil), k), nil
}

// Do returns the path of a unit, which make writes to a temporary path if it is not there. While another process or
// goroutine makes it, Do waits, and takes over if that one fails or dies.
//
// Make may call Do for the units that this one stands on.
//
// Errors: make's as it is; the context's; the operating system's.
func (s *Store) Do(ctx context.Context, k Key, make func(temporary string) error) (path string, err error) {
	for {
		s.mu.Lock()
		freed := s.freed
		s.mu.Unlock()
		if done, err := s.Try(ctx, k, make); done || err != nil {
			return s.Path(k), err
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-freed:
		case <-time.After(poll):
		}
	}
}

// Try is Do without waiting: it says whether the unit is finished, and not if somebody else is making it.
func (s *Store) Try(ctx context.Context, k Key, make func(temporary string) error) (done bool, err error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	if s.Has(k) {
		return true, nil
	}
	l := s.lock(k.String())
	if ok, err := l.TryLock(); err != nil {
		return false, s.failed(ok, err)
	} else if !ok {
		return false, nil
	}
	defer func() {
		l.Unlock() // closes the file, which is what frees the claim
		s.mu.Lock()
		close(s.freed)
		s.freed = newSignal()
		s.mu.Unlock()
	}()
	damage := s.verify(k)
	if damage == nil {
		return true, nil // finished while we asked
	}
	if !errors.Is(damage, os.ErrNotExist) && s.Notice != nil {
		s.Notice(fmt.Errorf("%w; making it again", damage))
	}
	if err := s.finish(k, make); err != nil {
		return false, err
	}
	return true, nil
}

func newSignal() chan struct{} { return make(chan struct{}) } // where make is a parameter

// finish makes a unit that this process has the claim to.
func (s *Store) finish(k Key, make func(temporary string) error) error {
	partial := s.Path(k) + partialSuffix
	if err := os.Remove(partial); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("units: %w", err)
	}
	defer os.Remove(partial) // after an error or a panic of make; nothing is there otherwise
	if err := make(partial); err != nil {
		return err
	}
	sum, err := sumLine(partial, k)
	if err != nil {
		return fmt.Errorf("units: %s was not written: %w", partial, err)
	}
	err = atomicfile.WriteFile(s.Path(k)+sumSuffix, func(w io.Writer) error {
		_, err := w.Write(sum)
		return err
	})
	if err != nil {
		return err
	}
	if err := atomicfile.Replace(partial, s.Path(k)); err != nil {
		return err
	}
	s.remember(k, true)
	return s.remove(s.Checkpoint(k))
}

// Remove removes a unit that nobody needs any more, with its checkpoint. It is no error if it is not there.
func (s *Store) Remove(k Key) error {
	s.remember(k, false)
	return errors.Join(s.remove(s.Path(k)), s.remove(s.Path(k)+sumSuffix), s.remove(s.Checkpoint(k)))
}

func (s *Store) remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("units: %w", err)
	}
	return nil
}

// Empty says whether the store has neither a unit nor the start of one.
func (s *Store) Empty() bool {
	empty := true
	s.each(func(os.FileInfo) { empty = false })
	return empty
}

// Bytes returns the size of all files.
func (s *Store) Bytes() (n int64) {
	s.each(func(info os.FileInfo) { n += info.Size() })
	return n
}

func (s *Store) each(f func(os.FileInfo)) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return // whoever writes next will say so
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			f(info)
		}
	}
}

// Close ends the use of the store and leaves it for others.
func (s *Store) Close() error { return s.open.Unlock() }

// Discard ends the use of the store and removes it, unless another process has it open: the last of them removes it.
func (s *Store) Discard() error { return s.discard(func() (all bool, err error) { return true, nil }) }

// DiscardUnits is Discard for a store that others keep their units in: it removes some units, and the store if no
// others are left.
func (s *Store) DiscardUnits(keys []Key) error {
	return s.discard(func() (all bool, err error) {
		for _, k := range keys {
			err = errors.Join(err, s.Remove(k), s.remove(filepath.Join(s.dir, claims, k.String())))
		}
		return s.Empty(), err
	})
}

// discard removes the store if it is this process' alone and if all says so.
func (s *Store) discard(all func() (bool, error)) error {
	if err := s.open.Unlock(); err != nil {
		return err
	}
	if !tryLock(s.open) {
		return nil
	}
	whole, err := all()
	if whole && err == nil {
		err = os.RemoveAll(s.dir)
		if unlock := s.open.Unlock(); unlock != nil {
			return errors.Join(err, unlock)
		}
		if err != nil { // Windows removes no file that is open, which the lock was
			err = os.RemoveAll(s.dir)
		}
		if err != nil {
			return fmt.Errorf("units: %w", err)
		}
		return nil
	}
	return errors.Join(err, s.open.Unlock())
}
