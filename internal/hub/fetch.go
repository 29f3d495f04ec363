package hub

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
)

// source is a file at a commit, as it can be read from the Hub.
type source struct {
	c            *Client
	repo, commit string
	file         File
	direct       atomic.Pointer[url.URL] // where the endpoint sends its downloads
}

// errNoRanges says that a server answers with the whole file whatever part is asked for.
var errNoRanges = errors.New("the server does not know ranges")

// open asks for bytes [from, end) of the file, where it was found last or through the endpoint. The response has been
// checked: its body begins with byte from, or with the first where whole.
//
// Errors: errNoRanges where the server sends more than was asked for and whole is false.
func (s *source) open(ctx context.Context, from, end int64, whole bool) (*http.Response, error) {
	ranges := fmt.Sprintf("bytes=%d-%d", from, end-1)
	if whole || from == end {
		ranges = ""
	}
	var r *http.Response
	var err error
	if u := s.direct.Load(); u != nil {
		var p passingError
		if r, err = s.c.get(ctx, s.repo, u, ranges); errors.As(err, &p) && p.moved {
			s.direct.CompareAndSwap(u, nil) // signatures expire; the endpoint gives another
			r = nil
		} else if err != nil {
			return nil, err
		}
	}
	if r == nil {
		if r, err = s.c.get(ctx, s.repo, s.c.url(s.repo, "resolve", s.commit, s.file.Path), ranges); err != nil {
			return nil, err
		}
		if r.Request.URL.Host != s.c.endpoint.Host {
			s.direct.Store(r.Request.URL)
		}
	}
	if err := s.check(r, from, end, whole); err != nil {
		r.Body.Close()
		return nil, err
	}
	return r, nil
}

// check refuses a response that is not the part of the file that was asked for.
func (s *source) check(r *http.Response, from, end int64, whole bool) error {
	if err := webPage(r); err != nil {
		return err
	}
	host, size := r.Request.URL.Host, s.file.Size
	if id := s.identity(r); id != "" && id != s.file.id() {
		return final("%s has another content now than it listed; start again", host)
	}
	if r.StatusCode == http.StatusOK {
		if r.ContentLength >= 0 && r.ContentLength != size {
			return final("%s sends %d bytes where its list says %d; try again later, or another HF_ENDPOINT", host, r.ContentLength, size)
		}
		if !whole && (from != 0 || end != size) {
			return errNoRanges
		}
		return nil
	}
	var first, last, total int64
	n, err := fmt.Sscanf(r.Header.Get("Content-Range"), "bytes %d-%d/%d", &first, &last, &total)
	switch {
	case n != 3 || err != nil || whole:
		return passing("%s answers %s without saying which part of the file it is", host, status(r))
	case total != size:
		return final("%s says that the file has %d bytes where its list says %d; try again later, or another HF_ENDPOINT", host, total, size)
	case first != from || last != end-1:
		return passing("%s sends bytes %d to %d instead of %d to %d", host, first, last, from, end-1)
	}
	return nil
}

// identity returns the hash that the endpoint says its file has, "" where it does not say. Elsewhere an ETag may be
// anything.
func (s *source) identity(r *http.Response) string {
	for at := r; at != nil; at = at.Request.Response {
		if at.Request.URL.Host != s.c.endpoint.Host {
			continue
		}
		tag := at.Header.Get("X-Linked-Etag")
		if tag == "" {
			tag = at.Header.Get("ETag")
		}
		tag = strings.Trim(strings.TrimPrefix(tag, "W/"), `"`)
		if len(tag) == len(s.file.id()) && (sha256ID.MatchString(tag) || commitID.MatchString(tag)) {
			return tag
		}
	}
	return ""
}

// bufferSize is what is read at a time.
const bufferSize = 256 << 10

// copy reads bytes [from, end) from a body into sink. It says how many came, all of them without an error.
func (s *source) copy(r *http.Response, from, end int64, sink func(b []byte, at int64) error) (n int64, err error) {
	buffer := make([]byte, min(bufferSize, end-from))
	for from+n < end {
		k, err := r.Body.Read(buffer[:min(int64(len(buffer)), end-from-n)])
		if err := sink(buffer[:k], from+n); err != nil {
			return n, err
		}
		n += int64(k)
		switch {
		case from+n == end:
		case err == io.EOF:
			return n, passing("the connection to %s was cut", r.Request.URL.Host)
		case err != nil:
			return n, err
		}
	}
	return n, nil
}

