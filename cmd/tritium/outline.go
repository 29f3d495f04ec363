package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/seed-796a8800/tritium/gptoss"
	"github.com/seed-796a8800/tritium/internal/hub"
	"github.com/seed-796a8800/tritium/internal/safetensors"
)

// outline is a model that was looked at without its weights.
type outline struct {
	*gptoss.Outline
	basis  string // "headers" or "index"
	config []byte
}

const indexFile = "model.safetensors.index.json"

// outlineOf returns the outline of a model whose weights are not here, nil of
// one that can be opened.
func (a *app) outlineOf(ctx context.Context, name string) (*outline, error) {
	if name == nano {
		return nil, nil
	}
	dir, err := modelDir(name)
	if errors.Is(err, hub.ErrNotCached) {
		repo, revision, _ := splitRepo(name)
		return a.outlineOfRepo(ctx, repo, revision)
	}
	if err != nil {
		return nil, err
	}
	return a.outlineOfDir(dir)
}

// outlineOfDir looks at a directory with an index and without all of the
// weights: at the headers, or at the names in the index where files are missing.
func (a *app) outlineOfDir(dir string) (*outline, error) {
	if _, err := os.Stat(filepath.Join(dir, indexFile)); err != nil {
		return nil, nil
	}
	index, err := safetensors.ReadIndex(dir)
	if err != nil {
		return nil, err
	}
	whole, missing := 0, 0
	headers := map[string][]safetensors.Tensor{}
	for _, file := range index.Files() {
		tensors, all, err := safetensors.ReadHeader(filepath.Join(dir, file))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			missing++
			continue
		case err != nil:
			return nil, err
		case all:
			whole++
		}
		headers[file] = tensors
	}
	if whole == len(index.Files()) {
		return nil, nil
	}
	path := filepath.Join(dir, "config.json")
	if _, err := gptoss.ReadConfig(path); err != nil { // which bounds what is read
		return nil, err
	}
	config, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if missing > 0 {
		a.remark("%d of %d files of weights are not here; types and shapes are those that config.json asks for", missing, len(index.Files()))
		o, err := gptoss.NewOutlineOfNames(filepath.Join(dir, indexFile), config, slices.Sorted(maps.Keys(index)))
		return &outline{o, "index", config}, err
	}
	tensors, err := index.Gather(func(file string) ([]safetensors.Tensor, error) { return headers[file], nil })
	if err != nil {
		return nil, err
	}
	o, err := gptoss.NewOutline(dir, config, tensors)
	return &outline{o, "headers", config}, err
}

// outlineOfRepo fetches the configuration, the index and the headers.
func (a *app) outlineOfRepo(ctx context.Context, repo, revision string) (*outline, error) {
	settings, err := hubEnvironment()
	if err != nil {
		return nil, err
	}
	c, err := settings.client()
	if err != nil {
		return nil, fmt.Errorf("%s is neither a directory nor was it pulled: %w", repo, err)
	}
	defer c.Close()
	commit, err := c.Commit(ctx, repo, revision)
	if err != nil {
		return nil, err
	}
	files, err := c.Files(ctx, repo, commit)
	if err != nil {
		return nil, err
	}
	config, err := fetchConfig(ctx, c, repo, commit, files)
	if err != nil {
		return nil, err
	}
	byName := map[string]hub.File{}
	for _, f := range files {
		byName[f.Path] = f
	}
	header := func(file string) ([]safetensors.Tensor, error) {
		f, ok := byName[file]
		if !ok {
			return nil, fmt.Errorf("%s holds no %s", repo, file)
		}
		return readHeader(ctx, c, repo, commit, f)
	}
	var tensors []safetensors.Tensor
	if f, ok := byName[indexFile]; ok {
		text, err := c.Read(ctx, repo, commit, f, 0, f.Size)
		if err != nil {
			return nil, err
		}
		index, err := safetensors.ParseIndex(repo+"/"+indexFile, text)
		if err != nil {
			return nil, err
		}
		if tensors, err = index.Gather(header); err != nil {
			return nil, err
		}
	} else if tensors, err = header("model.safetensors"); err != nil {
		return nil, err
	}
	o, err := gptoss.NewOutline(repo, config, tensors)
	return &outline{o, "headers", config}, err
}

// headerGuess is what is fetched of a file at first; the headers of gpt-oss-20b
// have 17 KB.
const headerGuess = 32 << 10

// readHeader fetches the header of a file of weights.
func readHeader(ctx context.Context, c *hub.Client, repo, commit string, f hub.File) ([]safetensors.Tensor, error) {
	data, err := c.Read(ctx, repo, commit, f, 0, min(f.Size, headerGuess))
	if err != nil {
		return nil, err
	}
	n, err := safetensors.HeaderLength(data, f.Size)
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w", repo, f.Path, err)
	}
	if have := int64(len(data)); 8+n > have {
		rest, err := c.Read(ctx, repo, commit, f, have, 8+n)
		if err != nil {
			return nil, err
		}
		data = append(data, rest...)
	}
	return safetensors.ParseHeader(repo+"/"+f.Path, data[8:8+n], f.Size-8-n)
}
