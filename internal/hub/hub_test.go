package hub

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/seed-796a8800/tritium/internal/hub/hubtest"
)

const (
	repo     = "org/model"
	testStep = 16 << 10 // bytes of a range
)

// random returns bytes that are no other range's.
func random(n int, seed uint64) []byte {
	b := make([]byte, n)
	var key [32]byte
	key[0] = byte(seed)
	rand.NewChaCha8(key).Read(b)
	return b
}

// tree is a repository: what tritium reads, and what it does not.
func tree() fstest.MapFS {
	return fstest.MapFS{
		"config.json":                      {Data: []byte(`{"model_type": "gpt_oss"}`)},
		"generation_config.json":           {Data: []byte(`{}`)},
		"tokenizer.json":                   {Data: random(3*testStep, 1)},
		"model-00001-of-00002.safetensors": {Data: random(20*testStep+77, 2)},
		"model-00002-of-00002.safetensors": {Data: random(7*testStep, 3)},
		"model.safetensors.index.json":     {Data: random(900, 4)},
		"empty.txt":                        {},
		"LICENSE":                          {Data: []byte("Apache")},
		".gitattributes":                   {Data: []byte("*.safetensors filter=lfs")},
		"original/config.json":             {Data: []byte("{}")},
		"original/model.safetensors":       {Data: random(5*testStep, 5)},
		"metal/model.bin":                  {Data: random(5*testStep, 6)},
		"pytorch_model.bin":                {Data: random(testStep, 7)},
	}
}

// newHub starts a server and a client of it that is quick to try again.
func newHub(t *testing.T, files fs.FS, change ...func(*Options)) (*hubtest.Server, *Client) {
	t.Helper()
	s := hubtest.New(repo, files)
	t.Cleanup(s.Close)
	o := Options{Endpoint: s.URL, Workers: 4, Range: testStep, Stall: 10 * time.Second, Backoff: time.Millisecond, Attempts: 5}
	for _, f := range change {
		f(&o)
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return s, c
}

// pull fetches the repository into a place.
func pull(ctx context.Context, c *Client, p func(commit string) Place) (Result, error) {
	commit, err := c.Commit(ctx, repo, "main")
	if err != nil {
		return Result{}, err
	}
	files, err := c.Files(ctx, repo, commit)
	if err != nil {
		return Result{}, err
	}
	if files, err = Choose(files); err != nil {
		return Result{}, err
	}
	return Pull{Repo: repo, Commit: commit, Files: files, Place: p(commit)}.Run(ctx, c)
}

func toDir(dir string) func(string) Place { return func(string) Place { return Dir(dir) } }

// checkDir compares a directory with what is wanted of a tree.
func checkDir(t *testing.T, dir string, files fstest.MapFS) {
	t.Helper()
	for name, f := range files {
		got, err := os.ReadFile(filepath.Join(dir, name))
		switch wanted := Wanted(File{Path: name}); {
		case wanted && (err != nil || !bytes.Equal(got, f.Data)):
			t.Errorf("%s is not what the server has (%v)", name, err)
		case !wanted && !errors.Is(err, fs.ErrNotExist):
			t.Errorf("%s was fetched", name)
		}
	}
	if rest, err := filepath.Glob(filepath.Join(dir, ".*")); err != nil || len(rest) > 0 {
		t.Errorf("left behind: %q, %v", rest, err)
	}
}

// oneLine checks an error's form and that it has these parts.
func oneLine(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil || strings.Contains(err.Error(), "\n") {
		t.Fatalf("error %q, want one line", err)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("error %q does not say %q", err, p)
		}
	}
	if strings.Contains(err.Error(), "signature") {
		t.Errorf("error %q tells a signed address", err)
	}
}

