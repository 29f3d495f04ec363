package tokenizer

import (
	"bytes"
	"strings"
	"testing"
)

func BenchmarkEncode(b *testing.B) {
	var mixed strings.Builder
	for _, c := range readVectors(b).Ordinary {
		mixed.WriteString(c.Text)
	}
	texts := map[string]string{"english": prose(b), "mixed": mixed.String(), "run": strings.Repeat("=", 1<<17)}
	toks := map[string]*Tokenizer{"nano": nano(b), "o200k": published(b)}
	for _, vocab := range []string{"nano", "o200k"} {
		for _, text := range []string{"english", "mixed", "run"} {
			b.Run("vocab="+vocab+"/text="+text, func(b *testing.B) {
				var dst []int32
				b.SetBytes(int64(len(texts[text])))
				b.ReportAllocs()
				for b.Loop() {
					dst = toks[vocab].AppendEncode(dst[:0], texts[text])
				}
			})
		}
	}
}

func BenchmarkSplit(b *testing.B) {
	tok, text := nano(b), prose(b)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		for i := 0; i < len(text); {
			i = tok.classes.next(text, i)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	tok, text := published(b), prose(b)
	ids := tok.Encode(text)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		tok.Decode(ids)
	}
}

func BenchmarkRead(b *testing.B) {
	nano, o200k := readNanoJSON(b), publishedJSON(b)
	for _, c := range []struct {
		name string
		data []byte
	}{{"nano", nano}, {"o200k", o200k}} {
		b.Run("vocab="+c.name, func(b *testing.B) {
			b.SetBytes(int64(len(c.data)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Read(bytes.NewReader(c.data)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkFromRanks(b *testing.B) {
	data := publishedRanks(b)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := FromRanks(bytes.NewReader(data), HarmonySpecials()); err != nil {
			b.Fatal(err)
		}
	}
}
