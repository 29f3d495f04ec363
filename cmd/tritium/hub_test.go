package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/seed-796a8800/tritium/internal/hub"
	"github.com/seed-796a8800/tritium/internal/hub/hubtest"
)

// hubKey is under which a script keeps its Hub.
type hubKey struct{}

// scriptHub is a Hub with one repository, org/model.
type scriptHub struct {
	*hubtest.Server
	hold    atomic.Bool   // weights stop in the middle
	holding chan struct{} // closed when one does
}

// hubOf returns the Hub that a script has started.
func hubOf(ts *testscript.TestScript) *scriptHub {
	h := ts.Value(hubKey{}).(*scriptHub)
	if h.Server == nil {
		ts.Fatalf("no hub was started")
	}
	return h
}

// startHub DIR [TOKEN]: a Hub that has DIR as org/model, for those who send TOKEN, and an empty home for the cache.
func startHub(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: hub DIR [TOKEN]")
	}
	h := ts.Value(hubKey{}).(*scriptHub)
	h.Server = hubtest.New("org/model", os.DirFS(ts.MkAbs(args[0])))
	ts.Defer(h.Close)
	if len(args) == 2 {
		h.Token = args[1]
	}
	h.SetFault(func(w http.ResponseWriter, q hubtest.Request) bool {
		if !q.CDN || !h.hold.Load() || !strings.HasSuffix(q.File, ".safetensors") {
			return false
		}
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", q.From, q.End-1, len(q.Content)))
		w.WriteHeader(http.StatusPartialContent)
		w.Write(q.Content[:len(q.Content)/2])
		http.NewResponseController(w).Flush()
		if h.hold.CompareAndSwap(true, false) {
			close(h.holding)
		}
		<-q.Context().Done()
		return true
	})
	ts.Setenv("HF_ENDPOINT", h.URL)
	ts.Setenv("HF_HOME", filepath.Join(ts.MkAbs("."), "hf"))
}

// hubholds [wait]: the next answer with weights stops in the middle; with wait, until that has happened.
func hubHolds(ts *testscript.TestScript, neg bool, args []string) {
	h := hubOf(ts)
	if len(args) == 0 {
		h.holding = make(chan struct{})
		h.hold.Store(true)
		return
	}
	select {
	case <-h.holding:
	case <-time.After(20 * time.Second):
		ts.Fatalf("nobody asked for weights")
	}
}

// hubsent MAX: at most so many bytes of files were asked for since the last hubsent; no token went to the second host.
func hubSent(ts *testscript.TestScript, neg bool, args []string) {
	h := hubOf(ts)
	most, err := strconv.ParseInt(args[0], 10, 64)
	ts.Check(err)
	sent := int64(0)
	for _, q := range h.Log() {
		if q.CDN && q.Header.Get("Authorization") != "" {
			ts.Fatalf("the second host was sent the token")
		}
		if q.CDN || q.File != "" && !strings.HasSuffix(q.File, ".safetensors") && q.File != "tokenizer.json" {
			sent += q.End - q.From
		}
	}
	h.Forget()
	if sent > most {
		ts.Fatalf("%d bytes of files were asked for, want at most %d", sent, most)
	}
}

// TestHubSettings: the environment is read as huggingface_hub reads it.
func TestHubSettings(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("USERPROFILE", home)
	file := filepath.Join(home, "token")
	if err := os.WriteFile(file, []byte("hf_file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cache := filepath.Join(home, ".cache", "huggingface", "hub")
	for name, e := range map[string]struct {
		env   map[string]string
		want  hubSettings
		token string
	}{
		"nothing":     {nil, hubSettings{endpoint: hub.DefaultEndpoint, cache: hub.Cache(cache)}, ""},
		"XDG":         {map[string]string{"XDG_CACHE_HOME": "/x"}, hubSettings{endpoint: hub.DefaultEndpoint, cache: hub.Cache(filepath.Join("/x", "huggingface", "hub"))}, ""},
		"home":        {map[string]string{"HF_HOME": "~/h"}, hubSettings{endpoint: hub.DefaultEndpoint, cache: hub.Cache(filepath.Join(home, "h", "hub"))}, ""},
		"cache":       {map[string]string{"HF_HOME": "/h", "HF_HUB_CACHE": "/c"}, hubSettings{endpoint: hub.DefaultEndpoint, cache: "/c"}, ""},
		"mirror":      {map[string]string{"HF_ENDPOINT": "https://m", "HF_HUB_OFFLINE": "yes"}, hubSettings{endpoint: "https://m", cache: hub.Cache(cache), offline: true}, ""},
		"token":       {map[string]string{"HF_TOKEN": " hf_x ", "HF_TOKEN_PATH": file}, hubSettings{endpoint: hub.DefaultEndpoint, cache: hub.Cache(cache)}, "hf_x"},
		"token file":  {map[string]string{"HF_TOKEN_PATH": file}, hubSettings{endpoint: hub.DefaultEndpoint, cache: hub.Cache(cache)}, "hf_file"},
		"stored":      {map[string]string{"HF_HOME": home}, hubSettings{endpoint: hub.DefaultEndpoint, cache: hub.Cache(filepath.Join(home, "hub"))}, "hf_file"},
		"not implied": {map[string]string{"HF_HOME": home, "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}, hubSettings{endpoint: hub.DefaultEndpoint, cache: hub.Cache(filepath.Join(home, "hub"))}, ""},
	} {
		s := readHubSettings(func(name string) string { return e.env[name] })
		if s.endpoint != e.want.endpoint || s.cache != e.want.cache || s.offline != e.want.offline {
			t.Errorf("%s: %+v, want %+v", name, s, e.want)
		}
		if token, err := s.token(); token != e.token || err != nil {
			t.Errorf("%s: token %q, %v, want %q", name, token, err, e.token)
		}
	}
}

// TestRepoOf: a name of a repository is not taken for a path, nor a path for a name.
func TestRepoOf(t *testing.T) {
	for name, want := range map[string]string{
		"openai/gpt-oss-20b": "main", "openai/gpt-oss-20b@refs/pr/1": "refs/pr/1",
		"nano": "", "./gpt-oss-20b": "", "../a": "", "/a/b": "", "a/b/c": "", "a/b@": "", "a--b/c": "", "a/..": "", `a\b`: "",
	} {
		if _, revision, ok := repoOf(name); ok != (want != "") || ok && revision != want {
			t.Errorf("%s: %q, %v, want %q", name, revision, ok, want)
		}
	}
	if _, err := modelDir(filepath.Join(t.TempDir(), "missing")); err == nil || !strings.Contains(err.Error(), "there is no model") {
		t.Errorf("a missing directory: %v", err)
	}
}
