package safetensors

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// TestOutline: the beginning of a file says all but the data.
func TestOutline(t *testing.T) {
	dir := t.TempDir()
	w, err := Create(dir, []Spec{{Name: "a", Dtype: BF16, Shape: []int{3, 5}}, {Name: "b", Dtype: U8, Shape: []int{7}}, {Name: "c", Dtype: F32}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for name, n := range map[string]int{"a": 30, "b": 7, "c": 4} {
		if err := w.Write(name, make([]byte, n)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, singleName))
	if err != nil {
		t.Fatal(err)
	}
	size := int64(len(data))
	n, err := HeaderLength(data[:LengthPrefix], size)
	if err != nil || n != size-41 {
		t.Fatalf("the header has %d bytes, want %d: %v", n, size-41, err)
	}
	whole, err := Read("f", data)
	if err != nil {
		t.Fatal(err)
	}
	tensors, err := Outline("f", data[:n], size)
	if err != nil || len(tensors) != 3 {
		t.Fatalf("%d tensors, %v", len(tensors), err)
	}
	for _, got := range tensors {
		want, err := whole.Tensor(got.Name)
		if err != nil {
			t.Fatal(err)
		}
		if got.Bytes() != int64(len(want.Data)) || want.Bytes() != got.Bytes() {
			t.Errorf("%s has %d bytes, want %d", got.Name, got.Bytes(), len(want.Data))
		}
		if want.Data = nil; !reflect.DeepEqual(got, want) {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
	huge := binary.LittleEndian.AppendUint64(nil, 1<<62)
	for name, e := range map[string]struct {
		head []byte
		size int64
		want string
	}{
		"nothing":   {nil, size, "too short"},
		"prefix":    {data[:LengthPrefix], size, "8 bytes of a header of"},
		"one short": {data[:n-1], size, "bytes of a header of"},
		"truncated": {data[:n], size - 1, "truncated"},
		"longer":    {data[:n], size + 1, "belong to none"},
		"shorter":   {data[:n], n - 1, "past the end"},
		"huge":      {huge, 1 << 62, "over the limit"},
	} {
		if _, err := Outline("f", e.head, e.size); err == nil || !strings.Contains(err.Error(), e.want) {
			t.Errorf("%s: error %v, want %q", name, err, e.want)
		}
	}
}
