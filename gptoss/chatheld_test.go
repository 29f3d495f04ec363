package gptoss

import (
	"context"
	"encoding/json"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/seed-796a8800/tritium/gptoss/constrain"
	"github.com/seed-796a8800/tritium/gptoss/harmony"
)

// A turn that a constraint holds ends in an answer of its structure, or for
// want of tokens, whatever the model would rather write.
func TestChatHeld(t *testing.T) {
	t.Parallel()
	m, tok := chatModel(t, nil)
	a, err := constrain.Schema([]byte(`{"type":"object","properties":{"ok":{"type":"boolean"},"n":{"type":"integer","minimum":1,"maximum":40}},"required":["n"]}`))
	if err != nil {
		t.Fatal(err)
	}
	done, thoughts := 0, 0
	for seed := range uint64(30) {
		c := newChat(t, m, tok, ChatOptions{Sampling: Sampling{Temperature: 1, Seed: seed}, MaxTokens: 800, Speculation: Speculation(seed % 3),
			Constraint: constrain.NewMatcher(a, constrain.NewVocabulary(tok))})
		if seed%2 == 0 {
			fTool(c)
		}
		for range 3 {
			turn, err := c.Say(context.Background(), "hello", nil)
			if err != nil {
				t.Fatal(err)
			}
			if turn.Repaired > 0 {
				t.Errorf("seed %d: %d departures from harmony", seed, turn.Repaired)
			}
			if slices.ContainsFunc(turn.Messages, func(m harmony.Message) bool { return m.Channel == harmony.ChannelAnalysis }) {
				thoughts++
			}
			switch turn.Stop {
			case StopCall:
				c.Undo()
			case StopReturn:
				done++
				var v struct {
					OK *bool `json:"ok"`
					N  int   `json:"n"`
				}
				if err := json.Unmarshal([]byte(turn.Final()), &v); err != nil || v.N < 1 || v.N > 40 {
					t.Fatalf("seed %d: answer %q: %v", seed, turn.Final(), err)
				}
			}
		}
	}
	if done < 30 || thoughts < 5 {
		t.Errorf("%d answers, %d of them with thoughts", done, thoughts)
	}
}

// Choosing among some is choosing where the others have no chance.
func TestSamplerOfSome(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	const vocab = 150
	for i := range 300 {
		logits, masked := make([]float32, vocab), make([]float32, vocab)
		allowed := make([]uint64, 1+r.IntN(3))
		for j := range allowed {
			allowed[j] = r.Uint64() & r.Uint64()
		}
		for j := range logits {
			logits[j] = float32(r.NormFloat64() * 3)
			if masked[j] = float32(math.Inf(-1)); j/64 < len(allowed) && allowed[j/64]>>(j%64)&1 == 1 {
				masked[j] = logits[j]
			} else if i%2 == 0 {
				logits[j] = float32(math.NaN()) // of no interest
			}
		}
		for _, s := range []Sampling{{}, {Temperature: 1, Seed: uint64(i)}, {Temperature: 2, TopK: 3, Seed: 1}, {Temperature: 1, TopP: 0.5, MinP: 0.1, RepetitionPenalty: 1.5}} {
			if i%2 == 0 && s != (Sampling{}) {
				s.RepetitionPenalty = 0
			}
			one, other := NewSampler(s), NewSampler(s)
			one.Observe(1, 2, 3)
			other.Observe(1, 2, 3)
			got, err := one.NextOf(logits, allowed)
			want, e := other.Next(masked)
			if got != want || (err == nil) != (e == nil) {
				t.Fatalf("%+v: token %d, %v; want %d, %v", s, got, err, want, e)
			}
			if n := testing.AllocsPerRun(5, func() { one.NextOf(logits, allowed) }); n != 0 && err == nil && s.RepetitionPenalty == 0 {
				t.Fatalf("%v allocations", n)
			}
		}
	}
	if _, err := NewSampler(Sampling{}).NextOf(make([]float32, 4), make([]uint64, 1)); err == nil {
		t.Error("a token is chosen where none is allowed")
	}
}
