package tokenizer

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// FromRanks reads a tiktoken ranks file, lines of "base64 rank", and adds the special tokens.
//
// The rank of a token is its id, and the pair whose concatenation has the lowest rank merges first. With
// o200k_base.tiktoken and HarmonySpecials this is o200k_harmony, the tokenizer of the published models.
//
// Errors: a malformed line (with its number), two tokens with the same bytes or id, a byte without a token, sparse ids.
//
// Source: openai/tiktoken load_tiktoken_bpe, CoreBPE.
func FromRanks(r io.Reader, specials map[string]int32) (*Tokenizer, error) {
	var v vocabulary
	if err := readRanks(r, &v); err != nil {
		return nil, fmt.Errorf("tokenizer: ranks: %w", err)
	}
	for piece, id := range specials {
		if err := v.addSpecial(piece, int64(id)); err != nil {
			return nil, fmt.Errorf("tokenizer: specials: %w", err)
		}
	}
	t, err := v.index()
	if err != nil {
		return nil, fmt.Errorf("tokenizer: ranks: %w", err)
	}
	if err := v.number(t); err != nil {
		return nil, fmt.Errorf("tokenizer: ranks: %w", err)
	}
	t.ignoreMerges = true
	if err := t.splitTokens(v.ordinary); err != nil {
		return nil, fmt.Errorf("tokenizer: ranks: %w", err)
	}
	return t, nil
}

func readRanks(r io.Reader, v *vocabulary) error {
	lines := bufio.NewScanner(&limitedReader{r: r, limit: maxFile})
	lines.Buffer(nil, 2*maxTokenBytes) // base64 of the longest token, a space, a rank
	var piece [2 * maxTokenBytes]byte
	number := 0
	for lines.Scan() {
		number++
		line := lines.Bytes()
		if len(line) == 0 {
			continue
		}
		encoded, rank, ok := bytes.Cut(line, []byte{' '})
		if !ok {
			return fmt.Errorf("line %d: want \"base64 rank\"", number)
		}
		n, err := base64.StdEncoding.Strict().Decode(piece[:], encoded)
		if err != nil {
			return fmt.Errorf("line %d: %w", number, err)
		}
		id, err := strconv.ParseInt(string(rank), 10, 64)
		if err != nil {
			return fmt.Errorf("line %d: %w", number, err)
		}
		if err := v.add(string(piece[:n]), id); err != nil {
			return fmt.Errorf("line %d: %w", number, err)
		}
	}
	if err := lines.Err(); errors.Is(err, bufio.ErrTooLong) {
		return fmt.Errorf("line %d: longer than a token of %d bytes, so this is no ranks file", number+1, maxTokenBytes)
	} else if err != nil {
		return err
	}
	return nil
}

// splitTokens adds each way to make a token of two others as a merge with the rank of the token.
func (t *Tokenizer) splitTokens(tokens []entry) error {
	t.merges = make(map[pair]merge, 2*len(tokens)) // o200k has 2.23 per token
	for _, e := range tokens {
		for i := 1; i < len(e.piece); i++ {
			left, ok := t.ordinary[e.piece[:i]]
			if !ok {
				continue
			}
			right, ok := t.ordinary[e.piece[i:]]
			if !ok {
				continue
			}
			if len(t.merges) == maxMerges {
				return fmt.Errorf("more than %d pairs of tokens make a token", maxMerges)
			}
			t.merges[pairOf(left, right)] = merge{rank: e.id, id: e.id}
		}
	}
	return nil
}

// Harmony's ids: the specials follow the 199,998 ranks of o200k_base and fill the 201,088 rows of the embedding.
const (
	firstSpecial = 199998
	harmonySize  = 201088
)

// HarmonySpecials returns a new table of the special tokens of o200k_harmony, 199998..201087.
//
// Ids without a meaning are spelled <|reserved_N|>. OpenAI's tables have two oddities that are not repeated: a second
// spelling, <|reserved_200018|>, for <|endofprompt|>, and an id 201088 that the models have no embedding row for.
//
// Source: openai/harmony src/tiktoken_ext/public_encodings.rs.
func HarmonySpecials() map[string]int32 {
	named := map[int32]string{
		199998: "<|startoftext|>",
		199999: "<|endoftext|>",
		200002: "<|return|>",
		200003: "<|constrain|>",
		200005: "<|channel|>",
		200006: "<|start|>",
		200007: "<|end|>",
		200008: "<|message|>",
		200012: "<|call|>",
		200018: "<|endofprompt|>",
	}
	specials := make(map[string]int32, harmonySize-firstSpecial)
	for id := int32(firstSpecial); id < harmonySize; id++ {
		name, ok := named[id]
		if !ok {
			name = fmt.Sprintf("<|reserved_%d|>", id)
		}
		specials[name] = id
	}
	return specials
}
