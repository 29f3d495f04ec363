package gptoss

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/seed-796a8800/tritium/internal/reference"
)

// TestContinueAll: every text goes on as a Generator takes it, however many are
// continued at a time, on any number of threads.
func TestContinueAll(t *testing.T) {
	t.Parallel()
	c := open(t, writeShape(t, reference.Named()["window-16"]))
	config := c.Config()
	config.MaxPositions = 40
	const texts = 11
	prompt := func(i int) []int32 { return tokens(50, config.Vocab)[i : 2*i+1+i%3] } // 1 to 23 tokens
	sampling := func(i int) Sampling {
		if i%4 == 3 {
			return Sampling{}
		}
		return Sampling{Temperature: 1, RepetitionPenalty: 1 + .1*float64(i%2), Seed: uint64(i)}
	}
	var want [texts][]int32
	m := compile(t, config, c, newCPU(t, 1), 8)
	for i := range want {
		g := generator(t, m, sampling(i))
		if err := g.Prefill(prompt(i)); err != nil {
			t.Fatal(err)
		}
		for g.Len() < config.MaxPositions {
			want[i] = append(want[i], next(t, g, 1)...)
		}
		if i == 5 {
			want[i] = want[i][:7]
		}
	}
	for _, x := range []struct{ width, rows, threads int }{{1, 8, 1}, {3, 8, 2}, {20, 5, 3}, {20, 64, 2}} {
		var got [texts][]int32
		begun := 0
		err := ContinueAll(t.Context(), compile(t, config, c, newCPU(t, x.threads), x.rows), x.width, func() (*Text, error) {
			i := begun
			if i == texts {
				return nil, nil
			}
			begun++
			return &Text{Prompt: prompt(i), Sampling: sampling(i), Write: func(id int32, full bool) bool {
				if atEnd := len(prompt(i))+len(got[i]) == config.MaxPositions; full != atEnd {
					t.Errorf("%+v: text %d: full %t behind %d tokens", x, i, full, len(got[i]))
				}
				if !full {
					got[i] = append(got[i], id)
				}
				return i != 5 || len(got[i]) < 7
			}}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for i := range want {
			if !slices.Equal(got[i], want[i]) {
				t.Errorf("%+v: text %d goes on with %v, alone with %v", x, i, got[i], want[i])
			}
		}
	}
}

func TestContinueAllRefuses(t *testing.T) {
	t.Parallel()
	c := open(t, writeShape(t, reference.Named()["window-16"]))
	config := c.Config()
	config.MaxPositions = 20
	m := compile(t, config, c, newCPU(t, 1), 8)
	forever := func(int32, bool) bool { return true }
	broken := errors.New("no more paper")
	for _, x := range []struct {
		name, want string
		text       Text
		err        error
		width      int
	}{
		{name: "no prompt", want: "has no tokens"},
		{name: "long prompt", want: "context of 20", text: Text{Prompt: tokens(21, config.Vocab)}},
		{name: "temperature", want: "temperature", text: Text{Prompt: []int32{1}, Sampling: Sampling{Temperature: -1}}},
		{name: "source", want: "paper", err: broken},
		{name: "width", want: "0 texts at a time", width: -1},
	} {
		x.text.Write = forever
		err := ContinueAll(t.Context(), m, 1+x.width, func() (*Text, error) { return &x.text, x.err })
		if err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: %v", x.name, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	endless := func() (*Text, error) {
		return &Text{Prompt: []int32{1}, Write: func(int32, bool) bool { cancel(); return true }}, nil
	}
	if err := ContinueAll(ctx, m, 4, endless); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}
