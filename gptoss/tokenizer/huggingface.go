package tokenizer

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

// Load reads a tokenizer.json file; see Read.
func Load(path string) (*Tokenizer, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	defer f.Close()
	t, err := read(f)
	if err != nil {
		return nil, fmt.Errorf("tokenizer: %s: %w", path, err)
	}
	return t, nil
}

// Read reads a Hugging Face tokenizer.json.
//
// The file is streamed: what is held in memory is the tokens and merges and at most 64 KiB more. It must describe exactly
// what this package does: byte-level BPE without normalizer, truncation or padding, the o200k pre-tokenizer, special tokens
// that match verbatim, a token for each byte. Merges may be ["a", "b"] or "a b"; their order is their priority.
//
// Errors: JSON that is malformed or has a part this package does not implement, with the part's name and the offset; a
// merge of unknown tokens; two tokens with the same bytes or id; sparse ids.
//
// Source: huggingface/tokenizers 0.21, tokenizers/src/tokenizer/serialization.rs, models/bpe/serialization.rs.
func Read(r io.Reader) (*Tokenizer, error) {
	t, err := read(r)
	if err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	return t, nil
}

func read(r io.Reader) (*Tokenizer, error) {
	f := file{json: newJSONReader(r), seen: map[string]bool{}}
	if err := f.top(); err != nil {
		return nil, fmt.Errorf("byte %d: %w", f.json.offset(), err)
	}
	for _, part := range []string{"pre_tokenizer", "decoder", "model", "model.type", "model.vocab", "model.merges"} {
		if !f.seen[part] {
			return nil, fmt.Errorf("%s is missing", part)
		}
	}
	if err := f.vocabulary.number(f.t); err != nil {
		return nil, err
	}
	return f.t, nil
}

// file is a tokenizer.json on its way in.
type file struct {
	json       *jsonReader
	seen       map[string]bool // parts met so far
	vocabulary vocabulary
	t          *Tokenizer // from model.vocab on
	ignore     bool       // model.ignore_merges
	symbol     []byte     // scratch: bytes of a merge
}

// once fails when a known part comes twice: which of the two counts would depend on the reader.
func (f *file) once(part string) error {
	if f.seen[part] {
		return fmt.Errorf("%s comes twice", part)
	}
	f.seen[part] = true
	return nil
}

