package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/seed-796a8800/tritium/internal/hub"
)

// hubSettings are what the environment says about the Hugging Face Hub, in the
// variables that its own tools read.
type hubSettings struct {
	endpoint  string // HF_ENDPOINT
	cache     string // HF_HUB_CACHE, or below HF_HOME
	token     string // HF_TOKEN
	tokenFile string // HF_TOKEN_PATH, or below HF_HOME; read where there is no token
	offline   bool   // HF_HUB_OFFLINE
}

func newHubSettings(lookup func(string) (string, bool), userHome func() (string, error)) (hubSettings, error) {
	get := func(names ...string) string {
		for _, name := range names {
			if v, _ := lookup(name); v != "" {
				return v
			}
		}
		return ""
	}
	s := hubSettings{
		endpoint: cmp.Or(strings.TrimRight(get("HF_ENDPOINT"), "/"), hub.DefaultEndpoint),
		token:    strings.TrimSpace(get("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")),
	}
	switch strings.ToUpper(get("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")) {
	case "1", "ON", "YES", "TRUE":
		s.offline = true
	}
	home := get("HF_HOME")
	s.cache, s.tokenFile = get("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"), get("HF_TOKEN_PATH")
	if home == "" && (s.cache == "" || s.tokenFile == "") {
		base := get("XDG_CACHE_HOME")
		if base == "" {
			user, err := userHome()
			if err != nil {
				return s, fmt.Errorf("there is no home directory (%w); set HF_HOME to where models are kept", err)
			}
			base = filepath.Join(user, ".cache")
		}
		home = filepath.Join(base, "huggingface")
	}
	s.cache = cmp.Or(s.cache, filepath.Join(home, "hub"))
	s.tokenFile = cmp.Or(s.tokenFile, filepath.Join(home, "token"))
	return s, nil
}

func hubEnvironment() (hubSettings, error) { return newHubSettings(os.LookupEnv, os.UserHomeDir) }

// client returns a client of the Hub; close it.
func (s hubSettings) client() (*hub.Client, error) {
	if s.offline {
		return nil, errors.New("HF_HUB_OFFLINE is set, so nothing is fetched; unset it")
	}
	token := s.token
	if token == "" {
		var err error
		if token, err = readToken(s.tokenFile); err != nil {
			return nil, err
		}
	}
	return hub.New(hub.Options{Endpoint: s.endpoint, Token: token, Proxy: http.ProxyFromEnvironment})
}

// readToken reads the file in which the Hub's own tools keep a token.
func readToken(path string) (string, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("the token: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 1000))
	if err != nil {
		return "", fmt.Errorf("the token: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

// splitRepo splits REPO@REVISION; the revision is main where there is none.
func splitRepo(name string) (repo, revision string, ok bool) {
	repo, revision, given := strings.Cut(name, "@")
	if !given {
		revision = "main"
	}
	return repo, revision, hub.IsRepo(repo) && revision != ""
}

// modelDir returns the directory of a model: the one that is named, or the
// snapshot of a repository that was pulled.
func modelDir(name string) (string, error) {
	if _, err := os.Stat(name); !errors.Is(err, fs.ErrNotExist) {
		return name, nil // what else may be wrong with it, who opens it will say
	}
	repo, revision, ok := splitRepo(name)
	if !ok {
		return "", fmt.Errorf("there is no model %q; give a directory that holds config.json, a repository that was pulled, or %s, which is built in", name, nano)
	}
	s, err := hubEnvironment()
	if err != nil {
		return "", err
	}
	dir, err := hub.Cache(s.cache).Snapshot(repo, revision)
	if errors.Is(err, hub.ErrNotCached) {
		return "", fmt.Errorf("there is no directory %q, and no such model was pulled; 'tritium pull %s' fetches it%w", name, pullArguments(repo, revision), quietly{err})
	}
	return dir, err
}

// pullArguments are those of the pull that would fetch a revision.
func pullArguments(repo, revision string) string {
	if revision == "main" {
		return repo
	}
	return repo + " --revision " + revision
}

// quietly wraps an error that has been told in other words.
type quietly struct{ error }

func (quietly) Error() string   { return "" }
func (q quietly) Unwrap() error { return q.error }
