package main

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/seed-796a8800/tritium/internal/hub/hubtest"
	"github.com/seed-796a8800/tritium/internal/safetensors"
)

// fakehub REPO DIR [TOKEN]: a Hub that has the directory as a repository, until
// the script ends; HF_ENDPOINT leads to it, and a cache is there.
func fakehub(ts *testscript.TestScript, neg bool, args []string) {
	s := hubtest.New(args[0], os.DirFS(ts.MkAbs(args[1])))
	if len(args) > 2 {
		s.Token = args[2]
	}
	ts.Defer(s.Close)
	ts.Setenv("HF_ENDPOINT", s.URL)
	ts.Setenv("HF_HOME", ts.MkAbs("hf-home"))
}

// published is the index of a model as OpenAI publishes it: the names of its
// tensors, and the shapes and types behind them.
type published struct {
	files  int
	shapes map[string][]int // of bf16, but what is named _blocks and _scales
	where  map[string]string
}

// newPublished lists the tensors of gpt-oss-20b or -120b as the model card's
// files have them.
func newPublished(layers, experts, files int) *published {
	p := &published{files: files, shapes: map[string][]int{
		"model.embed_tokens.weight": {201088, 2880}, "model.norm.weight": {2880}, "lm_head.weight": {201088, 2880},
	}, where: map[string]string{}}
	for layer := range layers {
		for name, shape := range map[string][]int{
			"input_layernorm.weight": {2880}, "post_attention_layernorm.weight": {2880},
			"self_attn.q_proj.weight": {4096, 2880}, "self_attn.q_proj.bias": {4096},
			"self_attn.k_proj.weight": {512, 2880}, "self_attn.k_proj.bias": {512},
			"self_attn.v_proj.weight": {512, 2880}, "self_attn.v_proj.bias": {512},
			"self_attn.o_proj.weight": {2880, 4096}, "self_attn.o_proj.bias": {2880}, "self_attn.sinks": {64},
			"mlp.router.weight": {experts, 2880}, "mlp.router.bias": {experts},
			"mlp.experts.gate_up_proj_blocks": {experts, 5760, 90, 16}, "mlp.experts.gate_up_proj_scales": {experts, 5760, 90},
			"mlp.experts.gate_up_proj_bias": {experts, 5760},
			"mlp.experts.down_proj_blocks":  {experts, 2880, 90, 16}, "mlp.experts.down_proj_scales": {experts, 2880, 90},
			"mlp.experts.down_proj_bias": {experts, 2880},
		} {
			p.shapes[fmt.Sprintf("model.layers.%d.%s", layer, name)] = shape
		}
	}
	for i, name := range slices.Sorted(maps.Keys(p.shapes)) {
		p.where[name] = p.file(i * files / len(p.shapes))
	}
	return p
}

// file returns a file's name: they count from zero, up to the last.
func (p *published) file(i int) string {
	return fmt.Sprintf("model-%05d-of-%05d.safetensors", i, p.files-1)
}

func (p *published) dtype(name string) safetensors.Dtype {
	if strings.HasSuffix(name, "_blocks") || strings.HasSuffix(name, "_scales") {
		return safetensors.U8
	}
	return safetensors.BF16
}

// index writes model.safetensors.index.json.
func (p *published) index(dir string) error {
	text, err := json.Marshal(map[string]any{"metadata": map[string]any{"total_size": p.bytes()}, "weight_map": p.where})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, indexFile), text, 0o666)
}

func (p *published) size(name string) int64 {
	return int64(safetensors.Tensor{Shape: p.shapes[name]}.Len() * p.dtype(name).Size())
}

func (p *published) bytes() (n int64) {
	for name := range p.shapes {
		n += p.size(name)
	}
	return n
}

// write writes the files of weights: headers alone, or with weights of zeros
// that take no room on the disk.
func (p *published) write(dir string, weights bool) error {
	for i := range p.files {
		header, at := map[string]any{}, int64(0)
		for _, name := range slices.Sorted(maps.Keys(p.shapes)) {
			if p.where[name] == p.file(i) {
				header[name] = map[string]any{"dtype": p.dtype(name), "shape": p.shapes[name], "data_offsets": []int64{at, at + p.size(name)}}
				at += p.size(name)
			}
		}
		text, err := json.Marshal(header)
		if err != nil {
			return err
		}
		path := filepath.Join(dir, p.file(i))
		data := append(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), text...)
		if err := os.WriteFile(path, data, 0o666); err != nil {
			return err
		}
		if weights {
			if err := os.Truncate(path, int64(len(data))+at); err != nil {
				return err
			}
		}
	}
	return nil
}

