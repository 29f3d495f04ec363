package gptoss

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// longest is what find looks for, by trying every place.
func longest(text []int32) (place, length int) {
	n := len(text)
	for p := n - 1; p > 0; p-- {
		same := 0
		for same < min(p, maxMatch) && text[p-1-same] == text[n-1-same] {
			same++
		}
		if same >= gram && same > length {
			place, length = p, same
		}
	}
	return place, length
}

// The index finds the longest match, also of a text that was shortened.
func TestLookup(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(5, 6))
	for range 200 {
		l, text := newLookup(), []int32(nil)
		for range 20 {
			if n := len(text); random.IntN(4) == 0 && n > 0 {
				to := random.IntN(n)
				l.shorten(text, to)
				text = text[:to]
			} else if n > 8 && random.IntN(2) == 0 { // repeat a part
				at := random.IntN(n - 8)
				text = append(text, text[at:at+1+random.IntN(n-at)]...)
			} else {
				for range 1 + random.IntN(10) {
					text = append(text, int32(random.IntN(8)))
				}
			}
			if len(text) > 60 { // fewer places than are probed
				l.shorten(text, 20)
				text = text[:20]
			}
			l.extend(text)
			place, length := l.find(text)
			if p, n := longest(text); p != place && probes(text) <= maxProbes || length > n {
				t.Fatalf("%v: place %d, %d tokens agree; want %d, %d", text, place, length, p, n)
			}
			fresh := newLookup()
			fresh.extend(text)
			if !slices.Equal(fresh.latest, l.latest) || !slices.Equal(fresh.before, l.before) {
				t.Fatalf("%v: the index is not that of a new text", text)
			}
		}
	}
}

// probes counts the places where the last gram tokens occurred.
func probes(text []int32) (n int) {
	for p := gram; p < len(text); p++ {
		if slices.Equal(text[p-gram:p], text[len(text)-gram:]) {
			n++
		}
	}
	return n
}

func TestFollow(t *testing.T) {
	t.Parallel()
	text := []int32{1, 2, 3, 4, 5, 1, 2, 3}
	got := make([]int32, 9)
	follow(got, text, 3)
	if want := []int32{4, 5, 1, 2, 3, 4, 5, 1, 2}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	follow(got[:2], text, 5)
	if want := []int32{1, 2}; !slices.Equal(got[:2], want) {
		t.Errorf("%v, want %v", got[:2], want)
	}
}

// The automatic guess is as long as pays, by rights and times.
func TestGuessPays(t *testing.T) {
	t.Parallel()
	cheap := func(rows int) float64 { return 1 + 0.2*float64(rows-1) }
	dear := func(rows int) float64 { return 1 + 0.9*float64(rows-1) }
	for name, tc := range map[string]struct {
		cost  func(rows int) float64
		right float64
		want  int
	}{
		"always right, cheap": {cheap, 1, MaxDraft}, "often right, cheap": {cheap, 0.7, 3}, "seldom right, cheap": {cheap, 0.2, 0},
		"always right, dear": {dear, 1, MaxDraft}, "often right, dear": {dear, 0.8, 0},
	} {
		d := newPromptLookup(SpeculateAuto)
		d.extend(repeated(20, 5, 100))
		for c := range d.right {
			d.right[c] = rate{1e6 * tc.right, 1e6}
		}
		for rows := 1; rows < len(d.seconds); rows++ {
			d.seconds[rows] = tc.cost(rows)
		}
		if got, _ := d.size(MaxDraft); got != tc.want {
			t.Errorf("%s: %d tokens, want %d", name, got, tc.want)
		}
		if got, _ := d.size(2); got > 2 {
			t.Errorf("%s: %d tokens of 2", name, got)
		}
	}
	fresh := newPromptLookup(SpeculateAuto)
	fresh.extend(repeated(20, 5, 100))
	if n, _ := fresh.size(MaxDraft); n != 0 {
		t.Errorf("%d tokens are guessed before any time is known", n)
	}
	fresh.took(1, time.Second)
	if n, _ := fresh.size(MaxDraft); n == 0 {
		t.Error("a text that repeats itself is not tried")
	}
	fresh.took(1+MaxDraft, time.Hour)
	fresh.took(8, time.Hour)
	fresh.took(4, time.Hour)
	fresh.took(2, time.Hour)
	if n, _ := fresh.size(MaxDraft); n != 0 {
		t.Errorf("%d tokens are guessed at any price", n)
	}
	for range 10000 {
		fresh.took(1, time.Second)
	}
	if n, _ := fresh.size(MaxDraft); n == 0 {
		t.Error("one slow batch rules guesses out for good")
	}
}
