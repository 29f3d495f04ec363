package gptoss

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
)

// sessionMagic begins a saved session; its last byte is the version.
const sessionMagic = "tritses\x01"

// sessionHeader follows the magic, little-endian.
type sessionHeader struct {
	Model  [sha256.Size]byte
	Tokens uint32
}

// identity says which model this is, down to the bits that it computes: the
// weights and the operators.
func (m *Model) identity() (sum [sha256.Size]byte, err error) {
	if m.weights == nil {
		return sum, errors.New("gptoss: session: these weights have no fingerprint; compile a Checkpoint")
	}
	weights := m.weights.Fingerprint()
	return sha256.Sum256(binary.LittleEndian.AppendUint64(weights[:], m.Plan.Hash())), nil
}

// Save writes the text and what the model remembers of it, so that Load goes on
// from there: "tritses" and a version byte; what the model is (32 bytes); the
// number of tokens (4), little-endian, and the tokens (4 each); what
// graph.Sequence saves; the CRC-32C of all that (4). The sampling is not in it.
//
// Errors: a model whose weights are not a checkpoint's; the writer's.
func (g *Generator) Save(w io.Writer) error {
	model, err := g.model.identity()
	if err != nil {
		return err
	}
	if g.seq.Len() > len(g.text) { // a guess
		if err := g.unread(len(g.text)); err != nil {
			return err
		}
	}
	sum := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	out := io.MultiWriter(w, sum)
	_, err = io.WriteString(out, sessionMagic)
	if err == nil {
		err = binary.Write(out, binary.LittleEndian, sessionHeader{model, uint32(len(g.text))})
	}
	if err == nil {
		err = binary.Write(out, binary.LittleEndian, g.text)
	}
	if err == nil {
		err = g.seq.Save(out)
	}
	if err == nil {
		err = binary.Write(w, binary.LittleEndian, sum.Sum32())
	}
	if err != nil {
		return fmt.Errorf("gptoss: session: %w", err)
	}
	return nil
}

// Load replaces the text by one that Save wrote for the same model. With the
// same sampling it goes on as the saved one would have.
//
// Errors: a session of another model, or of this one with other activations or
// another cache; something else; a file that is cut off or was changed. After
// an error the text is empty.
func (g *Generator) Load(r io.Reader) error {
	text, err := g.load(r)
	if err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = errors.New("it is cut off")
		}
		return errors.Join(fmt.Errorf("gptoss: session: %w", err), g.unread(0))
	}
	g.text = text
	g.sampler.Observe(text...)
	if g.drafts != nil {
		g.drafts.extend(text)
	}
	return nil
}

// load empties the text, reads the sequence and returns the text to be.
func (g *Generator) load(r io.Reader) ([]int32, error) {
	if err := g.Rewind(0); err != nil {
		return nil, err
	}
	sum := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	in := io.TeeReader(r, sum)
	text, err := g.loadText(in)
	if err != nil {
		return nil, err
	}
	if err := g.seq.Load(in); err != nil {
		return nil, err
	}
	if n := g.seq.Len(); n > len(text) {
		return nil, fmt.Errorf("it is broken: the model has read %d of %d tokens", n, len(text))
	}
	want := sum.Sum32()
	var got uint32
	if err := binary.Read(r, binary.LittleEndian, &got); err != nil {
		return nil, err
	}
	if got != want {
		return nil, errors.New("it is broken: its checksum is another")
	}
	return text, nil
}

func (g *Generator) loadText(r io.Reader) ([]int32, error) {
	model, err := g.model.identity()
	if err != nil {
		return nil, err
	}
	magic := make([]byte, len(sessionMagic))
	if _, err := io.ReadFull(r, magic); err != nil {
		return nil, err
	}
	if string(magic) != sessionMagic {
		return nil, fmt.Errorf("not one that this version saved: it begins with %q", magic)
	}
	var h sessionHeader
	if err := binary.Read(r, binary.LittleEndian, &h); err != nil {
		return nil, err
	}
	limit := g.model.Config.MaxPositions
	if limit == 0 {
		limit = math.MaxInt32
	}
	switch {
	case h.Model != model:
		return nil, errors.New("it is of another model, or of this one with other options")
	case int64(h.Tokens) > int64(limit):
		return nil, fmt.Errorf("%d tokens exceed the model's context of %d", h.Tokens, limit)
	}
	var text []int32
	for left := int(h.Tokens); left > 0; { // in parts: it may be shorter than it claims
		part := make([]int32, min(left, 1<<14))
		if err := binary.Read(r, binary.LittleEndian, part); err != nil {
			return nil, err
		}
		for _, id := range part {
			if id < 0 || int(id) >= g.model.Config.Vocab {
				return nil, fmt.Errorf("it is broken: token id %d is outside the vocabulary of %d", id, g.model.Config.Vocab)
			}
		}
		text = append(text, part...)
		left -= len(part)
	}
	return text, nil
}
