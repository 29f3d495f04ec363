package tokenizer

import "fmt"

// Limits on a file. The published vocabulary has 201,088 tokens of at most 128 bytes and 446,189 merges; these leave room
// and keep a hostile file from taking more memory or time than a large honest one.
const (
	maxTokens     = 1 << 20
	maxSpecials   = 1 << 16   // the published table has 1,090
	maxMerges     = 1<<23 - 1 // noMerge.rank; a candidate has 24 bits for it
	maxTokenBytes = 256
	maxFile       = 1 << 28 // bytes; the published tokenizer.json has 27.9 million
)

// entry is one token of a file.
type entry struct {
	piece string
	id    int32
}

// vocabulary collects the tokens of a file, which build checks as a whole.
type vocabulary struct {
	ordinary, specials []entry
}

func (v *vocabulary) add(piece string, id int64) error {
	return v.append(&v.ordinary, piece, id)
}

func (v *vocabulary) addSpecial(piece string, id int64) error {
	if len(v.specials) == maxSpecials {
		return fmt.Errorf("more than %d special tokens", maxSpecials)
	}
	return v.append(&v.specials, piece, id)
}

func (v *vocabulary) append(list *[]entry, piece string, id int64) error {
	switch {
	case piece == "":
		return fmt.Errorf("token %d is empty", id)
	case len(piece) > maxTokenBytes:
		return fmt.Errorf("token %d has %d bytes, the limit is %d", id, len(piece), maxTokenBytes)
	case id < 0 || id >= maxTokens:
		return fmt.Errorf("token %q has id %d, not in 0..%d", piece, id, maxTokens-1)
	case len(v.ordinary)+len(v.specials) == maxTokens:
		return fmt.Errorf("more than %d tokens", maxTokens)
	}
	*list = append(*list, entry{piece, int32(id)})
	return nil
}

// index checks the ordinary tokens (unique, every byte among them) and returns a tokenizer that has no merges yet.
func (v *vocabulary) index() (*Tokenizer, error) {
	t := &Tokenizer{classes: newClassTable(), ordinary: make(map[string]int32, len(v.ordinary))}
	for _, e := range v.ordinary {
		if other, ok := t.ordinary[e.piece]; ok {
			return nil, fmt.Errorf("ids %d and %d are both token %q", other, e.id, e.piece)
		}
		t.ordinary[e.piece] = e.id
		t.longest = max(t.longest, len(e.piece))
	}
	for b := range t.byteID {
		id, ok := t.ordinary[string([]byte{byte(b)})]
		if !ok {
			return nil, fmt.Errorf("byte 0x%02x has no token, so some text has no ids", b)
		}
		t.byteID[b] = id
	}
	return t, nil
}

// number checks the ids of all tokens (unique, at least half of the range in use) and the spelling of the specials, and
// fills the tables that go by id.
func (v *vocabulary) number(t *Tokenizer) error {
	size, count := 0, len(v.ordinary)+len(v.specials)
	for _, list := range [...][]entry{v.ordinary, v.specials} {
		for _, e := range list {
			size = max(size, int(e.id)+1)
		}
	}
	if size > 2*count {
		return fmt.Errorf("the largest id is %d but there are only %d tokens", size-1, count)
	}
	t.pieces = make([]string, size)
	for _, list := range [...][]entry{v.ordinary, v.specials} {
		for _, e := range list {
			if other := t.pieces[e.id]; other != "" {
				return fmt.Errorf("id %d is both token %q and token %q", e.id, other, e.piece)
			}
			t.pieces[e.id] = e.piece
		}
	}
	t.setSpecials(v.specials)
	for _, s := range v.specials {
		if other, ok := t.ordinary[s.piece]; ok {
			return fmt.Errorf("ids %d and %d are both token %q", other, s.id, s.piece)
		}
		if other := t.specials[s.piece]; other != s.id {
			return fmt.Errorf("ids %d and %d are both token %q", s.id, other, s.piece)
		}
	}
	return nil
}
