package gptoss

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// clairvoyant guesses the text that it knows will come, up to a random place,
// and nonsense behind it.
type clairvoyant struct {
	future []int32
	vocab  int
	random *rand.Rand
}

func (c *clairvoyant) extend([]int32)          {}
func (c *clairvoyant) shorten([]int32, int)    {}
func (c *clairvoyant) took(int, time.Duration) {}
func (c *clairvoyant) clone() drafter          { return c }

func (c *clairvoyant) guess(dst, text []int32) int {
	n := c.random.IntN(len(dst) + 1)
	right := c.random.IntN(n + 1)
	for i := range dst[:n] {
		dst[i] = int32(c.random.IntN(c.vocab))
		if at := len(text) + i; i < right && at < len(c.future) {
			dst[i] = c.future[at]
		}
	}
	return n
}

// continued is all that a caller sees of a text: its tokens and how it ended.
type continued struct {
	ids  []int32
	stop bool
	last int32
}

// continueText prefills a prompt and takes up to n tokens.
func continueText(t *testing.T, g *Generator, prompt []int32, n int) (c continued) {
	t.Helper()
	if err := g.Prefill(prompt); err != nil {
		t.Fatal(err)
	}
	for range n {
		id, stop, err := g.Next()
		if err != nil {
			t.Fatal(err)
		}
		if c.last = id; stop {
			c.stop = true
			return c
		}
		c.ids = append(c.ids, id)
	}
	return c
}

func (c continued) equal(d continued) bool {
	return slices.Equal(c.ids, d.ids) && c.stop == d.stop && c.last == d.last
}

// repeated is a text of one phrase again and again.
func repeated(n, phrase, vocab int) (ids []int32) {
	for len(ids) < n {
		ids = append(ids, tokens(phrase, vocab)...)
	}
	return ids[:n]
}

var samplings = map[string]Sampling{
	"greedy":           {},
	"greedy penalized": {RepetitionPenalty: 1.3},
	"seeded":           {Temperature: 0.8, TopK: 40, TopP: 0.95, Seed: 3},
	"cold":             {Temperature: 0.2, MinP: 0.02, Seed: 4},
	"penalized":        {Temperature: 0.5, RepetitionPenalty: 1.1, Seed: 5},
}

// Whatever is guessed, the text is the same: its tokens, its end at a stop id
// or at the limit of the context, and the logits that follow it.
func TestSpeculationChangesNothing(t *testing.T) {
	for _, s := range subjects(t) {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			config := s.Config()
			config.MaxPositions = 120 // more than a window's memory, but for nano's
			if s.name == "nano" {
				config.MaxPositions = 75
			}
			m := compile(t, config, s, newCPU(t, 2), 1+MaxDraft)
			narrow := compile(t, config, s, newCPU(t, 1), 3)
			random := rand.New(rand.NewPCG(1, 2))
			for name, sampling := range samplings {
				for _, prompt := range [][]int32{tokens(30, config.Vocab), repeated(50, 7, config.Vocab)} {
					plain := generator(t, m, sampling)
					want := continueText(t, plain, prompt, 200)
					if !want.stop || len(prompt)+len(want.ids) != config.MaxPositions {
						t.Fatalf("%s: %d tokens, want a full context", name, len(want.ids))
					}
					all := slices.Concat(prompt, want.ids)
					some := want.ids[random.IntN(len(want.ids))]
					stopped := continueText(t, generator(t, m, sampling, some), prompt, 200)
					for guesses, set := range map[string]func(g *Generator){
						"on":     func(g *Generator) { g.Speculate(SpeculateOn) },
						"auto":   func(g *Generator) { g.Speculate(SpeculateAuto) },
						"random": func(g *Generator) { g.drafts = &clairvoyant{all, config.Vocab, random} },
					} {
						g := generator(t, m, sampling)
						set(g)
						if got := continueText(t, g, prompt, 200); !got.equal(want) {
							t.Fatalf("%s, %s: %v, want %v", name, guesses, got, want)
						}
						if err := sameBits(g.logits[g.row*config.Vocab:(g.row+1)*config.Vocab], plain.logits); err != nil {
							t.Errorf("%s, %s: logits at the end: %v", name, guesses, err)
						}
						if drafted, accepted := g.Drafted(); accepted > drafted || guesses == "random" && drafted == 0 {
							t.Errorf("%s, %s: %d of %d accepted", name, guesses, accepted, drafted)
						}
						g = generator(t, narrow, sampling, some)
						set(g)
						if got := continueText(t, g, prompt, 200); !got.equal(stopped) {
							t.Fatalf("%s, %s, stopping at %d: %v, want %v", name, guesses, some, got, stopped)
						}
					}
				}
			}
		})
	}
}

