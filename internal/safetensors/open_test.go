package safetensors

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// raw builds a file from a header text and a data section of n bytes 0, 1, 2, …
func raw(header string, n int) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	b = append(b, header...)
	for i := range n {
		b = append(b, byte(i))
	}
	return b
}

func put(t *testing.T, path string, b []byte) string {
	t.Helper()
	if err := os.WriteFile(path, b, 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

// oneLine asserts that err is one line holding all of want.
func oneLine(t *testing.T, err error, want ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one about %q", want)
	}
	if strings.Contains(err.Error(), "\n") || !strings.HasPrefix(err.Error(), "safetensors: ") {
		t.Errorf("error %q is not one line of this package", err)
	}
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q does not say %q", err, w)
		}
	}
}

func TestOpenHostile(t *testing.T) {
	u8 := func(name string, n, begin, end int) string {
		return fmt.Sprintf(`"%s":{"dtype":"U8","shape":[%d],"data_offsets":[%d,%d]}`, name, n, begin, end)
	}
	length := func(n uint64, size int) []byte {
		return append(binary.LittleEndian.AppendUint64(nil, n), make([]byte, size)...)
	}
	for name, c := range map[string]struct {
		file []byte
		want string
	}{
		"empty":                  {nil, "too short"},
		"7 bytes":                {make([]byte, 7), "too short"},
		"zero header":            {length(0, 100), "does not start with '{'"},
		"header past end":        {length(99_000_000, 1<<20), "past the end of the file"},
		"header over limit":      {length(100_000_001, 16), "over the limit"},
		"header max uint64":      {length(1<<64-1, 16), "over the limit"},
		"header off by one":      {raw(`{}`, 0)[:9], "past the end of the file"},
		"array":                  {raw(`[]`, 0), "does not start with '{'"},
		"leading space":          {raw(` {}`, 0), "does not start with '{'"},
		"not utf-8":              {raw("{\"a\xff\":1}", 0), "UTF-8"},
		"cut json":               {raw(`{"a":{"dtype":"U8",`, 0), "bad JSON"},
		"garbage json":           {raw(`{"a"}`, 0), "bad JSON"},
		"trailing comma":         {raw(`{`+u8("a", 1, 0, 1)+`,}`, 1), "bad JSON"},
		"two objects":            {raw(`{}{}`, 0), "after its JSON object"},
		"NUL padding":            {raw("{}\x00", 0), "after its JSON object"},
		"deep nesting":           {raw(`{"a":`+strings.Repeat(`[`, 100_000), 0), `found "["`},
		"deep shape":             {raw(`{"a":{"shape":`+strings.Repeat(`[`, 100_000), 0), "not an array of numbers"},
		"entry is null":          {raw(`{"a":null}`, 0), `want "{"`},
		"duplicate name":         {raw(`{`+u8("a", 1, 0, 1)+`,`+u8("a", 1, 1, 2)+`}`, 2), `duplicate key "a"`},
		"duplicate escaped name": {raw(`{`+u8("a", 1, 0, 1)+`,`+u8(`\u0061`, 1, 1, 2)+`}`, 2), `duplicate key "a"`},
		"duplicate dtype":        {raw(`{"a":{"dtype":"U8","dtype":"I8","shape":[0],"data_offsets":[0,0]}}`, 0), `duplicate key "dtype"`},
		"duplicate metadata":     {raw(`{"__metadata__":{"k":"1","k":"2"}}`, 0), `duplicate key "k"`},
		"metadata number":        {raw(`{"__metadata__":{"k":1}}`, 0), "__metadata__ value is not a string"},
		"metadata array":         {raw(`{"__metadata__":[]}`, 0), "__metadata__"},
		"unknown key":            {raw(`{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0],"x":1}}`, 0), `unknown key "x"`},
		"no dtype":               {raw(`{"a":{"shape":[0],"data_offsets":[0,0]}}`, 0), "missing"},
		"unknown dtype":          {raw(`{"a":{"dtype":"F4","shape":[0],"data_offsets":[0,0]}}`, 0), `unknown dtype "F4"`},
		"lower case dtype":       {raw(`{"a":{"dtype":"u8","shape":[0],"data_offsets":[0,0]}}`, 0), `unknown dtype "u8"`},
		"dtype number":           {raw(`{"a":{"dtype":8,"shape":[0],"data_offsets":[0,0]}}`, 0), "dtype is not a string"},
		"negative dim":           {raw(`{"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,0]}}`, 0), "not an integer"},
		"float dim":              {raw(`{"a":{"dtype":"U8","shape":[1.0],"data_offsets":[0,1]}}`, 1), "not an integer"},
		"exponent dim":           {raw(`{"a":{"dtype":"U8","shape":[1e0],"data_offsets":[0,1]}}`, 1), "not an integer"},
		"huge dim":               {raw(`{"a":{"dtype":"U8","shape":[9223372036854775808],"data_offsets":[0,0]}}`, 0), "not an integer"},
		"dim is a string":        {raw(`{"a":{"dtype":"U8","shape":["1"],"data_offsets":[0,1]}}`, 1), "not an array of numbers"},
		"shape product wraps":    {raw(`{"a":{"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0]}}`, 0), "shape"},
		"shape wraps before 0":   {raw(`{"a":{"dtype":"U8","shape":[4294967296,4294967296,0],"data_offsets":[0,0]}}`, 0), "shape"},
		"bytes wrap":             {raw(`{"a":{"dtype":"F64","shape":[1152921504606846976,2],"data_offsets":[0,0]}}`, 0), "1152921504606846976 2]"},
		"65 dims":                {raw(`{"a":{"dtype":"U8","shape":[1`+strings.Repeat(",1", 64)+`],"data_offsets":[0,1]}}`, 1), "more than 64"},
		"one offset":             {raw(`{"a":{"dtype":"U8","shape":[0],"data_offsets":[0]}}`, 0), "has 1 numbers"},
		"three offsets":          {raw(`{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0,0]}}`, 0), "more than 2"},
		"negative offset":        {raw(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[-1,0]}}`, 0), "not an integer"},
		"reversed offsets":       {raw(`{`+u8("a", 1, 1, 0)+`}`, 1), "end before they begin"},
		"wrong size":             {raw(`{`+u8("a", 2, 0, 1)+`}`, 1), "needs 2"},
		"past the end":           {raw(`{`+u8("a", 4, 0, 4)+`}`, 3), "truncated"},
		"offsets near 2^63":      {raw(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[9223372036854775806,9223372036854775807]}}`, 1), "truncated"},
		"hole at start":          {raw(`{`+u8("a", 1, 1, 2)+`}`, 2), "hole of 1"},
		"hole between":           {raw(`{`+u8("a", 1, 0, 1)+`,`+u8("b", 1, 2, 3)+`}`, 3), "hole of 1"},
		"overlap":                {raw(`{`+u8("a", 2, 0, 2)+`,`+u8("b", 2, 1, 3)+`}`, 3), "overlap"},
		"same bytes twice":       {raw(`{`+u8("a", 2, 0, 2)+`,`+u8("b", 2, 0, 2)+`}`, 2), "overlap"},
		"trailing byte":          {raw(`{`+u8("a", 2, 0, 2)+`}`, 3), "1 bytes after the last tensor"},
		"data but no tensors":    {raw(`{}`, 1), "1 bytes after the last tensor"},
	} {
		t.Run(name, func(t *testing.T) {
			path := put(t, filepath.Join(t.TempDir(), "x.safetensors"), c.file)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			a, err := Open(path)
			runtime.ReadMemStats(&after)
			if err == nil {
				a.Close()
			}
			oneLine(t, err, path, c.want)
			if got := after.TotalAlloc - before.TotalAlloc; got > 4<<20 {
				t.Errorf("allocated %d bytes for a file of %d", got, len(c.file))
			}
		})
	}
}

