package tokenizer

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// byteRanks is a ranks file in which each byte is its own id.
func byteRanks() string {
	var b strings.Builder
	for i := range 256 {
		fmt.Fprintf(&b, "%s %d\n", base64.StdEncoding.EncodeToString([]byte{byte(i)}), i)
	}
	return b.String()
}

func readNanoJSON(tb testing.TB) []byte {
	tb.Helper()
	data, err := os.ReadFile(nanoPath)
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

func equal(t *testing.T, a, b *Tokenizer) {
	t.Helper()
	if !slices.Equal(a.pieces, b.pieces) || len(a.merges) != len(b.merges) || a.ignoreMerges != b.ignoreMerges {
		t.Fatal("tokenizers differ")
	}
	for p, m := range a.merges {
		if b.merges[p] != m {
			t.Fatalf("merges of %x differ: %v and %v", p, m, b.merges[p])
		}
	}
}

func TestReadForms(t *testing.T) {
	data := readNanoJSON(t)
	want := nano(t)
	var compact bytes.Buffer
	if err := json.Compact(&compact, data); err != nil {
		t.Fatal(err)
	}
	var tree struct {
		Model struct{ Merges [][]string }
	}
	if err := json.Unmarshal(data, &tree); err != nil {
		t.Fatal(err)
	}
	joined := compact.String()
	for _, m := range tree.Model.Merges {
		a, b, s := quote(t, m[0]), quote(t, m[1]), quote(t, m[0]+" "+m[1])
		joined = strings.Replace(joined, "["+a+","+b+"]", s, 1)
	}
	if strings.Contains(joined, `],["`) {
		t.Fatal("a merge is still an array")
	}
	for name, r := range map[string]io.Reader{
		"as it is":        bytes.NewReader(data),
		"compact":         &compact,
		"joined":          strings.NewReader(joined),
		"one byte a read": iotest.OneByteReader(bytes.NewReader(data)),
		"escaped":         strings.NewReader(escapeNonASCII(string(data))),
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Read(r)
			if err != nil {
				t.Fatal(err)
			}
			equal(t, got, want)
		})
	}
}

