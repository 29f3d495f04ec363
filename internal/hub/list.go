package hub

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"unicode"
)

// Bounds on what a server may say.
const (
	maxAnswer = 16 << 20 // bytes of one answer
	maxFiles  = 10_000   // of a repository
	maxPages  = 1_000    // of a list of files
	maxSize   = 1 << 42  // bytes of a file
)

// A File is one file of a repository at a commit.
type File struct {
	Path string `json:"path"`
	Size int64  `json:"bytes"`
	// Exactly one of them is set, in hexadecimal: the SHA-256 of the contents for what is stored beside git (LFS), or
	// git's hash of the blob.
	SHA256 string `json:"sha256,omitempty"`
	Git    string `json:"git_sha1,omitempty"`
}

// id is the hash by which the cache knows a file.
func (f File) id() string { return f.SHA256 + f.Git }

var (
	repoName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9_][A-Za-z0-9._-]{0,95}$`)
	revision = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._+/-]{0,199}$`)
	commitID = regexp.MustCompile(`^[0-9a-f]{40}$`)
	// plainName is a name that every system can store.
	plainName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9 ._+=@()\[\],-]{0,199}$`)
	sha256ID  = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// IsRepo says whether a name may be one of a repository: "org/name".
func IsRepo(name string) bool {
	return repoName.MatchString(name) && !strings.Contains(name, "..") && !strings.Contains(name, "--")
}

// checkRevision refuses what is no branch, tag, reference or commit, since it becomes part of addresses and paths.
func checkRevision(name string) error {
	if !revision.MatchString(name) || !fs.ValidPath(name) || !filepath.IsLocal(filepath.FromSlash(name)) || strings.Contains(name, "..") {
		return fmt.Errorf("%.200q is no revision: give a branch, a tag or a commit", name)
	}
	return nil
}

// Commit returns the commit that a revision (a branch, a tag, a commit) stands for now.
//
// Errors: no such repository or revision, no access to it, no network; each says what to do.
func (c *Client) Commit(ctx context.Context, repo, revision string) (string, error) {
	if !IsRepo(repo) {
		return "", fmt.Errorf("hub: %.200q is no repository; write it as openai/gpt-oss-20b", repo)
	}
	if err := checkRevision(revision); err != nil {
		return "", wrap(err, repo)
	}
	var answer struct {
		SHA string `json:"sha"`
	}
	u := c.url("api/models", repo, "revision", revision)
	u.RawPath = c.url("api/models", repo, "revision", url.PathEscape(revision)).Path // a slash in it is no other segment
	if _, err := c.ask(ctx, repo, u, maxAnswer, &answer); err != nil {
		return "", wrap(err, repo, "revision "+revision)
	}
	if !commitID.MatchString(answer.SHA) {
		return "", wrap(fmt.Errorf("%s names %.100q as the commit, which is none", c.Host(), answer.SHA), repo, "revision "+revision)
	}
	return answer.SHA, nil
}

// listed is one entry of a tree.
type listed struct {
	Type string `json:"type"`
	Path string `json:"path"`
	Size int64  `json:"size"`
	OID  string `json:"oid"`
	LFS  *struct {
		OID  string `json:"oid"`
		Size int64  `json:"size"`
	} `json:"lfs"`
}

// page is one page of a tree. It holds no more entries than a repository may have, however many the text has.
type page []listed

// UnmarshalJSON reads the entries one by one.
func (p *page) UnmarshalJSON(text []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	if t, err := decoder.Token(); err != nil || t != json.Delim('[') {
		return errors.New("it is no array")
	}
	for decoder.More() && len(*p) <= maxFiles {
		var e listed
		if err := decoder.Decode(&e); err != nil {
			return err
		}
		*p = append(*p, e)
	}
	return nil
}

// Files returns all files of a commit, in the server's order.
//
// Errors: as of Commit; a list that no honest server gives: paths that lead elsewhere, hashes that are none, more than
// 10,000 files.
func (c *Client) Files(ctx context.Context, repo, commit string) ([]File, error) {
	var files []File
	seen := map[string]bool{}
	u := c.url("api/models", repo, "tree", commit)
	query := "recursive=1"
	for range maxPages {
		u.RawQuery = query
		var entries page
		header, err := c.ask(ctx, repo, u, maxAnswer, &entries)
		if err != nil {
			return nil, wrap(err, repo)
		}
		if len(files)+len(entries) > maxFiles {
			return nil, wrap(fmt.Errorf("%s lists more than %d files; refused", c.Host(), maxFiles), repo)
		}
		for _, e := range entries {
			if e.Type == "directory" {
				continue
			}
			f, err := e.file()
			if err == nil && seen[f.Path] {
				err = fmt.Errorf("it is listed twice")
			}
			if err != nil {
				return nil, wrap(fmt.Errorf("%s lists the file %.200q: %w; refused", c.Host(), e.Path, err), repo)
			}
			seen[f.Path] = true
			files = append(files, f)
		}
		if query = nextPage(header.Values("Link")); query == "" {
			return files, nil
		}
	}
	return nil, wrap(fmt.Errorf("%s spreads its list of files over more than %d pages; refused", c.Host(), maxPages), repo)
}

// nextPage returns the query of the next page. Only the query: where a list goes on is not for a header to say.
func nextPage(links []string) string {
	for _, link := range strings.Split(strings.Join(links, ","), ",") {
		address, params, ok := strings.Cut(link, ";")
		if !ok || !strings.Contains(strings.ReplaceAll(params, " ", ""), `rel="next"`) {
			continue
		}
		if u, err := url.Parse(strings.Trim(address, " <>")); err == nil {
			return u.RawQuery
		}
	}
	return ""
}

// file checks an entry.
func (e listed) file() (File, error) {
	f := File{Path: e.Path, Size: e.Size}
	if !fs.ValidPath(e.Path) || e.Path == "." || strings.ContainsRune(e.Path, '\\') || strings.ContainsFunc(e.Path, unicode.IsControl) || len(e.Path) > 1024 {
		return f, fmt.Errorf("that is no path within a repository")
	}
	if e.LFS != nil {
		if f.Size, f.SHA256 = e.LFS.Size, e.LFS.OID; !sha256ID.MatchString(f.SHA256) {
			return f, fmt.Errorf("its SHA-256 is %.100q", f.SHA256)
		}
	} else if f.Git = e.OID; !commitID.MatchString(f.Git) {
		return f, fmt.Errorf("its hash is %.100q", f.Git)
	}
	if e.Type != "file" || f.Size < 0 || f.Size > maxSize {
		return f, fmt.Errorf("it is a %.20q of %d bytes", e.Type, f.Size)
	}
	return f, nil
}

// Wanted says whether tritium reads a file: weights in safetensors, configuration and tokenizer at the top of the
// repository, and the texts that come with them. What is in folders is the same model again in other formats.
func Wanted(f File) bool {
	if strings.ContainsRune(f.Path, '/') || strings.HasPrefix(f.Path, ".") || !plainName.MatchString(f.Path) {
		return false
	}
	switch path.Ext(f.Path) {
	case ".safetensors", ".json", ".jinja", ".md", ".txt":
		return true
	}
	return strings.HasPrefix(f.Path, "LICENSE") || strings.HasPrefix(f.Path, "NOTICE") || strings.HasPrefix(f.Path, "USAGE_POLICY")
}