func TestOpenShapes(t *testing.T) {
	header := `{"scalar":{"dtype":"U8","shape":[],"data_offsets":[0,1]},
		"none":{"data_offsets":[1,1],"shape":[3,0,2],"dtype":"F32"},
		"__metadata__":{"format":"pt","é":"\u00fc"},
		"odd":{"dtype":"BF16","shape":[1,2],"data_offsets":[1,5]}}  ` + "\n "
	path := put(t, filepath.Join(t.TempDir(), "m.safetensors"), raw(header, 5))
	a, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := a.Names(); !slices.Equal(got, []string{"none", "odd", "scalar"}) {
		t.Errorf("names %v", got)
	}
	if got := a.Metadata(); !maps.Equal(got, map[string]string{"format": "pt", "é": "ü"}) {
		t.Errorf("metadata %v", got)
	}
	if a.Bytes() != 5 || !slices.Equal(a.Files(), []string{path}) {
		t.Errorf("%d bytes in %v", a.Bytes(), a.Files())
	}
	for name, want := range map[string]struct {
		n     int
		shape []int
		data  string
	}{"scalar": {1, nil, "\x00"}, "none": {0, []int{3, 0, 2}, ""}, "odd": {2, []int{1, 2}, "\x01\x02\x03\x04"}} {
		x, err := a.Tensor(name)
		if err != nil || x.Len() != want.n || !slices.Equal(x.Shape, want.shape) || string(x.Data) != want.data || cap(x.Data) != len(x.Data) {
			t.Errorf("%s: %+v, %v", name, x, err)
		}
	}
	_, err = a.Tensor("nope")
	oneLine(t, err, path, `"nope"`)
	if _, ok := a.Lookup("nope"); ok {
		t.Error("Lookup found nope")
	}
	if err := errors.Join(a.Close(), a.Close()); err != nil {
		t.Error(err)
	}
}