func escapeNonASCII(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r < 0x80 {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// TestReadMergeOrder: the order of the list is the priority, not the ids.
func TestReadMergeOrder(t *testing.T) {
	data := tinyJSON(t, func(m map[string]any) {
		model := m["model"].(map[string]any)
		vocab := model["vocab"].(map[string]any)
		vocab["ab"], vocab["bc"], vocab["abc"] = 256, 257, 258
		model["merges"] = []any{"b c", []string{"a", "b"}}
	})
	tok, err := Read(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string][]int32{"abc": {258}, "abcd": {97, 257, 100}, "abd": {256, 100}} {
		if got := tok.Encode(text); !slices.Equal(got, want) {
			t.Errorf("Encode(%q) = %v, want %v", text, got, want)
		}
	}
	tok.ignoreMerges = false
	if got, want := tok.Encode("abc"), []int32{97, 257}; !slices.Equal(got, want) {
		t.Errorf("without ignore_merges Encode(abc) = %v, want %v", got, want)
	}
}

// tinyJSON returns a tokenizer.json of the 256 bytes (id = byte) and one special, after edit. Members come in the order
// that Hugging Face writes, which vocab before merges depends on.
func tinyJSON(t testing.TB, edit func(map[string]any)) []byte {
	t.Helper()
	vocab := map[string]any{}
	for b, piece := range alphabet() {
		vocab[piece] = b
	}
	m := map[string]any{
		"version":      "1.0",
		"truncation":   nil,
		"added_tokens": []any{map[string]any{"id": 300, "content": "<|end|>", "special": true}},
		"normalizer":   nil,
		"pre_tokenizer": map[string]any{"type": "Sequence", "pretokenizers": []any{
			map[string]any{"type": "Split", "pattern": map[string]any{"Regex": pattern}, "behavior": "Isolated", "invert": false},
			map[string]any{"type": "ByteLevel", "add_prefix_space": false, "use_regex": false},
		}},
		"post_processor": map[string]any{"type": "ByteLevel"},
		"decoder":        map[string]any{"type": "ByteLevel"},
		"model":          map[string]any{"type": "BPE", "ignore_merges": true, "vocab": vocab, "merges": []any{}},
	}
	if edit != nil {
		edit(m)
	}
	var b bytes.Buffer
	writeOrdered(t, &b, m, "version", "truncation", "added_tokens", "normalizer", "pre_tokenizer", "post_processor", "decoder", "model")
	return b.Bytes()
}

// alphabet is GPT-2's bytes_to_unicode.
func alphabet() (pieces [256]string) {
	next := rune(256)
	for b := range pieces {
		pieces[b] = string(rune(b))
		if b <= ' ' || b >= 0x7f && b <= 0xa0 || b == 0xad {
			pieces[b] = string(next)
			next++
		}
	}
	return pieces
}

func writeOrdered(t testing.TB, b *bytes.Buffer, m map[string]any, keys ...string) {
	t.Helper()
	sep := "{"
	for _, k := range keys {
		v, ok := m[k]
		if !ok {
			continue
		}
		fmt.Fprintf(b, "%s%q:", sep, k)
		sep = ","
		if model, ok := v.(map[string]any); ok && k == "model" {
			writeOrdered(t, b, model, "type", "dropout", "continuing_subword_prefix", "end_of_word_suffix", "ignore_merges", "vocab", "merges")
			continue
		}
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(data)
	}
	b.WriteByte('}')
}

func TestReadErrors(t *testing.T) {
	model := func(m map[string]any) map[string]any { return m["model"].(map[string]any) }
	vocab := func(m map[string]any) map[string]any { return model(m)["vocab"].(map[string]any) }
	pre := func(m map[string]any, i int) map[string]any {
		return m["pre_tokenizer"].(map[string]any)["pretokenizers"].([]any)[i].(map[string]any)
	}
	special := func(m map[string]any) map[string]any { return m["added_tokens"].([]any)[0].(map[string]any) }
	for want, edit := range map[string]func(map[string]any){
		`model.type: "Unigram" is unsupported`:               func(m map[string]any) { model(m)["type"] = "Unigram" },
		`model.type is missing`:                              func(m map[string]any) { delete(model(m), "type") },
		`model.vocab is missing`:                             func(m map[string]any) { delete(model(m), "vocab"); delete(model(m), "merges") },
		`model.merges is missing`:                            func(m map[string]any) { delete(model(m), "merges") },
		`model.merges: comes before model.vocab`:             func(m map[string]any) { delete(model(m), "vocab") },
		`model is missing`:                                   func(m map[string]any) { delete(m, "model") },
		`pre_tokenizer is missing`:                           func(m map[string]any) { delete(m, "pre_tokenizer") },
		`decoder is missing`:                                 func(m map[string]any) { delete(m, "decoder") },
		`decoder: null is unsupported`:                       func(m map[string]any) { m["decoder"] = nil },
		`post_processor: type "TemplateProcessing" is unsup`: func(m map[string]any) { m["post_processor"] = map[string]any{"type": "TemplateProcessing"} },
		`normalizer: is unsupported, it must be null`:        func(m map[string]any) { m["normalizer"] = map[string]any{"type": "NFC"} },
		`truncation: is unsupported, it must be null`:        func(m map[string]any) { m["truncation"] = map[string]any{"max_length": 8} },
		`model.dropout: is unsupported`:                      func(m map[string]any) { model(m)["dropout"] = 0.1 },
		`model.end_of_word_suffix: "</w>" is unsupported`:    func(m map[string]any) { model(m)["end_of_word_suffix"] = "</w>" },
		`pre_tokenizer: is unsupported`:                      func(m map[string]any) { m["pre_tokenizer"] = map[string]any{"type": "ByteLevel"} },
		`pattern "\\w+" is unsupported, it must be the o200k`: func(m map[string]any) {
			pre(m, 0)["pattern"] = map[string]any{"Regex": `\w+`}
		},
		`split with behavior "Removed", invert false is`:  func(m map[string]any) { pre(m, 0)["behavior"] = "Removed" },
		`split with behavior "Isolated", invert true is`:  func(m map[string]any) { pre(m, 0)["invert"] = true },
		`ByteLevel with add_prefix_space or use_regex is`: func(m map[string]any) { delete(pre(m, 1), "use_regex") },
		`byte 0x61 has no token`:                          func(m map[string]any) { delete(vocab(m), "a") },
		`ids 97 and 99 are both token "a"`:                nil, // by hand below
		`id 97 is both token`:                             func(m map[string]any) { vocab(m)["ab"] = 97 },
		`token "ab" has id -1`:                            func(m map[string]any) { vocab(m)["ab"] = -1 },
		`token "ab" has id 1048576`:                       func(m map[string]any) { vocab(m)["ab"] = 1 << 20 },
		`token "ab": "1.5" is not an integer`:             func(m map[string]any) { vocab(m)["ab"] = 1.5 },
		`token "ab": "\"1\"" is not an integer`:           func(m map[string]any) { vocab(m)["ab"] = "1" },
		`the largest id is 5000 but there are only 258`:   func(m map[string]any) { vocab(m)["ab"] = 5000 },
		`token 256 is empty`:                              func(m map[string]any) { vocab(m)[""] = 256 },
		`token 256 has 257 bytes, the limit is 256`:       func(m map[string]any) { vocab(m)[strings.Repeat("a", 257)] = 256 },
		`token "a b" has a character outside`:             func(m map[string]any) { vocab(m)["a b"] = 256 },
		`token "日" has a character outside`:               func(m map[string]any) { vocab(m)["日"] = 256 },
		`merge 0: "a" + "b": both and the result must be`: func(m map[string]any) { model(m)["merges"] = []any{"a b"} },
		`merge 1: "a" + "b" is merge 0 as well`: func(m map[string]any) {
			vocab(m)["ab"] = 256
			model(m)["merges"] = []any{"a b", []string{"a", "b"}}
		},
		`merge 0: "ab" is not two tokens`:              func(m map[string]any) { model(m)["merges"] = []any{"ab"} },
		`merge 0: "b c" has a character outside`:       func(m map[string]any) { model(m)["merges"] = []any{"a b c"} },
		`merge 0: more than two tokens`:                func(m map[string]any) { model(m)["merges"] = []any{[]string{"a", "b", "c"}} },
		`merge 0: fewer than two tokens`:               func(m map[string]any) { model(m)["merges"] = []any{[]string{"a"}} },
		`merge 0: found '1' where '[' must be`:         func(m map[string]any) { model(m)["merges"] = []any{1} },
		`added_tokens: "<|end|>" has no id`:            func(m map[string]any) { delete(special(m), "id") },
		`"<|end|>" is unsupported: it must be special`: func(m map[string]any) { special(m)["special"] = false },
		`lstrip and rstrip`:                            func(m map[string]any) { special(m)["rstrip"] = true },
		`token 300 is empty`:                           func(m map[string]any) { special(m)["content"] = "" },
		`ids 97 and 300 are both token "a"`:            func(m map[string]any) { special(m)["content"] = "a" },
		`id 97 is both token "a" and token "<|end|>"`:  func(m map[string]any) { special(m)["id"] = 97 },
	} {
		data := tinyJSON(t, edit)
		if edit == nil {
			data = bytes.Replace(data, []byte(`"c":99`), []byte(`"a":99`), 1)
		}
		tok, err := Read(bytes.NewReader(data))
		if tok != nil || err == nil || !strings.HasPrefix(err.Error(), "tokenizer: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v\nwant %s", err, want)
		}
	}
	if _, err := Read(bytes.NewReader(tinyJSON(t, nil))); err != nil {
		t.Errorf("the unedited file: %v", err)
	}
}

// TestReadTruncated: each prefix of a file fails, and an error of the reader comes through.
func TestReadTruncated(t *testing.T) {
	data := tinyJSON(t, nil)
	for n := range data {
		if _, err := Read(bytes.NewReader(data[:n])); err == nil {
			t.Fatalf("the first %d of %d bytes are a tokenizer", n, len(data))
		}
	}
	broken := errors.New("broken")
	if _, err := Read(io.MultiReader(bytes.NewReader(data[:500]), iotest.ErrReader(broken))); !errors.Is(err, broken) {
		t.Errorf("error %v, want %v", err, broken)
	}
	for suffix, want := range map[string]string{"x": "found 'x' behind the end", " \n": ""} {
		_, err := Read(io.MultiReader(bytes.NewReader(data), strings.NewReader(suffix)))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("suffix %q: error %v, want %q", suffix, err, want)
		}
	}
	twice := bytes.Replace(data, []byte(`"normalizer":null`), []byte(`"normalizer":null,"normalizer":null`), 1)
	if _, err := Read(bytes.NewReader(twice)); err == nil || !strings.Contains(err.Error(), "normalizer comes twice") {
		t.Errorf("a part that comes twice: error %v", err)
	}
}