// A text that is cut anywhere, within a guess too, goes on as it was, and so do
// its forks and what is saved of it.
func TestRewindForkSave(t *testing.T) {
	for _, s := range subjects(t) {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			config := s.Config()
			m := compile(t, config, s, newCPU(t, 2), 1+MaxDraft)
			random := rand.New(rand.NewPCG(3, 4))
			sampling := samplings["penalized"]
			prompt := repeated(20, 7, config.Vocab)
			all := slices.Concat(prompt, continueText(t, generator(t, m, sampling), prompt, 130).ids)
			g := generator(t, m, sampling)
			g.drafts = &clairvoyant{all, config.Vocab, random}
			if err := g.Prefill(prompt); err != nil {
				t.Fatal(err)
			}
			for step := range 60 {
				n := min(random.IntN(12), len(all)-g.Len())
				next(t, g, n)
				if !slices.Equal(g.Text(), all[:g.Len()]) {
					t.Fatalf("step %d: %v, want %v", step, g.Text(), all[:g.Len()])
				}
				switch random.IntN(4) {
				case 0: // sometimes so far that windows have forgotten what it takes
					to := len(prompt) + random.IntN(g.Len()-len(prompt)+1)
					if random.IntN(3) > 0 {
						to = max(to, g.Len()-random.IntN(20))
					}
					if err := g.Rewind(to); err != nil {
						t.Fatal(err)
					}
				case 1:
					fork, err := g.Fork()
					if err != nil {
						t.Fatal(err)
					}
					n := min(5, len(all)-g.Len())
					if got, want := next(t, g, n), all[g.Len()-n:g.Len()]; !slices.Equal(got, want) {
						t.Fatalf("step %d: forked, the original gives %v, want %v", step, got, want)
					}
					g = fork
				case 2:
					g = reloaded(t, g, m, sampling)
					g.drafts = &clairvoyant{all, config.Vocab, random}
				}
			}
		})
	}
}

// A token costs no allocation, guessed or not, once there is room for the text.
func TestNextAllocatesNothing(t *testing.T) {
	c := openNano(t)
	for name, sampling := range map[string]Sampling{"greedy": {}, "seeded": {Temperature: 0.2, TopK: 40, TopP: 0.9}} {
		for _, mode := range []Speculation{SpeculateOff, SpeculateAuto, SpeculateOn} {
			m := compile(t, c.Config(), c, newCPU(t, 2), 1+MaxDraft)
			var counts []float64
			for range 5 { // the runtime allocates now and then, and is counted too
				g := generator(t, m, sampling)
				g.Speculate(mode)
				if err := g.Prefill(repeated(40, 7, 200)); err != nil {
					t.Fatal(err)
				}
				next(t, g, 20)
				if err := g.seq.Reserve(400); err != nil {
					t.Fatal(err)
				}
				g.text = slices.Grow(g.text, 300)
				g.logits = slices.Grow(g.logits, (1+MaxDraft)*c.Config().Vocab)
				g.batch.Outputs = slices.Grow(g.batch.Outputs[:0], 1+MaxDraft)
				if d, ok := g.drafts.(*promptLookup); ok {
					d.index.before = slices.Grow(d.index.before, 300)
				}
				total := 0.0
				for range 100 {
					total += testing.AllocsPerRun(1, func() { next1(t, g) })
				}
				if counts = append(counts, total); total == 0 {
					break
				}
			}
			if counts[len(counts)-1] != 0 {
				t.Errorf("%s, speculation %d: %v allocations in 200 tokens", name, mode, counts)
			}
		}
	}
}

func next1(t *testing.T, g *Generator) {
	if _, _, err := g.Next(); err != nil {
		t.Error(err)
	}
}
