package tokenizer

import (
	"bytes"
	"encoding/json"
	"slices"
	"testing"
	"unicode/utf8"
)

// FuzzRead: no input panics, and what is accepted is JSON and a tokenizer that loses nothing.
func FuzzRead(f *testing.F) {
	f.Add(tinyJSON(f, nil))
	f.Add(tinyJSON(f, func(m map[string]any) {
		model := m["model"].(map[string]any)
		model["vocab"].(map[string]any)["ab"] = 256
		model["merges"] = []any{"a b"}
	}))
	f.Add([]byte(`{"model":{"vocab":{"\u0120t":1,"a":-1},"merges":[["a","b"]]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		tok, err := Read(bytes.NewReader(data))
		if err != nil {
			return
		}
		if !json.Valid(data) {
			t.Fatalf("accepted what is not JSON: %q", data)
		}
		text := string(data) + "\x00\xff"
		if got := tok.Decode(tok.Encode(text)); got != text {
			t.Fatalf("Decode(Encode(%q)) = %q", text, got)
		}
		if len(tok.pieces) != tok.Size() || len(tok.specials)+len(tok.ordinary) > tok.Size() {
			t.Fatalf("%d + %d tokens, size %d", len(tok.ordinary), len(tok.specials), tok.Size())
		}
	})
}

// FuzzFromRanks: as FuzzRead.
func FuzzFromRanks(f *testing.F) {
	f.Add([]byte(byteRanks()))
	f.Add([]byte(byteRanks() + "YWI= 256\nYWJh 257\n"))
	f.Add([]byte("YWI= 1\n\nYQ"))
	f.Fuzz(func(t *testing.T, data []byte) {
		tok, err := FromRanks(bytes.NewReader(data), map[string]int32{"<|end|>": 300})
		if err != nil {
			return
		}
		if got := tok.Decode(tok.Encode(string(data))); got != string(data) {
			t.Fatalf("Decode(Encode(%q)) = %q", data, got)
		}
	})
}

// FuzzEncode: any bytes come back, whole and streamed, in the pieces and ids of the reference.
func FuzzEncode(f *testing.F) {
	tok, ref := nano(f), readReference(f, nanoPath)
	for _, text := range []string{
		"", "Hello, world! It's 2024.\r\n\r\n  x", "ǅ'ſ \u0301A\u3000\n \n日本 12345/", "\xff\xe2\x82 \xf0\x9f", "<|start|>",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		ids := tok.Encode(text)
		if got := tok.Decode(ids); got != text {
			t.Fatalf("Decode(Encode(%q)) = %q", text, got)
		}
		if got := tok.Decode(tok.EncodeSpecial(text)); got != text {
			t.Fatalf("Decode(EncodeSpecial(%q)) = %q", text, got)
		}
		checkStream(t, tok, ids)
		if len(text) > 2000 {
			return // the reference is quadratic
		}
		if want := ref.encode(text); !slices.Equal(ids, want) {
			t.Fatalf("Encode(%q)\n got %v\nwant %v", text, ids, want)
		}
	})
}

// FuzzJSON compares the reader, walking structure by structure, with encoding/json.
func FuzzJSON(f *testing.F) {
	for _, text := range []string{
		`{"a":[1,"b\n",{}],"c":null}`, ` [ ] `, `"\ud800"`, `[1,]`, `{"a" :1e5,}`, `"\\"`, `"a`, `-0`, `tru`, `[[[`, "\"\xff\"", `[]]`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > maxValue/2 {
			return
		}
		j := newJSONReader(bytes.NewReader(data))
		err := walk(j)
		if err == nil {
			err = j.end()
		}
		// Bytes that are not UTF-8 encoding/json takes for U+FFFD; the reader may refuse them.
		if valid := json.Valid(data); (err == nil) != valid && (err == nil || utf8.Valid(data)) {
			t.Fatalf("%q: error %v, json.Valid %t", data, err, valid)
		}
	})
}

func walk(j *jsonReader) error {
	c, err := j.peek()
	if err != nil {
		return err
	}
	switch c {
	case '{':
		return j.object(func([]byte) error { return walk(j) })
	case '[':
		return j.array(func() error { return walk(j) })
	case '"':
		_, err := j.string()
		return err
	}
	return j.skip()
}