func TestLoadErrors(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokenizer.json")
	if _, err := Load(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if err := os.WriteFile(path, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); err == nil || !strings.Contains(err.Error(), path+": pre_tokenizer is missing") {
		t.Errorf("empty file: %v", err)
	}
}

// endless repeats a text after a head.
type endless struct {
	head, text string
	pos        int
}

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		if e.pos < len(e.head) {
			p[i] = e.head[e.pos]
		} else {
			p[i] = e.text[(e.pos-len(e.head))%len(e.text)]
		}
		e.pos++
	}
	return len(p), nil
}

// TestReadEndless: streams without an end fail, and all but the lists of tokens before much memory was asked for.
func TestReadEndless(t *testing.T) {
	valid := string(tinyJSON(t, nil))
	merges := valid[:strings.Index(valid, `"merges":[`)+len(`"merges":[`)]
	for name, c := range map[string]struct {
		stream endless
		limit  uint64 // MiB allocated in total
	}{
		"key":        {endless{head: `{"`, text: "a"}, 8},
		"escapes":    {endless{head: `{"a":"`, text: `\"`}, 8},
		"number":     {endless{head: `{"a":`, text: "1"}, 8},
		"nesting":    {endless{head: `{"a":`, text: "["}, 8},
		"array":      {endless{head: `{"a":[`, text: "1,"}, 8},
		"id":         {endless{head: `{"model":{"vocab":{"a":`, text: "1"}, 8},
		"vocab":      {endless{head: `{"model":{"vocab":{`, text: `"a":1,`}, 256},
		"specials":   {endless{head: `{"added_tokens":[`, text: `{"id":1,"content":"a","special":true},`}, 128},
		"merges":     {endless{head: merges, text: `["a","b"],`}, 8},
		"merge":      {endless{head: merges, text: `["a","b",`}, 8},
		"merge deep": {endless{head: merges, text: `[`}, 8},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := Read(&c.stream)
		runtime.ReadMemStats(&after)
		if err == nil {
			t.Errorf("%s: no error", name)
		}
		if allocated := (after.TotalAlloc - before.TotalAlloc) >> 20; allocated > c.limit {
			t.Errorf("%s: %d MiB allocated, limit %d", name, allocated, c.limit)
		}
	}
	limited := &limitedReader{r: &endless{text: " "}, limit: 1 << 20}
	if n, err := io.Copy(io.Discard, limited); err == nil || n > 1<<21 {
		t.Errorf("limitedReader let %d bytes through, error %v", n, err)
	}
}