func TestPullDir(t *testing.T) {
	files := tree()
	s, c := newHub(t, files)
	s.PageSize = 3
	dir := filepath.Join(t.TempDir(), "a", "model")
	r, err := pull(t.Context(), c, toDir(dir))
	if err != nil {
		t.Fatal(err)
	}
	checkDir(t, dir, files)
	want := int64(0)
	for name, f := range files {
		if Wanted(File{Path: name}) {
			want += int64(len(f.Data))
		}
	}
	if r.Dir != dir || r.Bytes != want || r.Fetched != want {
		t.Errorf("result %+v, want %d bytes in %s", r, want, dir)
	}
	// The endpoint is asked for a large file about once a worker, not once a range.
	asked := 0
	for _, q := range s.Log() {
		if q.File == "model-00001-of-00002.safetensors" && !q.CDN {
			asked++
		}
	}
	if asked > 4 {
		t.Errorf("the endpoint was asked %d times for one file", asked)
	}

	// Again: everything is checked, nothing is fetched; what is damaged is mended.
	if r, err := pull(t.Context(), c, toDir(dir)); err != nil || r.Fetched != 0 {
		t.Errorf("a second pull fetched %d bytes: %v", r.Fetched, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "LICENSE"), []byte("apache"), 0o666); err != nil {
		t.Fatal(err)
	}
	if r, err := pull(t.Context(), c, toDir(dir)); err != nil || r.Fetched != 6 {
		t.Errorf("a damaged file of 6 bytes: %d fetched, %v", r.Fetched, err)
	}
	checkDir(t, dir, files)
}

func TestPullCache(t *testing.T) {
	files := tree()
	_, c := newHub(t, files)
	for name, link := range map[string]func(string, string) error{
		"links":  os.Symlink,
		"copies": func(string, string) error { return errors.New("no links here") },
	} {
		t.Run(name, func(t *testing.T) {
			cache := Cache(t.TempDir())
			if _, err := cache.Snapshot(repo, "main"); !errors.Is(err, ErrNotCached) {
				t.Fatalf("an empty cache has a snapshot: %v", err)
			}
			place := func(commit string) Place {
				p := cache.Place(repo, "main", commit)
				p.(*cached).link = link
				return p
			}
			r, err := pull(t.Context(), c, place)
			if err != nil {
				t.Fatal(err)
			}
			checkDir(t, r.Dir, files)
			// The layout is that of huggingface_hub.
			root := filepath.Join(string(cache), "models--org--model")
			if want := filepath.Join(root, "snapshots", hubtest.Commit); r.Dir != want {
				t.Errorf("the snapshot is %s, want %s", r.Dir, want)
			}
			if ref, err := os.ReadFile(filepath.Join(root, "refs", "main")); string(ref) != hubtest.Commit {
				t.Errorf("refs/main is %q, %v", ref, err)
			}
			target, err := os.Readlink(filepath.Join(r.Dir, "LICENSE"))
			// git hash-object of the file's contents
			if want := "../../blobs/47cbf0292a0d752e82821a2c095387c785944193"; name == "links" && filepath.ToSlash(target) != want || (err == nil) != (name == "links") {
				t.Errorf("the snapshot's file leads to %q, %v", target, err)
			}
			for _, revision := range []string{"main", hubtest.Commit} {
				if dir, err := cache.Snapshot(repo, revision); dir != r.Dir || err != nil {
					t.Errorf("snapshot of %s: %s, %v", revision, dir, err)
				}
			}
			if r, err := pull(t.Context(), c, place); err != nil || r.Fetched != 0 {
				t.Errorf("a second pull fetched %d bytes: %v", r.Fetched, err)
			}
		})
	}
}

// TestRevision: a slash in a revision is part of it, not of the address.
func TestRevision(t *testing.T) {
	s, c := newHub(t, tree())
	if commit, err := c.Commit(t.Context(), repo, "refs/pr/1"); commit != hubtest.Commit || err != nil {
		t.Errorf("commit %q, %v", commit, err)
	}
	if got, want := s.Log()[0].RequestURI, "/api/models/org/model/revision/refs%2Fpr%2F1"; got != want {
		t.Errorf("asked for %s, want %s", got, want)
	}
	for _, bad := range []string{"", "../main", "a/../b", "/main", "a b", "main?x", "-rf", "con/../../x"} {
		_, err := c.Commit(t.Context(), repo, bad)
		oneLine(t, err, "is no revision")
	}
	if _, err := c.Commit(t.Context(), "../model", "main"); err == nil || len(s.Log()) != 1 {
		t.Errorf("what is no name was asked for: %v", err)
	}
}