// Read returns bytes [from, end) of a file, for a few of them: a configuration, a header. A whole file is checked
// against the hash that the Hub lists.
//
// Errors: as of Commit; contents with another hash.
func (c *Client) Read(ctx context.Context, repo, commit string, f File, from, end int64) ([]byte, error) {
	if from < 0 || end < from || end > f.Size || end-from > maxAnswer {
		return nil, wrap(fmt.Errorf("bytes %d to %d of %d are not for Read", from, end, f.Size), repo, f.Path)
	}
	s := &source{c: c, repo: repo, commit: commit, file: f}
	data := make([]byte, 0, end-from)
	err := c.persist(ctx, apiAttempts, func() (bool, error) {
		at := from + int64(len(data))
		r, err := s.open(ctx, at, end, false)
		if err != nil {
			return false, err
		}
		defer r.Body.Close()
		n, err := s.copy(r, at, end, func(b []byte, _ int64) error { data = append(data, b...); return nil })
		return n >= leastProgress, err
	})
	if errors.Is(err, errNoRanges) {
		err = final("%s: %w", c.Host(), err)
	}
	if err == nil && from == 0 && end == f.Size {
		h := newHash(f)
		h.Write(data)
		if got := fmt.Sprintf("%x", h.Sum(nil)); got != f.id() {
			err = final("%s sends other bytes than its list says; try again later, or another HF_ENDPOINT", c.Host())
		}
	}
	return data, wrap(err, repo, f.Path)
}

// download is a file on its way to a place.
type download struct {
	source
	*partial
	final     string
	step      int64 // bytes of a range
	streaming atomic.Bool
	ready     atomic.Bool // all ranges are there, and somebody has seen it
	done      *atomic.Int64
	total     *atomic.Int64 // of this run, in bytes of all files
}

// bounds returns the bytes of a range.
func (d *download) bounds(i int) (from, end int64) {
	from = int64(i) * d.step
	return from, min(from+d.step, d.file.Size)
}

// write stores bytes that came.
func (d *download) write(h hash.Hash) func(b []byte, at int64) error {
	return func(b []byte, at int64) error {
		if _, err := d.data.WriteAt(b, at); err != nil {
			return err
		}
		h.Write(b)
		d.done.Add(int64(len(b)))
		return nil
	}
}

// fetch downloads one range and records it. It says whether the file is complete now.
func (d *download) fetch(ctx context.Context, i int) (complete bool, err error) {
	if d.streaming.Load() {
		return false, nil
	}
	from, end := d.bounds(i)
	h := sha256.New()
	err = d.c.persist(ctx, d.c.o.Attempts, func() (bool, error) {
		r, err := d.open(ctx, from, end, false)
		if err != nil {
			return false, err
		}
		defer r.Body.Close()
		n, err := d.copy(r, from, end, d.write(h))
		from += n
		return n >= leastProgress, err
	})
	if errors.Is(err, errNoRanges) {
		if d.streaming.Swap(true) {
			return false, nil // another worker reads it all
		}
		return d.stream(ctx)
	}
	if err != nil {
		return false, err
	}
	return d.finish(i, sum(h.Sum(nil)))
}

// stream downloads what is missing of a file by reading all of it, from a server that does not know ranges.
func (d *download) stream(ctx context.Context) (complete bool, err error) {
	err = d.c.persist(ctx, d.c.o.Attempts, func() (moved bool, err error) {
		r, err := d.open(ctx, 0, d.file.Size, true)
		if err != nil {
			return false, err
		}
		defer r.Body.Close()
		for i := range d.sums {
			from, end := d.bounds(i)
			sink, h := func([]byte, int64) error { return nil }, sha256.New()
			missing := !d.has(i)
			if missing {
				sink = d.write(h)
			}
			if _, err := d.copy(r, from, end, sink); err != nil {
				return moved, err
			}
			if !missing {
				continue
			}
			moved = true
			all, err := d.finish(i, sum(h.Sum(nil)))
			if err != nil {
				return moved, err
			}
			complete = complete || all
		}
		return moved, nil
	})
	return complete, err
}
