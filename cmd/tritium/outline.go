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
	"github.com/seed-796a8800/tritium/testdata"
)

const (
	configName = "config.json"
	indexName  = "model.safetensors.index.json"
	singleName = "model.safetensors"
	// maxSmall bounds a configuration and an index.
	maxSmall = 16 << 20
	// firstRead is what is fetched of a file of weights at first: most headers.
	firstRead = 16 << 10
)

// look opens a model to be looked at, with its config.json: its weights need not be there. Close it.
func (a *app) look(ctx context.Context, name string) (c *gptoss.Checkpoint, config []byte, err error) {
	if name == nano {
		if config, err = fs.ReadFile(testdata.Nano(), configName); err == nil {
			c, err = openModel(nano, gptoss.AsStored())
		}
		return c, config, err
	}
	dir, err := modelDir(name)
	if errors.Is(err, hub.ErrNotCached) && !readHubSettings(os.Getenv).offline {
		repo, revision, _ := repoOf(name)
		return a.lookAtHub(ctx, repo, revision)
	}
	if err != nil {
		return nil, nil, err
	}
	names, missing, err := indexOf(dir)
	switch {
	case err != nil:
		return nil, nil, err
	case missing:
		if config, err = readAtMost(filepath.Join(dir, configName), maxSmall); err == nil {
			c, err = outlineOfNames(config, names)
		}
	default:
		if c, err = gptoss.Open(dir, gptoss.AsStored()); err == nil {
			if config, err = fs.ReadFile(c.Files(), configName); err != nil {
				return nil, nil, errors.Join(err, c.Close())
			}
		}
	}
	return c, config, err
}

// indexOf returns the index of a directory, nil where it has none, and says whether not one of its files is there.
func indexOf(dir string) (weights map[string]string, missing bool, err error) {
	path := filepath.Join(dir, indexName)
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		return nil, false, nil // and whoever opens the directory says what is wrong with it
	}
	data, err := readAtMost(path, maxSmall)
	if err != nil {
		return nil, false, err
	}
	if weights, err = safetensors.ParseIndex(data); err != nil {
		return nil, false, err
	}
	for _, file := range weights {
		if _, err := os.Lstat(filepath.Join(dir, file)); !errors.Is(err, fs.ErrNotExist) {
			return weights, false, nil
		}
	}
	return weights, true, nil
}

// outlineOfNames opens a model of which only the tensors' names are known: the published layout.
func outlineOfNames(config []byte, weights map[string]string) (*gptoss.Checkpoint, error) {
	parsed, err := gptoss.ParseConfig(config)
	if err != nil {
		return nil, err
	}
	if parsed.Quantization != nil {
		return nil, errors.New("the weights are not there, and the sizes of a quantized model are in their headers")
	}
	tensors, err := gptoss.PublishedTensors(parsed)
	if err != nil {
		return nil, err
	}
	for _, t := range tensors {
		if _, ok := weights[t.Name]; !ok {
			return nil, fmt.Errorf("the weights are not there, and the index lists no %q, which GPT-OSS of this configuration has as published", t.Name)
		}
	}
	if len(weights) != len(tensors) {
		return nil, fmt.Errorf("the weights are not there, and the index lists %d tensors where GPT-OSS of this configuration has %d", len(weights), len(tensors))
	}
	return gptoss.OpenOutline(config, tensors)
}

// lookAtHub fetches what describes a repository: configuration, index, headers.
func (a *app) lookAtHub(ctx context.Context, repo, revision string) (*gptoss.Checkpoint, []byte, error) {
	client, err := readHubSettings(os.Getenv).client()
	if err != nil {
		return nil, nil, err
	}
	defer client.Close()
	commit, files, err := listModel(ctx, client, repo, revision)
	if err != nil {
		return nil, nil, err
	}
	h := hubModel{client, repo, commit, map[string]hub.File{}}
	for _, f := range files {
		h.files[f.Path] = f
	}
	config, err := h.read(ctx, configName, 0, maxSmall)
	if err != nil {
		return nil, nil, err
	}
	display := a.progress("look at "+repo, "files")
	defer display.Close()
	tensors, err := h.tensors(ctx, func(file string, i, n int) { display.Update(file, float64(i), float64(n)) })
	if err != nil {
		return nil, nil, err
	}
	c, err := gptoss.OpenOutline(config, tensors)
	return c, config, err
}

// hubModel is a model at the Hub.
type hubModel struct {
	c            *hub.Client
	repo, commit string
	files        map[string]hub.File
}

// read returns bytes [from, end) of a file, fewer where it is shorter.
func (h hubModel) read(ctx context.Context, name string, from, end int64) ([]byte, error) {
	f, ok := h.files[name]
	if !ok {
		return nil, fmt.Errorf("%s has no %s", h.repo, name)
	}
	return h.c.Read(ctx, h.repo, h.commit, f, from, min(end, f.Size))
}

// tensors reads the headers of all files of weights.
func (h hubModel) tensors(ctx context.Context, progress func(file string, i, n int)) ([]safetensors.Tensor, error) {
	shards := []string{singleName}
	var weights map[string]string
	if _, sharded := h.files[indexName]; sharded {
		data, err := h.read(ctx, indexName, 0, maxSmall)
		if err != nil {
			return nil, err
		}
		if weights, err = safetensors.ParseIndex(data); err != nil {
			return nil, fmt.Errorf("%s: %w", h.repo, err)
		}
		shards = slices.Compact(slices.Sorted(maps.Values(weights)))
	}
	var all []safetensors.Tensor
	for i, shard := range shards {
		progress(shard, i, len(shards))
		tensors, err := h.header(ctx, shard)
		if err != nil {
			return nil, err
		}
		for _, t := range tensors {
			if weights != nil && weights[t.Name] != shard {
				return nil, fmt.Errorf("%s: tensor %q is in %s, but the index says %q", h.repo, t.Name, shard, weights[t.Name])
			}
		}
		all = append(all, tensors...)
	}
	if weights != nil && len(all) != len(weights) {
		return nil, fmt.Errorf("%s: the index lists %d tensors, its files hold %d", h.repo, len(weights), len(all))
	}
	return all, nil
}

// header reads the header of one file.
func (h hubModel) header(ctx context.Context, shard string) ([]safetensors.Tensor, error) {
	head, err := h.read(ctx, shard, 0, firstRead)
	if err != nil {
		return nil, err
	}
	n, err := safetensors.HeaderLength(head, h.files[shard].Size)
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w", h.repo, shard, err)
	}
	if missing := n - int64(len(head)); missing > 0 {
		rest, err := h.read(ctx, shard, int64(len(head)), n)
		if err != nil {
			return nil, err
		}
		head = append(head, rest...)
	}
	return safetensors.Outline(shard, head, h.files[shard].Size)
}
