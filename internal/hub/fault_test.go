package hub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-796a8800/tritium/internal/hub/hubtest"
)

const shard = "model-00001-of-00002.safetensors"

// first says true once for each part of a file that is asked for from byte on.
func first(match func(hubtest.Request) bool) func(hubtest.Request) bool {
	var seen sync.Map
	return func(q hubtest.Request) bool {
		if !match(q) {
			return false
		}
		_, before := seen.LoadOrStore(fmt.Sprint(q.CDN, q.File, q.End), true)
		return !before
	}
}

func onCDN(q hubtest.Request) bool { return q.CDN }

// part begins an answer with a part of a file.
func part(w http.ResponseWriter, q hubtest.Request) {
	w.Header().Set("Content-Length", fmt.Sprint(q.End-q.From))
	w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", q.From, q.End-1, len(tree()[q.File].Data)))
	w.WriteHeader(http.StatusPartialContent)
}

// drop ends a connection in the middle.
func drop(w http.ResponseWriter) {
	http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

// TestFaults: what passes is overcome, and the result is right.
func TestFaults(t *testing.T) {
	faults := map[string]func() func(http.ResponseWriter, hubtest.Request) bool{
		"cut in the middle of a range": func() func(http.ResponseWriter, hubtest.Request) bool {
			once := first(onCDN)
			return func(w http.ResponseWriter, q hubtest.Request) bool {
				if once(q) {
					part(w, q)
					w.Write(q.Content[:len(q.Content)/2])
					drop(w)
				}
				return false
			}
		},
		"stalls": func() func(http.ResponseWriter, hubtest.Request) bool {
			once := first(func(q hubtest.Request) bool { return q.CDN && q.File == shard && q.From%(5*testStep) == 0 })
			return func(w http.ResponseWriter, q hubtest.Request) bool {
				if once(q) {
					part(w, q)
					w.Write(q.Content[:len(q.Content)/2]) // not all: a client may use the connection again
					http.NewResponseController(w).Flush()
					<-q.Context().Done()
					return true
				}
				return false
			}
		},
		"answers 429, 500, 503": func() func(http.ResponseWriter, hubtest.Request) bool {
			n, once := new(atomic.Int64), first(func(q hubtest.Request) bool { return true })
			return func(w http.ResponseWriter, q hubtest.Request) bool {
				if once(q) {
					w.Header().Set("Retry-After", "0")
					w.WriteHeader([]int{429, 500, 503}[n.Add(1)%3])
					return true
				}
				return false
			}
		},
		"does not know ranges, and is cut": func() func(http.ResponseWriter, hubtest.Request) bool {
			var n atomic.Int64
			return func(w http.ResponseWriter, q hubtest.Request) bool {
				data := tree()[q.File]
				if !q.CDN {
					return false
				}
				w.Header().Set("Content-Length", fmt.Sprint(len(data.Data)))
				if q.File == shard && q.Header.Get("Range") == "" && n.Add(1) == 1 {
					w.Write(data.Data[:len(data.Data)/2])
					drop(w)
				}
				w.Write(data.Data)
				return true
			}
		},
		"has signatures that expire": func() func(http.ResponseWriter, hubtest.Request) bool {
			once := first(func(q hubtest.Request) bool { return q.CDN && q.From%(3*testStep) == 0 })
			return func(w http.ResponseWriter, q hubtest.Request) bool {
				if once(q) {
					http.Error(w, "Request has expired", http.StatusForbidden)
					return true
				}
				return false
			}
		},
		"sends another part than asked for": func() func(http.ResponseWriter, hubtest.Request) bool {
			once := first(func(q hubtest.Request) bool { return q.CDN && q.From > 0 })
			return func(w http.ResponseWriter, q hubtest.Request) bool {
				if once(q) {
					q.From, q.End = 0, q.End-q.From
					part(w, q)
					w.Write(q.Content)
					return true
				}
				return false
			}
		},
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := tree()
			s, c := newHub(t, files, func(o *Options) { o.Stall = 300 * time.Millisecond })
			s.Fault = fault()
			dir := t.TempDir()
			if _, err := pull(t.Context(), c, toDir(dir)); err != nil {
				t.Fatal(err)
			}
			checkDir(t, dir, files)
		})
	}
}

