package tokenizer

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/pkoukk/tiktoken-go"
	loader "github.com/pkoukk/tiktoken-go-loader"
	"github.com/pkoukk/tiktoken-go-loader/assets"
)

const ranksSHA256 = "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"

// publishedRanks returns o200k_base.tiktoken as OpenAI publishes it.
func publishedRanks(tb testing.TB) []byte {
	tb.Helper()
	data, err := assets.Assets.ReadFile("o200k_base.tiktoken")
	if err != nil {
		tb.Fatal(err)
	}
	if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != ranksSHA256 {
		tb.Fatalf("o200k_base.tiktoken has SHA-256 %x, want %s", sum, ranksSHA256)
	}
	return data
}

var loadPublished = sync.OnceValues(func() (*Tokenizer, error) {
	data, err := assets.Assets.ReadFile("o200k_base.tiktoken")
	if err != nil {
		return nil, err
	}
	return FromRanks(bytes.NewReader(data), HarmonySpecials())
})

// published returns the tokenizer of the published models.
func published(tb testing.TB) *Tokenizer {
	tb.Helper()
	publishedRanks(tb)
	tok, err := loadPublished()
	if err != nil {
		tb.Fatal(err)
	}
	return tok
}

// vectors are ids that OpenAI's Rust tiktoken gave, and those of the fixtures in openai/harmony's test-data.
type vectors struct {
	Ordinary []struct {
		Text string  `json:"text"`
		IDs  []int32 `json:"ids"`
	} `json:"ordinary"`
	Harmony map[string]struct {
		N   int     `json:"n"`
		IDs []int32 `json:"ids"`
	} `json:"harmony_test_data_ids"`
}

func readVectors(tb testing.TB) vectors {
	tb.Helper()
	f, err := os.Open("testdata/vectors.json.gz")
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	unzipped, err := gzip.NewReader(f)
	if err != nil {
		tb.Fatal(err)
	}
	data, err := io.ReadAll(unzipped)
	if err != nil {
		tb.Fatal(err)
	}
	var v vectors
	if err := json.Unmarshal(data, &v); err != nil {
		tb.Fatal(err)
	}
	if len(v.Ordinary) != 1530 || len(v.Harmony) != 21 {
		tb.Fatalf("%d ordinary and %d harmony vectors, want 1530 and 21", len(v.Ordinary), len(v.Harmony))
	}
	return v
}

func TestPublishedVectors(t *testing.T) {
	tok := published(t)
	v := readVectors(t)
	wrong := 0
	for _, c := range v.Ordinary {
		got := tok.Encode(c.Text)
		if !slices.Equal(got, c.IDs) {
			wrong++
			t.Errorf("Encode(%q)\n got %v\nwant %v", c.Text, got, c.IDs)
		}
		if back := tok.Decode(c.IDs); back != c.Text {
			t.Errorf("Decode(%v) = %q, want %q", c.IDs, back, c.Text)
		}
	}
	t.Logf("%d of %d vectors equal", len(v.Ordinary)-wrong, len(v.Ordinary))
}

// TestHarmonyFixtures: a rendered conversation, decoded and encoded with specials, gives its ids again.
func TestHarmonyFixtures(t *testing.T) {
	tok := published(t)
	for name, c := range readVectors(t).Harmony {
		if len(c.IDs) != c.N || c.N == 0 {
			t.Fatalf("%s: %d ids, want %d", name, len(c.IDs), c.N)
		}
		if got := tok.EncodeSpecial(tok.Decode(c.IDs)); !slices.Equal(got, c.IDs) {
			t.Errorf("%s:\n got %v\nwant %v", name, got, c.IDs)
		}
	}
}

// TestSpecVectors holds ids that are easy to check by hand against any other o200k implementation.
func TestSpecVectors(t *testing.T) {
	tok := published(t)
	for text, want := range map[string][]int32{
		"hello world":               {24912, 2375},
		"What is 2 + 2?":            {4827, 382, 220, 17, 659, 220, 17, 30},
		"<|start|>":                 {27, 91, 5236, 91, 29},
		"assistant":                 {173781},
		"commentary":                {12606, 815},
		" to=functions.get_weather": {316, 28, 44580, 775, 170154},
		"💖":                         {31446, 244},
		"日本語":                       {9048, 40909},
		"  leading and trailing  ":  {220, 8117, 326, 57985, 256},
		"Roses are red, violets":    {49, 14301, 553, 3592, 11, 68484, 12222},
		"":                          nil,
	} {
		if got := tok.Encode(text); !slices.Equal(got, want) {
			t.Errorf("Encode(%q) = %v, want %v", text, got, want)
		}
	}
	if got, ok := tok.Bytes(9552); !ok || string(got) != "\x20\xf0\x9f" {
		t.Errorf("Bytes(9552) = % x, %t", got, ok)
	}
}

func TestPublishedSpecials(t *testing.T) {
	tok := published(t)
	if tok.Size() != 201088 {
		t.Errorf("Size() = %d, want 201088, the rows of the embedding", tok.Size())
	}
	for piece, want := range map[string]int32{
		"<|startoftext|>": 199998, "<|endoftext|>": 199999, "<|reserved_200000|>": 200000, "<|return|>": 200002,
		"<|constrain|>": 200003, "<|channel|>": 200005, "<|start|>": 200006, "<|end|>": 200007, "<|message|>": 200008,
		"<|call|>": 200012, "<|endofprompt|>": 200018, "<|reserved_200019|>": 200019, "<|reserved_201087|>": 201087,
	} {
		id, ok := tok.ID(piece)
		if !ok || id != want || !tok.IsSpecial(id) {
			t.Errorf("ID(%q) = %d, %t, special %t; want special %d", piece, id, ok, tok.IsSpecial(id), want)
		}
	}
	for _, piece := range []string{"<|reserved_200018|>", "<|reserved_201088|>", ""} {
		if id, ok := tok.ID(piece); ok {
			t.Errorf("ID(%q) = %d, want none", piece, id)
		}
	}
}

// TestTiktokenOracle compares with another implementation (regexp2 for the pattern, its own merges) on adversarial text.
func TestTiktokenOracle(t *testing.T) {
	tok := published(t)
	tiktoken.SetBpeLoader(loader.NewOfflineLoader())
	oracle, err := tiktoken.GetEncoding("o200k_base")
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 4000 {
		text := strings.ReplaceAll(adversarial(rng), "'ſ", "'s") // regexp2 does not fold ſ to s, Rust's regex does
		want := oracle.EncodeOrdinary(text)
		got := tok.Encode(text)
		if !slices.EqualFunc(got, want, func(a int32, b int) bool { return int(a) == b }) {
			t.Fatalf("Encode(%q)\n got %v\nwant %v", text, got, want)
		}
	}
}
