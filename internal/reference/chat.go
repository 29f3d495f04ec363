package reference

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
)

// WriteChat writes a checkpoint, with its tokenizer, that speaks harmony: at temperature 1 it writes thoughts, calls of
// functions.f and answers, in any order and of a few words each. Attention and experts add nothing to it: which token
// follows is a matter of the one before. Nearly always, one in a few hundred tokens is any other.
//
// Errors: files that cannot be written.
func WriteChat(dir string) error {
	pieces := chatPieces()
	s := Shape{Hidden: 256, Intermediate: 32, Vocab: len(pieces), Window: 16}.withDefaults()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("reference: %w", err)
	}
	if err := s.writeConfig(dir); err != nil {
		return fmt.Errorf("reference: %w", err)
	}
	ids := map[string]int{}
	for id, piece := range pieces {
		ids[piece] = id
	}
	tensors := s.draw(1)
	embedding := chatEmbedding(s)
	for i := range tensors {
		switch t := &tensors[i]; {
		case strings.Contains(t.Name, "o_proj") || strings.Contains(t.Name, "down_proj"):
			clear(t.data)
		case t.Name == "model.norm.weight":
			putBFloat16(t.data, func(int) float64 { return 1 })
		case t.Name == "model.embed_tokens.weight":
			putBFloat16(t.data, func(i int) float64 { return embedding[i] })
		case t.Name == "lm_head.weight":
			head := chatHead(s, embedding, ids)
			putBFloat16(t.data, func(i int) float64 { return head[i] })
		}
	}
	if err := writeTensors(dir, tensors, 1); err != nil {
		return fmt.Errorf("reference: %w", err)
	}
	if err := writeJSON(filepath.Join(dir, "tokenizer.json"), chatTokenizer(pieces)); err != nil {
		return fmt.Errorf("reference: %w", err)
	}
	return nil
}

// chatSpecials are harmony's special tokens, in the order of gpt-oss.
var chatSpecials = strings.Fields(`<|startoftext|> <|endoftext|> <|reserved_200000|> <|reserved_200001|> <|return|> <|constrain|>
	<|reserved_200004|> <|channel|> <|start|> <|end|> <|message|> <|reserved_200009|> <|reserved_200010|> <|reserved_200011|>
	<|call|> <|reserved_200013|> <|reserved_200014|> <|reserved_200015|> <|reserved_200016|> <|reserved_200017|> <|endofprompt|>`)

// chatFollows says which tokens may follow which. The words of a text say how it ends.
var chatFollows = map[string][]string{
	"assistant":   {"<|channel|>"},
	"<|channel|>": {"analysis", "final", "commentary"},
	"analysis":    {"<|message|>"},
	"final":       {"<|message|>"},
	"commentary":  {" to"},
	" to":         {"="},
	"=":           {"functions"},
	"functions":   {".f"},
	".f":          {"<|message|>"},
	"<|message|>": {"Hm", "Yes", "{}"},
	"Hm":          {" well", " so"},
	" well":       {" so", "<|end|>"},
	" so":         {" well", "<|end|>"},
	"Yes":         {" and", " then", "<|return|>"},
	" and":        {" then", "<|return|>"},
	" then":       {" and", "<|return|>"},
	"{}":          {"<|call|>"},
	"<|end|>":     {"<|start|>"},
	"<|start|>":   {"assistant"},
	"<|return|>":  {"<|start|>"},
	"<|call|>":    {"<|start|>"},
}

// chatPieces are the tokens: all bytes, the words, the special ones.
func chatPieces() (pieces []string) {
	for b := range 256 {
		pieces = append(pieces, string([]byte{byte(b)}))
	}
	pieces = append(pieces, "assistant", "user", "system", "developer", "analysis", "final", "commentary", " to", "functions", ".f",
		"Hm", " well", " so", "Yes", " and", " then", "{}", "true", "\":", " [", "\",\"")
	return append(pieces, chatSpecials...)
}

