package gptoss

import (
	"bytes"
	"context"
	"encoding/binary"
	"hash/crc32"
	"slices"
	"strings"
	"testing"

	"github.com/seed-796a8800/tritium/graph"
	"github.com/seed-796a8800/tritium/internal/reference"
)

func saved(t testing.TB, g *Generator) []byte {
	t.Helper()
	var buf bytes.Buffer
	if err := g.Save(&buf); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// reloaded returns a new generator with what was saved of g.
func reloaded(t testing.TB, g *Generator, m *Model, s Sampling) *Generator {
	t.Helper()
	l, err := NewGenerator(m, s, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Load(bytes.NewReader(saved(t, g))); err != nil {
		t.Fatal(err)
	}
	return l
}

// sealed makes the checksum of a session right.
func sealed(data []byte) []byte {
	body := data[:len(data)-4]
	return binary.LittleEndian.AppendUint32(slices.Clone(body), crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)))
}

// A session is of one model, computed in one way, for plans of any size.
func TestSessionsAreOfOneModel(t *testing.T) {
	t.Parallel()
	s := reference.Named()["window-16"]
	dir := writeShape(t, s)
	c := open(t, dir)
	m := compile(t, c.Config(), c, newCPU(t, 2), 8)
	g := generator(t, m, Sampling{})
	want := continueText(t, g, tokens(30, s.Vocab), 5)
	data := saved(t, g)

	again := open(t, dir)
	l := generator(t, compile(t, again.Config(), again, newCPU(t, 1), 20), Sampling{})
	if err := l.Load(bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	if l.Len() != 35 || l.Cached() != 34 || !slices.Equal(l.Text()[30:], want.ids) {
		t.Errorf("%d tokens, %d cached, %v", l.Len(), l.Cached(), l.Text())
	}
	if got, want := next(t, l, 5), next(t, g, 5); !slices.Equal(got, want) {
		t.Errorf("loaded, it goes on with %v, want %v", got, want)
	}

	other := t.TempDir()
	if err := reference.Write(other, s, seed+1); err != nil {
		t.Fatal(err)
	}
	rope, window := c.Config(), c.Config()
	rope.NormEpsilon *= 2
	window.Windows = slices.Clone(window.Windows)
	window.Windows[1] = 8
	q, int8s, seeded := open(t, quantize(t, dir, twoBits).dir), open(t, dir, WithInt8Activations()), open(t, other)
	for name, m := range map[string]*Model{
		"quantized":       compile(t, q.Config(), q, newCPU(t, 1), 8),
		"int8 activation": compile(t, int8s.Config(), int8s, newCPU(t, 1), 8),
		"other weights":   compile(t, seeded.Config(), seeded, newCPU(t, 1), 8),
		"other epsilon":   compile(t, rope, c, newCPU(t, 1), 8),
		"other windows":   compile(t, window, c, newCPU(t, 1), 8),
	} {
		oneLine(t, name, generator(t, m, Sampling{}).Load(bytes.NewReader(data)), "gptoss: session: it is of another model")
	}
	type anonymous struct{ Weights }
	nameless := generator(t, compile(t, c.Config(), anonymous{c}, newCPU(t, 1), 8), Sampling{})
	oneLine(t, "no fingerprint", nameless.Save(&bytes.Buffer{}), "gptoss: session: these weights have no fingerprint")
	oneLine(t, "no fingerprint", nameless.Load(bytes.NewReader(data)), "these weights have no fingerprint")
}

func TestSessionRefuses(t *testing.T) {
	t.Parallel()
	c := openNano(t)
	config := c.Config()
	config.MaxPositions = 40
	m := compile(t, config, c, newCPU(t, 2), 8)
	g := generator(t, m, Sampling{})
	continueText(t, g, tokens(30, config.Vocab), 5)
	data := saved(t, g)
	edit := func(at int, to ...byte) []byte {
		d := bytes.Clone(data)
		copy(d[at:], to)
		return sealed(d)
	}
	const count, text, sequence = 8 + 32, 8 + 32 + 4, 8 + 32 + 4 + 35*4
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"nothing":         {nil, "it is cut off"},
		"half":            {data[:len(data)/2], "it is cut off"},
		"no checksum":     {data[:len(data)-4], "it is cut off"},
		"something":       {[]byte("GIF89a and more"), "not one that this version saved"},
		"another version": {edit(7, 2), "not one that this version saved"},
		"another model":   {edit(8, 1, 2, 3), "of another model"},
		"too long":        {edit(count, 41), "41 tokens exceed the model's context of 40"},
		"longer":          {edit(count, 255, 255, 255, 255), "exceed the model's context"},
		"no such token":   {edit(text, 255, 255, 255, 127), "token id 2147483647"},
		"negative token":  {edit(text, 255, 255, 255, 255), "token id -1"},
		"more was read":   {edit(sequence+20, 36), "of a sequence of 36 tokens"},
		"a flipped bit":   {slices.Concat(data[:len(data)/2], []byte{data[len(data)/2] ^ 1}, data[len(data)/2+1:]), "its checksum is another"},
	} {
		l := generator(t, m, Sampling{})
		continueText(t, l, tokens(8, config.Vocab), 3)
		err := l.Load(bytes.NewReader(c.data))
		oneLine(t, name, err, "gptoss: session: ", c.want)
		if l.Len() != 0 || l.Cached() != 0 {
			t.Errorf("%s: %d tokens are left", name, l.Len())
		}
		if _, _, err := l.Next(); err == nil || !strings.Contains(err.Error(), "nothing to continue") {
			t.Errorf("%s: it continues: %v", name, err)
		}
		if got := continueText(t, l, tokens(30, config.Vocab), 5); !slices.Equal(got.ids, g.Text()[30:]) {
			t.Errorf("%s: afterwards it writes %v, want %v", name, got.ids, g.Text()[30:])
		}
	}
	empty := reloaded(t, generator(t, m, Sampling{}), m, Sampling{})
	if empty.Len() != 0 {
		t.Errorf("an empty text is loaded with %d tokens", empty.Len())
	}
	for _, n := range []int{-1, 36} {
		oneLine(t, "rewind", g.Rewind(n), "gptoss: rewinding a text of 35 tokens to")
	}
}

// FuzzLoadSession loads hostile bytes whose checksum is right.
func FuzzLoadSession(f *testing.F) {
	cpu := graph.NewCPU(1)
	f.Cleanup(func() { cpu.Close() })
	config := ShapeSmall().WithLayers(2)
	config.Hidden, config.Intermediate, config.Vocab, config.MaxPositions, config.Windows = 64, 32, 32, 50, []int{4, 0}
	c, err := Synthetic{Config: config, Format: FormatTernary, Group: 32, Head: FormatBF16}.Build(context.Background(), cpu, nil)
	if err != nil {
		f.Fatal(err)
	}
	m := compile(f, config, c, cpu, 8)
	g, err := NewGenerator(m, Sampling{}, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(saved(f, g))
	if err := g.Prefill(tokens(3, config.Vocab)); err != nil {
		f.Fatal(err)
	}
	f.Add(saved(f, g))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) < 4 {
			return
		}
		l := generator(t, m, Sampling{})
		if err := l.Load(bytes.NewReader(sealed(data))); err != nil {
			oneLine(t, "load", err, "gptoss: session: ")
			return
		}
		if l.Len() > 0 {
			if _, _, err := l.Next(); err != nil && !strings.Contains(err.Error(), "logit") {
				t.Errorf("a session that loads does not go on: %v", err)
			}
		}
	})
}
