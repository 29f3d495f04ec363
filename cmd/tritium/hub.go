package main

import (
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

// mainRevision is the branch that a repository's name alone stands for.
const mainRevision = "main"

// hubSettings are what the environment says about the Hugging Face Hub, in the variables that other tools read too.
type hubSettings struct {
	endpoint string    // HF_ENDPOINT
	cache    hub.Cache // HF_HUB_CACHE, or below HF_HOME
	offline  bool      // HF_HUB_OFFLINE
	home     string    // HF_HOME
	lookup   func(string) string
}

// readHubSettings reads the environment. A user without a home has no cache, and needs none with --dir.
func readHubSettings(lookup func(string) string) hubSettings {
	s := hubSettings{endpoint: lookup("HF_ENDPOINT"), offline: isTrue(lookup("HF_HUB_OFFLINE")), lookup: lookup}
	if s.endpoint == "" {
		s.endpoint = hub.DefaultEndpoint
	}
	s.home = expandHome(lookup("HF_HOME"))
	if s.home == "" {
		cache := expandHome(lookup("XDG_CACHE_HOME"))
		if user, err := os.UserHomeDir(); cache == "" && err == nil {
			cache = filepath.Join(user, ".cache")
		}
		if cache != "" {
			s.home = filepath.Join(cache, "huggingface")
		}
	}
	for _, name := range []string{"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"} {
		if dir := expandHome(lookup(name)); dir != "" {
			s.cache = hub.Cache(dir)
			return s
		}
	}
	if s.home != "" {
		s.cache = hub.Cache(filepath.Join(s.home, "hub"))
	}
	return s
}

// isTrue reads a switch as huggingface_hub does.
func isTrue(s string) bool {
	switch strings.ToUpper(s) {
	case "1", "ON", "YES", "TRUE":
		return true
	}
	return false
}

// expandHome replaces a leading ~, which no shell replaces behind "=" in a file of variables.
func expandHome(path string) string {
	if rest, ok := strings.CutPrefix(path, "~"); ok && (rest == "" || os.IsPathSeparator(rest[0])) {
		if user, err := os.UserHomeDir(); err == nil {
			return user + rest
		}
	}
	return path
}

// token returns the access token: of the environment, or the one that `hf auth login` has stored. "" is none.
func (s hubSettings) token() (string, error) {
	for _, name := range []string{"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"} {
		if t := strings.TrimSpace(s.lookup(name)); t != "" {
			return t, nil
		}
	}
	path := expandHome(s.lookup("HF_TOKEN_PATH"))
	if path == "" && s.home != "" {
		path = filepath.Join(s.home, "token")
	}
	if path == "" || isTrue(s.lookup("HF_HUB_DISABLE_IMPLICIT_TOKEN")) {
		return "", nil
	}
	text, err := readAtMost(path, 4<<10)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("the token of the Hub: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

// readAtMost reads a file that is small.
func readAtMost(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(data)) > most {
		err = fmt.Errorf("%s is larger than %d bytes", path, most)
	}
	return data, err
}

// client returns a client of the Hub; close it.
func (s hubSettings) client() (*hub.Client, error) {
	if s.offline {
		return nil, fmt.Errorf("HF_HUB_OFFLINE is set; unset it to ask %s", s.endpoint)
	}
	token, err := s.token()
	if err != nil {
		return nil, err
	}
	return hub.New(hub.Options{Endpoint: s.endpoint, Token: token, Proxy: http.ProxyFromEnvironment})
}

// repoOf splits "org/name" or "org/name@revision"; ok says whether it is one of them.
func repoOf(name string) (repo, revision string, ok bool) {
	repo, revision, found := strings.Cut(name, "@")
	if !found {
		revision = mainRevision
	}
	return repo, revision, hub.IsRepo(repo) && revision != ""
}

// modelDir returns the directory that MODEL names: itself, or what pull has put into the cache.
//
// Errors: hub.ErrNotCached where it could be the name of a repository; what to do in any case.
func modelDir(name string) (string, error) {
	if _, err := os.Stat(name); !errors.Is(err, fs.ErrNotExist) {
		return name, nil // and whoever opens it says what is wrong with it
	}
	repo, revision, ok := repoOf(name)
	if !ok {
		return "", fmt.Errorf("there is no model %q; give a directory that holds config.json, the name of a repository that was pulled, or %s, which is built in", name, nano)
	}
	s := readHubSettings(os.Getenv)
	dir, err := s.cache.Snapshot(repo, revision)
	if errors.Is(err, hub.ErrNotCached) {
		command := "tritium pull " + repo
		if revision != mainRevision {
			command += " --revision " + revision
		}
		return "", fmt.Errorf("there is no directory %q, and no such repository in %s (%w); fetch it with '%s'", name, s.cache, hub.ErrNotCached, command)
	}
	return dir, err
}