func TestToken(t *testing.T) {
	const token = "hf_secretsecret"
	s, c := newHub(t, tree(), func(o *Options) { o.Token = token })
	s.Token = token
	if _, err := pull(t.Context(), c, toDir(t.TempDir())); err != nil {
		t.Fatal(err)
	}
	hub, cdn := 0, 0
	for _, q := range s.Log() {
		authorization := q.Header.Get("Authorization")
		switch {
		case q.CDN:
			cdn++
			if authorization != "" {
				t.Fatalf("the second host was sent %q", authorization)
			}
		case authorization != "Bearer "+token:
			t.Fatalf("the endpoint was sent %q", authorization)
		default:
			hub++
		}
	}
	if hub < 5 || cdn < 5 {
		t.Errorf("%d and %d requests to the two hosts", hub, cdn)
	}
	for _, o := range []Options{
		{Endpoint: "http://mirror.example", Token: token}, {Endpoint: DefaultEndpoint, Token: "two words"},
		{Endpoint: DefaultEndpoint, Token: "line\nbreak"},
	} {
		if _, err := New(o); err == nil || strings.Contains(err.Error(), o.Token) {
			t.Errorf("%s: error %v", o.Endpoint, err)
		}
	}
	for _, endpoint := range []string{"", "huggingface.co", "ftp://huggingface.co", "https://user@host", "https://host?x", "https://"} {
		if _, err := New(Options{Endpoint: endpoint}); err == nil {
			t.Errorf("endpoint %q was taken", endpoint)
		}
	}
}

func TestProgress(t *testing.T) {
	s, c := newHub(t, tree())
	s.Fault = func(http.ResponseWriter, hubtest.Request) bool { time.Sleep(10 * time.Millisecond); return false }
	files, err := c.Files(t.Context(), repo, hubtest.Commit)
	if err != nil {
		t.Fatal(err)
	}
	if files, err = Choose(files); err != nil {
		t.Fatal(err)
	}
	calls, last := 0, int64(0)
	r, err := Pull{Repo: repo, Commit: hubtest.Commit, Files: files, Place: Dir(t.TempDir()), Progress: func(step string, done, total int64) {
		if step == "" || done < last || done > total {
			t.Errorf("%q: %d of %d bytes after %d", step, done, total, last)
		}
		calls, last = calls+1, done
	}}.Run(t.Context(), c)
	if err != nil || calls < 1 || r.Fetched < last {
		t.Errorf("%d calls, the last at %d of %d bytes: %v", calls, last, r.Fetched, err)
	}
}

func TestCancel(t *testing.T) {
	s, c := newHub(t, tree())
	ctx, cancel := context.WithCancel(t.Context())
	s.Fault = func(_ http.ResponseWriter, q hubtest.Request) bool {
		if q.CDN && q.From > 5*testStep {
			cancel()
		}
		return false
	}
	if _, err := pull(ctx, c, toDir(t.TempDir())); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want that it was canceled", err)
	}
}

func TestDiskFull(t *testing.T) {
	files := tree()
	s, c := newHub(t, files)
	s.Entries = []any{map[string]any{"type": "file", "path": "model-3.safetensors", "size": 1 << 41,
		"lfs": map[string]any{"oid": strings.Repeat("ab", 32), "size": 1 << 41}}}
	c.o.Range = 1 << 30
	dir := t.TempDir()
	if free, known := freeSpace(dir); !known || free > 1<<41 {
		t.Skipf("%d bytes are free, or that is not known", free)
	}
	_, err := pull(t.Context(), c, toDir(dir))
	oneLine(t, err, "2199.0 GB", "free", "--dir")
	for _, q := range s.Log() {
		if q.File != "" {
			t.Errorf("%s was fetched all the same", q.File)
		}
	}
}