func TestOpenIndex(t *testing.T) {
	one := func(name string) []byte {
		return raw(`{"`+name+`":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, 1)
	}
	for name, c := range map[string]struct{ index, want string }{
		"good":             {`{"metadata":{"total_size":2,"x":[[{}]]},"weight_map":{"a":"1.safetensors","b":"2.safetensors"}}`, ""},
		"no weight_map":    {`{"metadata":{}}`, "weight_map is missing"},
		"empty weight_map": {`{"weight_map":{}}`, "weight_map is missing"},
		"null weight_map":  {`{"weight_map":null}`, "weight_map"},
		"not json":         {`hello`, "bad JSON"},
		"empty":            {``, "bad JSON"},
		"trailing":         {`{"weight_map":{"a":"1.safetensors"}} x`, "after its JSON object"},
		"two weight_maps":  {`{"weight_map":{"a":"1.safetensors"},"weight_map":{}}`, "duplicate key"},
		"duplicate tensor": {`{"weight_map":{"a":"1.safetensors","a":"2.safetensors"}}`, `duplicate key "a"`},
		"number":           {`{"weight_map":{"a":1}}`, "not a string"},
		"deep":             {`{"metadata":` + strings.Repeat(`[`, 100_000), "bad JSON"},
		"path":             {`{"weight_map":{"a":"sub/1.safetensors"}}`, "not a plain file name"},
		"backslash":        {`{"weight_map":{"a":"sub\\1.safetensors"}}`, "not a plain file name"},
		"parent":           {`{"weight_map":{"a":".."}}`, "not a plain file name"},
		"escape":           {`{"weight_map":{"a":"../1.safetensors"}}`, "not a plain file name"},
		"absolute":         {`{"weight_map":{"a":"/etc/passwd"}}`, "not a plain file name"},
		"self":             {`{"weight_map":{"a":"."}}`, "not a plain file name"},
		"empty file name":  {`{"weight_map":{"a":""}}`, "not a plain file name"},
		"NUL":              {`{"weight_map":{"a":"x\u0000y"}}`, "x\x00y"},
		"missing shard":    {`{"weight_map":{"a":"1.safetensors","z":"9.safetensors"}}`, "9.safetensors"},
		"directory":        {`{"weight_map":{"a":"dir"}}`, "not a regular file"},
		"missing tensor":   {`{"weight_map":{"a":"1.safetensors","b":"2.safetensors","c":"2.safetensors"}}`, `tensor "c" is not in 2.safetensors`},
		"unlisted tensor":  {`{"weight_map":{"a":"1.safetensors","c":"2.safetensors"}}`, `tensor "b" is in 2.safetensors but not in the index`},
		"wrong shard":      {`{"weight_map":{"a":"1.safetensors","b":"1.safetensors","c":"2.safetensors"}}`, "2.safetensors"},
		"swapped":          {`{"weight_map":{"a":"2.safetensors","b":"1.safetensors"}}`, `tensor "a" is in 1.safetensors, but the index puts it in 2.safetensors`},
		"in two shards":    {`{"weight_map":{"a":"1.safetensors","b":"3.safetensors"}}`, `tensor "a" is also in`},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			put(t, filepath.Join(dir, "1.safetensors"), one("a"))
			put(t, filepath.Join(dir, "2.safetensors"), one("b"))
			put(t, filepath.Join(dir, "3.safetensors"), one("a"))
			if err := os.Mkdir(filepath.Join(dir, "dir"), 0o777); err != nil {
				t.Fatal(err)
			}
			path := put(t, filepath.Join(dir, indexName), []byte(c.index))
			a, err := Open(path)
			if c.want != "" {
				oneLine(t, err, dir, c.want)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer a.Close()
			if got := a.Names(); !slices.Equal(got, []string{"a", "b"}) || len(a.Files()) != 2 || a.Bytes() != 2 {
				t.Errorf("names %v, files %v, %d bytes", got, a.Files(), a.Bytes())
			}
		})
	}
}

func TestOpenDirectory(t *testing.T) {
	file := raw(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, 1)
	for name, c := range map[string]struct {
		files []string
		open  string // base name of the file opened
		want  string // or the error
	}{
		"single":        {[]string{singleName, "other.safetensors"}, singleName, ""},
		"one file":      {[]string{"weights.safetensors", "readme.md", ".hidden.safetensors"}, "weights.safetensors", ""},
		"one of one":    {[]string{"model-00001-of-00001.safetensors"}, "model-00001-of-00001.safetensors", ""},
		"none":          {[]string{"config.json"}, "", "no model.safetensors.index.json"},
		"two":           {[]string{"a.safetensors", "b.safetensors"}, "", "2 *.safetensors files"},
		"lone shard":    {[]string{"model-00001-of-00003.safetensors"}, "", "incomplete"},
		"lone shard 11": {[]string{"model-00001-of-00011.safetensors"}, "", "incomplete"},
		"lone shard 0":  {[]string{"model-00000-of-00002.safetensors"}, "", "incomplete"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for _, f := range c.files {
				put(t, filepath.Join(dir, f), file)
			}
			a, err := Open(dir)
			if c.want != "" {
				oneLine(t, err, dir, c.want)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer a.Close()
			if got := a.Files(); !slices.Equal(got, []string{filepath.Join(dir, c.open)}) {
				t.Errorf("opened %v, want %s", got, c.open)
			}
		})
	}
	missing := filepath.Join(t.TempDir(), "missing")
	_, err := Open(missing)
	oneLine(t, err, missing)
	if runtime.GOOS != "windows" {
		_, err = Open(os.DevNull)
		oneLine(t, err, os.DevNull, "not a regular file")
	}
}

// FuzzOpen wants an error or an archive whose every tensor is fully readable, at a cost bounded by the input.
func FuzzOpen(f *testing.F) {
	f.Add(raw(`{"a":{"dtype":"U8","shape":[],"data_offsets":[0,1]},"b":{"dtype":"F16","shape":[2,0],"data_offsets":[1,1]}}`, 1))
	f.Add(raw(`{"__metadata__":{"k":"v"},"a":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}}  `, 4))
	f.Add(raw(`{"a":{"dtype":"F64","shape":[1],"data_offsets":[4,12]},"b":{"dtype":"I32","shape":[1,1],"data_offsets":[0,4]}}`, 12))
	path := filepath.Join(f.TempDir(), "x.safetensors")
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.WriteFile(path, b, 0o666); err != nil {
			t.Fatal(err)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		a, err := Open(path)
		runtime.ReadMemStats(&after)
		if got := after.TotalAlloc - before.TotalAlloc; got > 1<<20+64*uint64(len(b)) {
			t.Errorf("allocated %d bytes for a file of %d", got, len(b))
		}
		inMemory, readErr := Read(path, b)
		if fmt.Sprint(readErr) != fmt.Sprint(err) {
			t.Fatalf("Read says %v, Open says %v", readErr, err)
		}
		if err != nil {
			oneLine(t, err, path)
			return
		}
		defer a.Close()
		if !slices.Equal(inMemory.Names(), a.Names()) || inMemory.Close() != nil {
			t.Fatalf("Read found %q, Open %q", inMemory.Names(), a.Names())
		}
		var sum int64
		for _, name := range a.Names() {
			x, err := a.Tensor(name)
			if err != nil || x.Len()*x.Dtype.Size() != len(x.Data) {
				t.Fatalf("%q: %d elements of %s in %d bytes, %v", name, x.Len(), x.Dtype, len(x.Data), err)
			}
			touch(x.Data)
			sum += int64(len(x.Data))
			x.Float32s()
		}
		if sum != a.Bytes() {
			t.Fatalf("Bytes %d, tensors hold %d", a.Bytes(), sum)
		}
	})
}

var sink byte

// touch reads every byte; none may fault.
func touch(b []byte) {
	for _, v := range b {
		sink ^= v
	}
}