// publish 20b|120b DIR [headers|sparse]: the index that OpenAI published, and
// the files' headers or as much as can be had without the weights. config.json
// is the script's.
func publish(ts *testscript.TestScript, neg bool, args []string) {
	p := newPublished(24, 32, 3)
	if args[0] == "120b" {
		p = newPublished(36, 128, 15)
	}
	dir := ts.MkAbs(args[1])
	ts.Check(p.index(dir))
	if len(args) > 2 {
		ts.Check(p.write(dir, args[2] == "sparse"))
	}
}

// shardnano DIR: the built-in model as a directory of three files with an
// index, named as OpenAI does.
func shardnano(ts *testscript.TestScript, neg bool, args []string) {
	copynano(ts, false, args)
	dir := ts.MkAbs(args[0])
	whole := filepath.Join(dir, "model.safetensors")
	archive, err := safetensors.Open(whole)
	ts.Check(err)
	p := &published{files: 3, where: map[string]string{}}
	content := make([][]byte, p.files)
	headers := make([]map[string]any, p.files)
	for i, name := range archive.Names() {
		k := i * p.files / len(archive.Names())
		if headers[k] == nil {
			headers[k] = map[string]any{}
		}
		t, _ := archive.Lookup(name)
		at := len(content[k])
		content[k] = append(content[k], t.Data...)
		headers[k][name] = map[string]any{"dtype": t.Dtype, "shape": t.Shape, "data_offsets": []int{at, len(content[k])}}
		p.where[name] = p.file(k)
	}
	ts.Check(archive.Close())
	for k := range content {
		text, err := json.Marshal(headers[k])
		ts.Check(err)
		data := append(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), text...)
		ts.Check(os.WriteFile(filepath.Join(dir, p.file(k)), append(data, content[k]...), 0o666))
	}
	ts.Check(p.index(dir))
	ts.Check(os.Remove(whole))
	ts.Check(os.Remove(filepath.Join(dir, "golden.safetensors")))
	ts.Check(os.Mkdir(filepath.Join(dir, "original"), 0o777))
	ts.Check(os.WriteFile(filepath.Join(dir, "original", "model.safetensors"), []byte("the same again"), 0o666))
}

// TestPublishedIndex: what the scripts write are the sizes that OpenAI's
// indexes state.
func TestPublishedIndex(t *testing.T) {
	for _, e := range []struct {
		p       *published
		tensors int
		bytes   int64
	}{
		{newPublished(24, 32, 3), 459, 13_761_264_768},
		{newPublished(36, 128, 15), 687, 65_248_815_744},
	} {
		if len(e.p.shapes) != e.tensors || e.p.bytes() != e.bytes {
			t.Errorf("%d tensors of %d bytes, want %d of %d", len(e.p.shapes), e.p.bytes(), e.tensors, e.bytes)
		}
	}
}

func TestHubSettings(t *testing.T) {
	home := func() (string, error) { return "/home/a", nil }
	for name, e := range map[string]struct {
		env  map[string]string
		want hubSettings
	}{
		"nothing": {nil, hubSettings{"https://huggingface.co", "/home/a/.cache/huggingface/hub", "", "/home/a/.cache/huggingface/token", false}},
		"home": {map[string]string{"HF_HOME": "/m", "HF_TOKEN": " hf_a\n", "HF_ENDPOINT": "https://mirror/"},
			hubSettings{"https://mirror", "/m/hub", "hf_a", "/m/token", false}},
		"each": {map[string]string{"HF_HUB_CACHE": "/c", "HF_TOKEN_PATH": "/t", "HF_HUB_OFFLINE": "yes"},
			hubSettings{"https://huggingface.co", "/c", "", "/t", true}},
		"xdg": {map[string]string{"XDG_CACHE_HOME": "/x", "HF_HUB_OFFLINE": "0"},
			hubSettings{"https://huggingface.co", "/x/huggingface/hub", "", "/x/huggingface/token", false}},
	} {
		got, err := newHubSettings(func(k string) (string, bool) { v, ok := e.env[k]; return v, ok }, home)
		got.cache, got.tokenFile = filepath.ToSlash(got.cache), filepath.ToSlash(got.tokenFile)
		if err != nil || got != e.want {
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, e.want)
		}
	}
}
