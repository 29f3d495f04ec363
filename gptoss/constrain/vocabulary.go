package constrain

import (
	"cmp"
	"slices"

	"github.com/seed-796a8800/tritium/gptoss/tokenizer"
)

// Vocabulary is the tokens of text, as a tree of their bytes. It is immutable.
type Vocabulary struct {
	size  int
	nodes []trieNode
	// What nodes have by index: their children are next to each other, in order.
}

type trieNode struct {
	first, count int32 // children
	token        int32 // that ends here; -1: none
	b            byte
}

// NewVocabulary returns the vocabulary of a tokenizer, special tokens left out.
func NewVocabulary(t *tokenizer.Tokenizer) *Vocabulary {
	pieces := make([][]byte, t.Size())
	for id := range pieces {
		if piece, ok := t.Bytes(int32(id)); ok && !t.IsSpecial(int32(id)) {
			pieces[id] = piece
		}
	}
	return newVocabulary(pieces)
}

type word struct {
	text []byte
	id   int32
}

func newVocabulary(pieces [][]byte) *Vocabulary {
	var words []word
	for id, piece := range pieces {
		if len(piece) > 0 {
			words = append(words, word{piece, int32(id)})
		}
	}
	slices.SortFunc(words, func(a, b word) int {
		if c := slices.Compare(a.text, b.text); c != 0 {
			return c
		}
		return cmp.Compare(a.id, b.id)
	})
	v := &Vocabulary{size: len(pieces), nodes: []trieNode{{token: -1}}}
	v.grow(0, words, 0)
	return v
}

// grow adds the children of a node, whose words agree in depth bytes.
func (v *Vocabulary) grow(at int, words []word, depth int) {
	for len(words) > 0 && len(words[0].text) == depth {
		v.nodes[at].token = words[0].id
		words = words[1:]
	}
	type child struct {
		node  int
		words []word
	}
	var children []child
	v.nodes[at].first = int32(len(v.nodes))
	for len(words) > 0 {
		n := 1
		for n < len(words) && words[n].text[depth] == words[0].text[depth] {
			n++
		}
		children = append(children, child{len(v.nodes), words[:n]})
		v.nodes = append(v.nodes, trieNode{b: words[0].text[depth], token: -1})
		words = words[n:]
	}
	v.nodes[at].count = int32(len(children))
	for _, c := range children {
		v.grow(c.node, c.words, depth+1)
	}
}
