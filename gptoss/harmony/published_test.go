package harmony

import (
	"bytes"
	"encoding/json"
	"os"
	"sync"
	"testing"

	"github.com/pkoukk/tiktoken-go-loader/assets"

	"github.com/seed-796a8800/tritium/gptoss/tokenizer"
	nano "github.com/seed-796a8800/tritium/testdata"
)

// loadPublished reads the vocabulary of the published models, whose hash
// gptoss/tokenizer's tests check.
var loadPublished = sync.OnceValues(func() (*tokenizer.Tokenizer, error) {
	data, err := assets.Assets.ReadFile("o200k_base.tiktoken")
	if err != nil {
		return nil, err
	}
	return tokenizer.FromRanks(bytes.NewReader(data), tokenizer.HarmonySpecials())
})

// published returns the encoding of the published models.
func published(tb testing.TB) *Encoding {
	tb.Helper()
	tok, err := loadPublished()
	if err != nil {
		tb.Fatal(err)
	}
	return encoding(tb, tok)
}

var loadNano = sync.OnceValues(func() (*tokenizer.Tokenizer, error) {
	f, err := nano.Nano().Open("tokenizer.json")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return tokenizer.Read(f)
})

// small returns an encoding of 2,048 tokens, of which one in a hundred is a
// special one.
func small(tb testing.TB) *Encoding {
	tb.Helper()
	tok, err := loadNano()
	if err != nil {
		tb.Fatal(err)
	}
	return encoding(tb, tok)
}

func encoding(tb testing.TB, tok *tokenizer.Tokenizer) *Encoding {
	tb.Helper()
	e, err := New(tok)
	if err != nil {
		tb.Fatal(err)
	}
	return e
}

// readJSON reads a file of testdata.
func readJSON(tb testing.TB, name string, v any) {
	tb.Helper()
	data, err := os.ReadFile("testdata/" + name)
	if err != nil {
		tb.Fatal(err)
	}
	if err := json.Unmarshal(data, v); err != nil {
		tb.Fatalf("%s: %v", name, err)
	}
}
