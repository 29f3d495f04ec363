// Package hubtest is a Hugging Face Hub for tests: one repository of one commit, with a second host that has the large
// files, as the Hub has, and with faults.
package hubtest

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Commit is the one commit that a Server has.
const Commit = "0123456789abcdef0123456789abcdef01234567"

// A Server is a running Hub. Set its fields before the first request.
type Server struct {
	URL  string // the endpoint
	Repo string

	Token    string                                      // where it is set, who does not send it gets 401
	PageSize int                                         // entries of a page of the list of files; 0 is all
	Entries  []any                                       // more entries of the list, for lies
	Fault    func(w http.ResponseWriter, r Request) bool // called first; true: it has answered

	files    fs.FS
	hub, cdn *httptest.Server
	mu       sync.Mutex
	log      []Request
	hashes   sync.Map // of files, func() string
}

// Request is what a client asked for.
type Request struct {
	*http.Request
	CDN       bool
	File      string // "" is a question to the API
	From, End int64  // of the file
	Content   []byte // of that part; nil for what is large
}

// New starts a server with the files of a tree. Files that end in .safetensors, and tokenizer.json, are on the second
// host. Close it.
func New(repo string, files fs.FS) *Server {
	s := &Server{Repo: repo, files: files}
	s.hub = httptest.NewServer(http.HandlerFunc(s.serveHub))
	s.cdn = httptest.NewServer(http.HandlerFunc(s.serveCDN))
	s.URL = s.hub.URL
	return s
}

// Close stops it, in the middle of what it is doing.
func (s *Server) Close() {
	for _, h := range []*httptest.Server{s.hub, s.cdn} {
		h.CloseClientConnections()
		h.Close()
	}
}

// Log returns the requests so far, oldest first.
func (s *Server) Log() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.log)
}

// SetFault sets Fault while requests are served.
func (s *Server) SetFault(fault func(http.ResponseWriter, Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Fault = fault
}

// Forget empties the log.
func (s *Server) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = nil
}

func large(name string) bool { return path.Ext(name) == ".safetensors" || name == "tokenizer.json" }

// enter logs a request and lets Fault have it first.
func (s *Server) enter(w http.ResponseWriter, r Request) (answered bool) {
	s.mu.Lock()
	s.log = append(s.log, r)
	fault := s.Fault
	s.mu.Unlock()
	return fault != nil && fault(w, r)
}

func (s *Server) serveHub(w http.ResponseWriter, r *http.Request) {
	api := "/api/models/" + s.Repo
	file, download := strings.CutPrefix(r.URL.Path, "/"+s.Repo+"/resolve/"+Commit+"/")
	request := Request{Request: r}
	if download {
		request = s.request(r, file)
	}
	if s.enter(w, request) {
		return
	}
	switch rev, revision := strings.CutPrefix(r.URL.Path, api+"/revision/"); {
	case s.Token != "" && r.Header.Get("Authorization") != "Bearer "+s.Token:
		http.Error(w, "Invalid username or password.", http.StatusUnauthorized)
	case revision && (rev == "main" || rev == "refs/pr/1" || rev == Commit):
		fmt.Fprintf(w, `{"id": %q, "sha": %q, "private": false}`, s.Repo, Commit)
	case revision:
		w.Header().Set("X-Error-Code", "RevisionNotFound")
		http.Error(w, "Invalid rev id", http.StatusNotFound)
	case r.URL.Path == api+"/tree/"+Commit:
		s.serveTree(w, r)
	case download && large(file):
		w.Header().Set("X-Linked-Etag", `"`+s.hash(file)+`"`)
		http.Redirect(w, r, s.cdn.URL+"/"+file+"?signature=secret", http.StatusFound)
	case download:
		w.Header().Set("ETag", `"`+s.hash(file)+`"`)
		s.serveFile(w, r, file)
	default:
		w.Header().Set("X-Error-Code", "RepoNotFound")
		http.Error(w, "Repository not found", http.StatusUnauthorized)
	}
}

func (s *Server) serveCDN(w http.ResponseWriter, r *http.Request) {
	file := strings.TrimPrefix(r.URL.Path, "/")
	request := s.request(r, file)
	request.CDN = true
	if s.enter(w, request) {
		return
	}
	if r.URL.RawQuery != "signature=secret" {
		http.Error(w, "expired", http.StatusForbidden)
		return
	}
	s.serveFile(w, r, file)
}

func (s *Server) serveFile(w http.ResponseWriter, r *http.Request, file string) {
	f, err := s.files.Open(file)
	if err != nil {
		w.Header().Set("X-Error-Code", "EntryNotFound")
		http.Error(w, "Entry not found", http.StatusNotFound)
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(w, r, "", info.ModTime(), f.(io.ReadSeeker))
}

// request says which part of a file is asked for.
func (s *Server) request(r *http.Request, file string) Request {
	q := Request{Request: r, File: file}
	info, err := fs.Stat(s.files, file)
	if err != nil {
		return q
	}
	q.End = info.Size()
	var first, last int64
	if n, _ := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &first, &last); n == 2 && first <= last && last < q.End {
		q.From, q.End = first, last+1
	}
	if info.Size() <= 64<<20 {
		if data, err := fs.ReadFile(s.files, file); err == nil {
			q.Content = data[q.From:q.End]
		}
	}
	return q
}

// hash is the one by which the Hub knows a file; "" for none. It is computed once.
func (s *Server) hash(file string) string {
	once, _ := s.hashes.LoadOrStore(file, sync.OnceValue(func() string { return s.newHash(file) }))
	return once.(func() string)()
}

func (s *Server) newHash(file string) string {
	f, err := s.files.Open(file)
	if err != nil {
		return ""
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return ""
	}
	h := sha256.New()
	if !large(file) {
		h = sha1.New()
		fmt.Fprintf(h, "blob %d\x00", info.Size())
	}
	if _, err := io.Copy(h, f); err != nil {
		return ""
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

func (s *Server) serveTree(w http.ResponseWriter, r *http.Request) {
	entries := slices.Clone(s.Entries)
	fs.WalkDir(s.files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		entry := map[string]any{"type": "directory", "path": name, "oid": strings.Repeat("a", 40), "size": 0}
		if !d.IsDir() {
			info, err := d.Info()
			if err != nil {
				return err
			}
			entry["type"], entry["size"] = "file", info.Size()
			if large(name) {
				entry["lfs"] = map[string]any{"oid": s.hash(name), "size": info.Size(), "pointerSize": 134}
			} else {
				entry["oid"] = s.hash(name)
			}
		}
		entries = append(entries, entry)
		return nil
	})
	at, _ := strconv.Atoi(r.URL.Query().Get("cursor"))
	at = min(max(at, 0), len(entries))
	end := len(entries)
	if s.PageSize > 0 && at+s.PageSize < end {
		end = at + s.PageSize
		// The host is another one, as behind a mirror: a client has to keep to its endpoint.
		w.Header().Set("Link", fmt.Sprintf(`<https://hub.invalid%s?recursive=1&cursor=%d>; rel="next"`, r.URL.Path, end))
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(entries[at:end])
}