func TestFromRanksErrors(t *testing.T) {
	good := byteRanks()
	for want, c := range map[string]struct {
		ranks    string
		specials map[string]int32
	}{
		`line 257: want "base64 rank"`:         {ranks: good + "YWI=\n"},
		`line 257: illegal base64`:             {ranks: good + "YW 256\n"},
		`line 257: strconv.ParseInt`:           {ranks: good + "YWI= x\n"},
		`line 257: token "ab" has id -1`:       {ranks: good + "YWI= -1\n"},
		`line 257: token 256 is empty`:         {ranks: good + " 256\n"},
		`line 257: longer than a token`:        {ranks: good + strings.Repeat("A", 2000)},
		`ids 97 and 256 are both token "a"`:    {ranks: good + "YQ== 256\n"},
		`id 97 is both token "a" and`:          {ranks: good + "YWI= 97\n"},
		`the largest id is 9000 but`:           {ranks: good + "YWI= 9000\n"},
		`byte 0x00 has no token`:               {ranks: ""},
		`id 97 is both token "a" and token "<`: {ranks: good, specials: map[string]int32{"<": 97}},
		`specials: token 256 is empty`:         {ranks: good, specials: map[string]int32{"": 256}},
		`ids 97 and 256 are both`:              {ranks: good, specials: map[string]int32{"a": 256}},
	} {
		if _, err := FromRanks(strings.NewReader(c.ranks), c.specials); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v\nwant %s", err, want)
		}
	}
	broken := errors.New("broken")
	if _, err := FromRanks(io.MultiReader(strings.NewReader(good), iotest.ErrReader(broken)), nil); !errors.Is(err, broken) {
		t.Errorf("error %v, want %v", err, broken)
	}
}