// chatEmbedding draws a direction for every token, almost at right angles to the others.
func chatEmbedding(s Shape) []float64 {
	r := rand.New(rand.NewPCG(2, 2))
	embedding := make([]float64, s.Vocab*s.Hidden)
	for i := range embedding {
		embedding[i] = float64(1 - 2*int(r.Uint32()&1))
	}
	return embedding
}

// chatHead turns a token's direction into logits of about 24 for what follows it.
func chatHead(s Shape, embedding []float64, ids map[string]int) []float64 {
	head := make([]float64, s.Vocab*s.Hidden)
	for from, tos := range chatFollows {
		for _, to := range tos {
			for d := range s.Hidden {
				head[ids[to]*s.Hidden+d] += 24 / float64(s.Hidden) * embedding[ids[from]*s.Hidden+d]
			}
		}
	}
	return head
}

func putBFloat16(data []byte, value func(int) float64) {
	for i := range len(data) / 2 {
		binary.LittleEndian.PutUint16(data[2*i:], bfloat16(float32(value(i))))
	}
}

// chatTokenizer returns a tokenizer.json whose words are tokens as they are, without merges.
func chatTokenizer(pieces []string) map[string]any {
	vocab := map[string]int{}
	var added []map[string]any
	for id, piece := range pieces {
		if n := len(pieces) - len(chatSpecials); id < n {
			vocab[byteLevel(piece)] = id
			continue
		}
		added = append(added, map[string]any{"id": id, "content": piece, "special": true,
			"single_word": false, "lstrip": false, "rstrip": false, "normalized": false})
	}
	const words = `[^\r\n\p{L}\p{N}]?`
	const marks, contraction = `\p{Lm}\p{Lo}\p{M}]`, `(?i:'s|'t|'re|'ve|'m|'ll|'d)?`
	pattern := words + `[\p{Lu}\p{Lt}` + marks + `*[\p{Ll}` + marks + `+` + contraction + `|` +
		words + `[\p{Lu}\p{Lt}` + marks + `+[\p{Ll}` + marks + `*` + contraction +
		`|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	return map[string]any{
		"version": "1.0", "truncation": nil, "padding": nil, "added_tokens": added, "normalizer": nil,
		"pre_tokenizer": map[string]any{"type": "Sequence", "pretokenizers": []any{
			map[string]any{"type": "Split", "pattern": map[string]any{"Regex": pattern}, "behavior": "Isolated", "invert": false},
			map[string]any{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
		}},
		"post_processor": map[string]any{"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true},
		"decoder":        map[string]any{"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
		"model":          bpe{Type: "BPE", IgnoreMerges: true, Vocab: vocab, Merges: []string{}},
	}
}

// bpe is the model of a tokenizer.json, whose vocabulary comes before its merges.
type bpe struct {
	Type         string         `json:"type"`
	Dropout      *float64       `json:"dropout"`
	Unknown      *string        `json:"unk_token"`
	Prefix       *string        `json:"continuing_subword_prefix"`
	Suffix       *string        `json:"end_of_word_suffix"`
	FuseUnknown  bool           `json:"fuse_unk"`
	ByteFallback bool           `json:"byte_fallback"`
	IgnoreMerges bool           `json:"ignore_merges"`
	Vocab        map[string]int `json:"vocab"`
	Merges       []string       `json:"merges"`
}

// byteLevel spells bytes as tokenizer.json does: those that print as themselves, the others as letters from U+0100 on.
func byteLevel(piece string) string {
	var b strings.Builder
	for i := range len(piece) {
		b.WriteRune(byteRune(piece[i]))
	}
	return b.String()
}

func byteRune(c byte) rune {
	prints := func(c int) bool { return '!' <= c && c <= '~' || 0xA1 <= c && c <= 0xAC || 0xAE <= c && c <= 0xFF }
	if prints(int(c)) {
		return rune(c)
	}
	r := rune(math.MaxUint8 + 1)
	for other := range int(c) {
		if !prints(other) {
			r++
		}
	}
	return r
}
