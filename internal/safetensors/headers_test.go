package safetensors

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestHeaders(t *testing.T) {
	const header = `{"b": {"dtype": "U8", "shape": [3], "data_offsets": [0, 3]}, "a": {"dtype": "BF16", "shape": [2, 1], "data_offsets": [3, 7]}}`
	dir := t.TempDir()
	file := filepath.Join(dir, "m.safetensors")
	for _, e := range []struct {
		data  int
		whole bool
		wrong string
	}{{7, true, ""}, {0, false, ""}, {6, false, "truncated"}, {8, false, "belong to none"}} {
		put(t, file, raw(header, e.data))
		tensors, whole, err := ReadHeader(file)
		if e.wrong != "" {
			oneLine(t, err, "m.safetensors", e.wrong)
			continue
		}
		if err != nil || whole != e.whole || len(tensors) != 2 || tensors[0].Name != "b" || tensors[1].Len() != 2 || tensors[1].Data != nil {
			t.Errorf("%d bytes of data: %+v, %v, %v", e.data, tensors, whole, err)
		}
	}
	n, err := HeaderLength(raw(header, 7), int64(8+len(header)+7))
	if err != nil || n != int64(len(header)) {
		t.Errorf("the header has %d bytes: %v", n, err)
	}
	if tensors, err := ParseHeader("m", []byte(header), 7); err != nil || len(tensors) != 2 {
		t.Errorf("%d tensors: %v", len(tensors), err)
	}
	_, err = ParseHeader("m", []byte(header), 0)
	oneLine(t, err, "truncated")
	_, err = HeaderLength(raw(header, 0)[:7], 100)
	oneLine(t, err, "too short")
	_, err = HeaderLength([]byte("\xff\xff\xff\xff\xff\xff\xff\xff"), 1<<40)
	oneLine(t, err, "over the limit")
	_, _, err = ReadHeader(filepath.Join(dir, "none"))
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	put(t, file, []byte("short"))
	_, _, err = ReadHeader(file)
	oneLine(t, err, "too short")
}

func TestGather(t *testing.T) {
	index := Index{"a": "1", "b": "2", "c": "2"}
	files := map[string][]Tensor{"1": {{Name: "a"}}, "2": {{Name: "b"}, {Name: "c"}}}
	header := func(file string) ([]Tensor, error) { return files[file], nil }
	if all, err := index.Gather(header); err != nil || len(all) != 3 {
		t.Errorf("%d tensors: %v", len(all), err)
	}
	files["2"] = files["2"][:1]
	_, err := index.Gather(header)
	oneLine(t, err, `"c" is missing`)
	files["2"] = []Tensor{{Name: "b"}, {Name: "c"}, {Name: "a"}}
	_, err = index.Gather(header)
	oneLine(t, err, `does not have tensor "a"`)
	_, err = index.Gather(func(string) ([]Tensor, error) { return nil, os.ErrPermission })
	if !errors.Is(err, os.ErrPermission) {
		t.Errorf("error %v, want header's", err)
	}
	_, err = ParseIndex("x", []byte(`{"weight_map": {"a": "../m.safetensors"}}`))
	oneLine(t, err, "not a plain file name")
}