// TestCutGoesOn: what came of a range before it was cut is not fetched again.
func TestCutGoesOn(t *testing.T) {
	s, c := newHub(t, tree())
	once := first(onCDN)
	var sent atomic.Int64
	s.Fault = func(w http.ResponseWriter, q hubtest.Request) bool {
		if !q.CDN {
			return false
		}
		if once(q) {
			part(w, q)
			n, _ := w.Write(q.Content[:len(q.Content)*3/4])
			sent.Add(int64(n))
			drop(w)
		}
		sent.Add(q.End - q.From)
		return false
	}
	r, err := pull(t.Context(), c, toDir(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	if sent.Load() > r.Bytes {
		t.Errorf("%d bytes were sent of %d", sent.Load(), r.Bytes)
	}
}

// TestRetryAfter: all workers wait as long as the server asks.
func TestRetryAfter(t *testing.T) {
	s, c := newHub(t, tree())
	var refused atomic.Int64 // when, in ns
	s.Fault = func(w http.ResponseWriter, q hubtest.Request) bool {
		now := time.Now().UnixNano()
		if q.CDN && q.From == 2*testStep && refused.CompareAndSwap(0, now) {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
			return true
		}
		if at := refused.Load(); at > 0 {
			if early := time.Second - time.Duration(now-at); early > 0 && early < 900*time.Millisecond {
				t.Errorf("a request came %v too early", early)
			}
		}
		return false
	}
	if _, err := pull(t.Context(), c, toDir(t.TempDir())); err != nil {
		t.Fatal(err)
	}
	s.SetFault(func(w http.ResponseWriter, q hubtest.Request) bool {
		w.Header().Set("Retry-After", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat))
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	})
	_, err := pull(t.Context(), c, toDir(t.TempDir()))
	oneLine(t, err, "503", "come back in 1h")
}

// TestRefusals: what does not pass is one line that says what to do, and nothing is left that looks like a model.
func TestRefusals(t *testing.T) {
	answer := func(status int, header, value, body string) func(http.ResponseWriter, hubtest.Request) bool {
		return func(w http.ResponseWriter, q hubtest.Request) bool {
			w.Header().Set(header, value)
			w.WriteHeader(status)
			io.WriteString(w, body)
			return true
		}
	}
	onlyOf := func(match func(hubtest.Request) bool, f func(http.ResponseWriter, hubtest.Request) bool) func(http.ResponseWriter, hubtest.Request) bool {
		return func(w http.ResponseWriter, q hubtest.Request) bool { return match(q) && f(w, q) }
	}
	weights := func(q hubtest.Request) bool { return q.CDN && q.File == shard }
	for name, e := range map[string]struct {
		fault func(http.ResponseWriter, hubtest.Request) bool
		token string
		want  []string
	}{
		"missing":           {answer(404, "X-Error-Code", "RepoNotFound", ""), "", []string{"no such repository", "HF_TOKEN"}},
		"no revision":       {answer(404, "X-Error-Code", "RevisionNotFound", ""), "", []string{"no such revision", "revision main"}},
		"private":           {answer(401, "X", "", ""), "", []string{"private", "HF_TOKEN"}},
		"bad token":         {answer(401, "X", "", ""), "hf_x", []string{"refuses the token", "HF_TOKEN"}},
		"gated":             {answer(403, "X-Error-Code", "GatedRepo", ""), "hf_x", []string{"accept its terms", "org/model"}},
		"login page":        {answer(200, "Content-Type", "text/html; charset=utf-8", "<html>login"), "", []string{"web page", "HTTPS_PROXY"}},
		"login for weights": {onlyOf(weights, answer(200, "Content-Type", "text/html", "<html>")), "", []string{shard, "web page"}},
		"no JSON":           {answer(200, "X", "", "hello"), "", []string{"no answer of the Hub's", "HF_ENDPOINT"}},
		"no commit":         {answer(200, "X", "", `{"sha": "../../etc"}`), "", []string{"which is none"}},
		"endless answer":    {answer(200, "X", "", strings.Repeat(" ", maxAnswer+1)), "", []string{"more than 16 MB"}},
		"deep answer":       {answer(200, "X", "", strings.Repeat("[", 1<<20)), "", []string{"no answer of the Hub's"}},
		"down":              {answer(502, "X", "", ""), "", []string{"502 Bad Gateway", "4 times in a row"}},
		"loop": {func(w http.ResponseWriter, q hubtest.Request) bool {
			http.Redirect(w, q.Request, q.URL.Path, http.StatusFound)
			return true
		}, "", []string{"in circles"}},
		"longer than listed": {onlyOf(weights, func(w http.ResponseWriter, q hubtest.Request) bool {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/99999999", q.From, q.End-1))
			w.WriteHeader(206)
			return true
		}), "", []string{shard, "99999999 bytes", "list says"}},
		"lies about length": {onlyOf(weights, func(w http.ResponseWriter, q hubtest.Request) bool {
			part(w, q)
			w.Write(q.Content[:10])
			drop(w)
			return true
		}), "", []string{shard, "was cut", "5 times in a row"}},
		"whole of another length": {onlyOf(weights, answer(200, "X", "", "short")), "", []string{shard, "sends 5 bytes"}},
		"changed meanwhile": {func(w http.ResponseWriter, q hubtest.Request) bool {
			if q.File == shard && !q.CDN {
				w.Header().Set("X-Linked-Etag", `"`+strings.Repeat("0", 64)+`"`)
				http.Redirect(w, q.Request, "/elsewhere", http.StatusFound)
				return true
			}
			if q.URL.Path == "/elsewhere" {
				w.Header().Set("Content-Range", "bytes 0-0/1")
				w.WriteHeader(206)
				return true
			}
			return false
		}, "", []string{shard, "another content now"}},
		"other bytes than listed": {onlyOf(weights, func(w http.ResponseWriter, q hubtest.Request) bool {
			part(w, q)
			w.Write(make([]byte, q.End-q.From))
			return true
		}), "", []string{shard, "other bytes than its list says"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, c := newHub(t, tree(), func(o *Options) { o.Token = e.token })
			s.Fault = e.fault
			dir := t.TempDir()
			_, err := pull(t.Context(), c, toDir(dir))
			oneLine(t, err, append(e.want, "hub: "+repo)...)
			if names, err := filepath.Glob(filepath.Join(dir, "[a-zA-Z]*")); err != nil || len(names) > 0 {
				t.Errorf("there are %q, %v", names, err)
			}
		})
	}
}

func TestUnreachable(t *testing.T) {
	s, c := newHub(t, tree())
	s.Close()
	_, err := c.Commit(t.Context(), repo, "main")
	oneLine(t, err, "cannot reach 127.0.0.1", "check the network")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Commit(ctx, repo, "main"); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}

// TestHostileLists: nothing is fetched from a list that no honest server gives.
func TestHostileLists(t *testing.T) {
	oid, sha := strings.Repeat("a", 40), strings.Repeat("b", 64)
	file := func(path string, size any) map[string]any {
		return map[string]any{"type": "file", "path": path, "size": size, "oid": oid}
	}
	lfs := func(oid string) map[string]any {
		f := file("model.safetensors", 1)
		f["lfs"] = map[string]any{"oid": oid, "size": 1}
		return f
	}
	many := make([]any, maxFiles+1)
	for i := range many {
		many[i] = file(fmt.Sprintf("f%d.json", i), 1)
	}
	for name, entries := range map[string][]any{
		"up": {file("../evil.json", 1)}, "up inside": {file("a/../../evil.json", 1)}, "absolute": {file("/etc/passwd", 1)},
		"backslash": {file(`..\evil.json`, 1)}, "empty": {file("", 1)}, "dot": {file(".", 1)}, "zero": {file("a\x00b.json", 1)},
		"newline": {file("a\nb.json", 1)}, "long": {file(strings.Repeat("a/", 600)+"b", 1)}, "twice": {file("x.json", 1), file("x.json", 2)},
		"negative": {file("x.json", -1)}, "huge": {file("x.json", int64(1)<<60)}, "beyond": {file("x.json", 1e30)},
		"no hash": {lfs("")}, "short hash": {lfs(sha[1:])}, "path as hash": {lfs("../../../" + sha[9:])},
		"many": many, "kind": {map[string]any{"type": "link", "path": "x.json", "size": 1, "oid": oid}}, "no object": {17},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, c := newHub(t, tree())
			s.Entries = entries
			dir := t.TempDir()
			_, err := pull(t.Context(), c, toDir(filepath.Join(dir, "m")))
			oneLine(t, err, "hub: ")
			if list, err := os.ReadDir(dir); err != nil || len(list) > 0 {
				t.Errorf("the directory has %v, %v", list, err)
			}
		})
	}
	t.Run("pages", func(t *testing.T) {
		t.Parallel()
		s, c := newHub(t, tree())
		s.Fault = func(w http.ResponseWriter, q hubtest.Request) bool {
			if !strings.Contains(q.URL.Path, "/tree/") {
				return false
			}
			w.Header().Set("Link", `<`+s.URL+q.URL.Path+`?cursor=again>; rel="next"`)
			io.WriteString(w, "[]")
			return true
		}
		_, err := c.Files(t.Context(), repo, hubtest.Commit)
		oneLine(t, err, "more than 1000 pages")
	})
	t.Run("bomb", func(t *testing.T) {
		t.Parallel()
		s, c := newHub(t, tree())
		s.Fault = func(w http.ResponseWriter, q hubtest.Request) bool {
			io.WriteString(w, "["+strings.Repeat("{},", 4*maxFiles)+"{}]")
			return true
		}
		_, err := c.Files(t.Context(), repo, hubtest.Commit)
		oneLine(t, err, "more than 10000 files")
	})
}
