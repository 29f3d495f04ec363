package tokenizer

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// publishedJSONSHA256 is of the 27,868,174 bytes of tokenizer.json in openai/gpt-oss-20b and 120b.
const publishedJSONSHA256 = "0614fe83cadab421296e664e1f48f4261fa8fef6e03e63bb75c20f38e37d07d3"

// publishedJSON writes the tokenizer.json of the published models anew from the ranks, byte for byte: 21 specials, 199,998
// tokens and 446,189 merges.
func publishedJSON(tb testing.TB) []byte {
	tb.Helper()
	tok := published(tb)
	alpha := alphabet()
	quoted := make([]string, 199998)
	for id := range quoted {
		var piece strings.Builder
		for _, b := range []byte(tok.pieces[id]) {
			piece.WriteString(alpha[b])
		}
		quoted[id] = quote(tb, piece.String())
	}
	type triple struct{ id, left, right int32 }
	triples := make([]triple, 0, len(tok.merges))
	for p, m := range tok.merges {
		triples = append(triples, triple{m.id, int32(p >> 32), int32(p)})
	}
	slices.SortFunc(triples, func(a, b triple) int {
		return cmp.Or(cmp.Compare(a.id, b.id), cmp.Compare(a.left, b.left), cmp.Compare(a.right, b.right))
	})
	if len(triples) != 446189 {
		tb.Fatalf("%d merges, want 446189", len(triples))
	}

	var b bytes.Buffer
	b.WriteString("{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n  \"added_tokens\": [\n")
	for id := int32(199998); id <= 200018; id++ {
		fmt.Fprintf(&b, "    {\n      \"id\": %d,\n      \"content\": %s,\n      \"single_word\": false,\n      \"lstrip\": false,\n"+
			"      \"rstrip\": false,\n      \"normalized\": false,\n      \"special\": true\n    }%s\n", id, quote(tb, tok.pieces[id]), comma(id < 200018))
	}
	fmt.Fprintf(&b, `  ],
  "normalizer": null,
  "pre_tokenizer": {
    "type": "Sequence",
    "pretokenizers": [
      {
        "type": "Split",
        "pattern": {
          "Regex": %s
        },
        "behavior": "Isolated",
        "invert": false
      },
      {
        "type": "ByteLevel",
        "add_prefix_space": false,
        "trim_offsets": true,
        "use_regex": false
      }
    ]
  },
  "post_processor": {
    "type": "ByteLevel",
    "add_prefix_space": true,
    "trim_offsets": false,
    "use_regex": true
  },
  "decoder": {
    "type": "ByteLevel",
    "add_prefix_space": true,
    "trim_offsets": true,
    "use_regex": true
  },
  "model": {
    "type": "BPE",
    "dropout": null,
    "unk_token": null,
    "continuing_subword_prefix": null,
    "end_of_word_suffix": null,
    "fuse_unk": false,
    "byte_fallback": false,
    "ignore_merges": true,
    "vocab": {
`, quote(tb, pattern))
	for id, q := range quoted {
		fmt.Fprintf(&b, "      %s: %d%s\n", q, id, comma(id < len(quoted)-1))
	}
	b.WriteString("    },\n    \"merges\": [\n")
	for i, m := range triples {
		fmt.Fprintf(&b, "      [\n        %s,\n        %s\n      ]%s\n", quoted[m.left], quoted[m.right], comma(i < len(triples)-1))
	}
	b.WriteString("    ]\n  }\n}")
	return b.Bytes()
}

func comma(more bool) string {
	if more {
		return ","
	}
	return ""
}

// quote spells s as Hugging Face does: non-ASCII and HTML characters as they are.
func quote(tb testing.TB, s string) string {
	tb.Helper()
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		tb.Fatal(err)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// TestPublishedJSON: the two forms of the published vocabulary, ranks and tokenizer.json, give the same ids.
func TestPublishedJSON(t *testing.T) {
	data := publishedJSON(t)
	if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != publishedJSONSHA256 {
		t.Errorf("%d bytes with SHA-256 %x, want %s", len(data), sum, publishedJSONSHA256)
	}
	tok, err := Read(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if tok.Size() != 200019 || len(tok.merges) != 446189 {
		t.Errorf("size %d, %d merges", tok.Size(), len(tok.merges))
	}
	for _, c := range readVectors(t).Ordinary {
		if got := tok.Encode(c.Text); !slices.Equal(got, c.IDs) {
			t.Errorf("Encode(%q)\n got %v\nwant %v", c.Text, got, c.IDs)
		}
	}
	text := prose(t)
	if !slices.Equal(tok.Encode(text), published(t).Encode(text)) {
		t.Error("prose has other ids")
	}
}
