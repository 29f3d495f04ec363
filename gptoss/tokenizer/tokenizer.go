// Package tokenizer is the byte-level BPE tokenizer of GPT-OSS (o200k and o200k_harmony).
//
// Text goes through three steps: specials (only where the caller asks for them, see EncodeSpecial), the o200k
// pre-tokenizer (split.go), and byte-pair merges inside each piece (merge.go). A Tokenizer is read from a Hugging Face
// tokenizer.json (Load, Read) or from a tiktoken ranks file (FromRanks).
//
// Source: openai/tiktoken `o200k_base`, openai/harmony `o200k_harmony`, huggingface/tokenizers `models/bpe`.
package tokenizer

import "slices"

// Tokenizer turns text into token ids and back; it is immutable, so any number of goroutines may share one.
type Tokenizer struct {
	pieces   []string         // id -> bytes, "" for an id no token has
	ordinary map[string]int32 // bytes -> id of an ordinary token
	byteID   [256]int32       // the ids of the one-byte tokens, where every merge starts
	merges   map[pair]merge
	longest  int // bytes of the longest ordinary token
	classes  *classTable

	// ignoreMerges: a piece that is a token becomes that token even where the merges would not lead to it.
	ignoreMerges bool

	specials       map[string]int32
	specialIDs     map[int32]struct{}
	specialStart   [256]bool // first bytes of the specials
	specialLengths []int     // distinct lengths of the specials, longest first
}

// Encode returns the ids of text, all of it taken as ordinary text.
//
// A special token that is spelled in text is not recognised: "<|start|>" becomes the tokens of its nine characters, so
// untrusted text can not forge a message boundary. Bytes that are not UTF-8 are kept, as punctuation: Decode(Encode(s)) is
// s for every s. Nothing is added in front or behind (GPT-OSS has no BOS).
func (t *Tokenizer) Encode(text string) []int32 {
	return t.AppendEncode(make([]int32, 0, len(text)/3+1), text)
}

// AppendEncode appends the ids of text to dst and returns the extended slice; see Encode.
func (t *Tokenizer) AppendEncode(dst []int32, text string) []int32 {
	for i := 0; i < len(text); {
		end := t.classes.next(text, i)
		dst = t.appendPiece(dst, text[i:end])
		i = end
	}
	return dst
}

// EncodeSpecial returns the ids of text, in which the spelling of a special token stands for that token.
//
// Where several specials match, the leftmost wins, and of those that start together the longest. Only for text the caller
// wrote itself, such as a chat template: user text that reaches this function can forge message boundaries.
func (t *Tokenizer) EncodeSpecial(text string) []int32 {
	dst := make([]int32, 0, len(text)/3+1)
	start := 0
	for i := 0; i < len(text); {
		id, n := t.specialAt(text[i:])
		if n == 0 {
			i++
			continue
		}
		dst = append(t.AppendEncode(dst, text[start:i]), id)
		i += n
		start = i
	}
	return t.AppendEncode(dst, text[start:])
}

// specialAt returns the longest special that text starts with and its length, or a length of 0.
func (t *Tokenizer) specialAt(text string) (id int32, n int) {
	if !t.specialStart[text[0]] {
		return 0, 0
	}
	for _, n := range t.specialLengths {
		if n > len(text) {
			continue
		}
		if id, ok := t.specials[text[:n]]; ok {
			return id, n
		}
	}
	return 0, 0
}

// appendPiece appends the ids of one pre-token.
func (t *Tokenizer) appendPiece(dst []int32, piece string) []int32 {
	if len(piece) == 1 {
		return append(dst, t.byteID[piece[0]])
	}
	if t.ignoreMerges && len(piece) <= t.longest {
		if id, ok := t.ordinary[piece]; ok {
			return append(dst, id)
		}
	}
	if len(piece) <= shortPiece {
		return t.appendShort(dst, piece)
	}
	return t.appendLong(dst, piece)
}

// Bytes returns a copy of the bytes of a token, the spelling for a special one, and whether there is such a token.
func (t *Tokenizer) Bytes(id int32) ([]byte, bool) {
	piece := t.piece(id)
	return []byte(piece), piece != ""
}

// piece returns the bytes of a token, "" if there is no such token: no token is empty.
func (t *Tokenizer) piece(id int32) string {
	if id < 0 || int(id) >= len(t.pieces) {
		return ""
	}
	return t.pieces[id]
}

// ID returns the token, special or ordinary, whose bytes are piece; " the" and not the "Ġthe" of tokenizer.json.
func (t *Tokenizer) ID(piece string) (int32, bool) {
	if id, ok := t.specials[piece]; ok {
		return id, true
	}
	id, ok := t.ordinary[piece]
	return id, ok
}

// IsSpecial reports whether id is a special token.
func (t *Tokenizer) IsSpecial(id int32) bool {
	_, ok := t.specialIDs[id]
	return ok
}

// Size returns the largest id plus one; ids below it that no token has are possible.
func (t *Tokenizer) Size() int { return len(t.pieces) }

// setSpecials installs the special tokens; pieces holds them already.
func (t *Tokenizer) setSpecials(specials []entry) {
	t.specials = make(map[string]int32, len(specials))
	t.specialIDs = make(map[int32]struct{}, len(specials))
	for _, s := range specials {
		t.specials[s.piece] = s.id
		t.specialIDs[s.id] = struct{}{}
		t.specialStart[s.piece[0]] = true
		t.specialLengths = append(t.specialLengths, len(s.piece))
	}
	slices.Sort(t.specialLengths)
	t.specialLengths = slices.Compact(t.specialLengths)
	slices.Reverse(t.specialLengths)
}