// part reads one member of an object by the function of that name; members without one are skipped.
func (f *file) part(prefix string, key []byte, parts map[string]func() error) error {
	name := prefix + string(key)
	read, known := parts[string(key)]
	if !known {
		if err := f.json.skip(); err != nil {
			return fmt.Errorf("%.40q: %w", name, err)
		}
		return nil
	}
	if err := f.once(name); err != nil {
		return err
	}
	if err := read(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func (f *file) top() error {
	parts := map[string]func() error{
		"truncation":     f.null,
		"padding":        f.null,
		"normalizer":     f.null,
		"added_tokens":   f.addedTokens,
		"pre_tokenizer":  f.preTokenizer,
		"post_processor": func() error { return f.byteLevel(true) },
		"decoder":        func() error { return f.byteLevel(false) },
		"model":          f.model,
	}
	if err := f.json.object(func(key []byte) error { return f.part("", key, parts) }); err != nil {
		return err
	}
	return f.json.end()
}

// null accepts only null: anything else would change the ids in a way this package does not implement.
func (f *file) null() error {
	var v any
	if err := f.json.value(&v); err != nil {
		return err
	}
	if v != nil {
		return errors.New("is unsupported, it must be null")
	}
	return nil
}

func (f *file) addedTokens() error {
	return f.json.array(func() error {
		token := struct {
			ID         *int64 `json:"id"`
			Content    string `json:"content"`
			SingleWord bool   `json:"single_word"`
			LStrip     bool   `json:"lstrip"`
			RStrip     bool   `json:"rstrip"`
			Special    bool   `json:"special"`
		}{}
		if err := f.json.value(&token); err != nil {
			return err
		}
		if token.ID == nil {
			return fmt.Errorf("%q has no id", token.Content)
		}
		if !token.Special || token.SingleWord || token.LStrip || token.RStrip {
			return fmt.Errorf("%q is unsupported: it must be special, without single_word, lstrip and rstrip", token.Content)
		}
		return f.vocabulary.addSpecial(token.Content, *token.ID)
	})
}

// byteLevel accepts the ByteLevel post-processor, which moves offsets only, and decoder, which undoes the alphabet.
func (f *file) byteLevel(optional bool) error {
	var v *struct {
		Type string `json:"type"`
	}
	if err := f.json.value(&v); err != nil {
		return err
	}
	if v == nil && optional || v != nil && v.Type == "ByteLevel" {
		return nil
	}
	if v == nil {
		return errors.New("null is unsupported, it must be ByteLevel")
	}
	return fmt.Errorf("type %q is unsupported, it must be ByteLevel", v.Type)
}

// preTokenizer accepts the o200k pattern followed by the byte-level alphabet.
func (f *file) preTokenizer() error {
	var v struct {
		Type          string `json:"type"`
		PreTokenizers []struct {
			Type    string `json:"type"`
			Pattern struct {
				Regex string `json:"Regex"`
			} `json:"pattern"`
			Behavior       string `json:"behavior"`
			Invert         bool   `json:"invert"`
			AddPrefixSpace *bool  `json:"add_prefix_space"` // true when absent
			UseRegex       *bool  `json:"use_regex"`        // true when absent
		} `json:"pretokenizers"`
	}
	if err := f.json.value(&v); err != nil {
		return err
	}
	p := v.PreTokenizers
	if v.Type != "Sequence" || len(p) != 2 || p[0].Type != "Split" || p[1].Type != "ByteLevel" {
		return errors.New("is unsupported, it must be a Sequence of a Split and a ByteLevel")
	}
	if p[0].Pattern.Regex != pattern {
		return fmt.Errorf("pattern %.60q is unsupported, it must be the o200k pattern of GPT-OSS", p[0].Pattern.Regex)
	}
	if p[0].Behavior != "Isolated" || p[0].Invert {
		return fmt.Errorf("split with behavior %q, invert %t is unsupported, it must be Isolated, false", p[0].Behavior, p[0].Invert)
	}
	if p[1].AddPrefixSpace == nil || *p[1].AddPrefixSpace || p[1].UseRegex == nil || *p[1].UseRegex {
		return errors.New("ByteLevel with add_prefix_space or use_regex is unsupported")
	}
	return nil
}

func (f *file) model() error {
	parts := map[string]func() error{
		"type":                      f.modelType,
		"dropout":                   f.null,
		"continuing_subword_prefix": f.affix,
		"end_of_word_suffix":        f.affix,
		"ignore_merges":             func() error { return f.json.value(&f.ignore) },
		"vocab":                     f.vocab,
		"merges":                    f.merges,
	}
	if err := f.json.object(func(key []byte) error { return f.part("model.", key, parts) }); err != nil {
		return err
	}
	if f.t != nil {
		f.t.ignoreMerges = f.ignore
	}
	return nil
}

func (f *file) modelType() error {
	var v string
	if err := f.json.value(&v); err != nil {
		return err
	}
	if v != "BPE" {
		return fmt.Errorf("%q is unsupported, it must be BPE", v)
	}
	return nil
}

func (f *file) affix() error {
	var v string // "" for null too
	if err := f.json.value(&v); err != nil {
		return err
	}
	if v != "" {
		return fmt.Errorf("%q is unsupported, it must be null", v)
	}
	return nil
}

func (f *file) vocab() error {
	var raw []byte
	err := f.json.object(func(key []byte) error {
		var ok bool
		if raw, ok = appendRaw(raw[:0], key); !ok {
			return fmt.Errorf("token %.40q has a character outside the byte-level alphabet", key)
		}
		piece := string(raw)
		id, err := f.json.int()
		if err != nil {
			return fmt.Errorf("token %.40q: %w", piece, err)
		}
		return f.vocabulary.add(piece, id)
	})
	if err != nil {
		return err
	}
	f.t, err = f.vocabulary.index()
	return err
}

func (f *file) merges() error {
	if f.t == nil {
		return errors.New("comes before model.vocab, so it can not be checked; write vocab first, as Hugging Face does")
	}
	f.t.merges = make(map[pair]merge, len(f.t.ordinary))
	return f.json.array(func() error {
		rank := len(f.t.merges)
		if err := f.merge(rank); err != nil {
			return fmt.Errorf("merge %d: %w", rank, err)
		}
		return nil
	})
}

// merge reads one merge, ["a", "b"] or "a b". No memory is spent on a merge before it is known to make a token.
func (f *file) merge(rank int) error {
	c, err := f.json.peek()
	if err != nil {
		return unexpected(err)
	}
	f.symbol = f.symbol[:0]
	var split int // of symbol into left and right
	if c == '"' {
		split, err = f.mergeString()
	} else {
		split, err = f.mergeArray()
	}
	if err != nil {
		return err
	}
	left, okLeft := f.t.ordinary[string(f.symbol[:split])]
	right, okRight := f.t.ordinary[string(f.symbol[split:])]
	id, ok := f.t.ordinary[string(f.symbol)]
	if !okLeft || !okRight || !ok {
		return fmt.Errorf("%.40q + %.40q: both and the result must be in model.vocab", f.symbol[:split], f.symbol[split:])
	}
	p := pairOf(left, right)
	if m, ok := f.t.merges[p]; ok {
		return fmt.Errorf("%.40q + %.40q is merge %d as well", f.symbol[:split], f.symbol[split:], m.rank)
	}
	if rank == maxMerges {
		return fmt.Errorf("more than %d merges", maxMerges)
	}
	f.t.merges[p] = merge{rank: int32(rank), id: id}
	return nil
}

func (f *file) mergeString() (split int, err error) {
	text, err := f.json.string()
	if err != nil {
		return 0, err
	}
	space := slices.Index(text, ' ') // the alphabet has no space
	if space < 0 {
		return 0, fmt.Errorf("%.40q is not two tokens", text)
	}
	if err := f.appendSymbol(text[:space]); err != nil {
		return 0, err
	}
	split = len(f.symbol)
	return split, f.appendSymbol(text[space+1:])
}

func (f *file) mergeArray() (split int, err error) {
	count := 0
	err = f.json.array(func() error {
		if count == 2 {
			return errors.New("more than two tokens")
		}
		split = len(f.symbol) // ends as the start of the second
		count++
		text, err := f.json.string()
		if err != nil {
			return err
		}
		return f.appendSymbol(text)
	})
	if err == nil && count != 2 {
		err = errors.New("fewer than two tokens")
	}
	return split, err
}

func (f *file) appendSymbol(text []byte) error {
	var ok bool
	if f.symbol, ok = appendRaw(f.symbol, text); !ok {
		return fmt.Errorf("%.40q has a character outside the byte-level alphabet", text)
	}
	return nil
}
