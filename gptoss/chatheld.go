package gptoss

import (
	"fmt"

	"github.com/seed-796a8800/tritium/gptoss/harmony"
	"github.com/seed-796a8800/tritium/gptoss/tokenizer"
)

// held is what keeps a model to harmony where its answer is held to a
// structure: headers are among those that there are, and no message ends as it
// must not. What it thinks is free.
type held struct {
	Constraint
	// headers are what may follow the role, up to where it is free.
	headers     [][]int32
	begin       []int32 // <|start|>, and the role
	end         int32   // of a message
	call, ret   int32
	message     int32
	constrained int32

	text  []uint64 // tokens of text, and what changes
	fixed []uint64 // what a header goes on with
}

// newHeld returns what holds a model with this vocabulary.
func newHeld(c Constraint, e *harmony.Encoding, tok *tokenizer.Tokenizer, vocab int) (*held, error) {
	stop := e.Stop()
	h := &held{Constraint: c, ret: stop[0], call: stop[1]}
	var start, channel int32
	for _, s := range []struct {
		id    *int32
		piece string
	}{{&start, "<|start|>"}, {&channel, "<|channel|>"}, {&h.message, "<|message|>"}, {&h.constrained, "<|constrain|>"}, {&h.end, "<|end|>"}} {
		id, ok := tok.ID(s.piece)
		if !ok {
			return nil, fmt.Errorf("gptoss: chat: the tokenizer has no %s", s.piece)
		}
		*s.id = id
	}
	h.begin = tok.AppendEncode([]int32{start}, string(harmony.RoleAssistant))
	for _, name := range []string{harmony.ChannelAnalysis, harmony.ChannelFinal, harmony.ChannelCommentary} {
		ids := tok.AppendEncode([]int32{channel}, name)
		if name != harmony.ChannelCommentary {
			ids = append(ids, h.message)
		}
		h.headers = append(h.headers, ids)
	}
	h.text, h.fixed = make([]uint64, (vocab+63)/64), make([]uint64, (vocab+63)/64)
	for id := range int32(min(vocab, tok.Size())) {
		if _, ok := tok.Bytes(id); ok && !tok.IsSpecial(id) {
			set(h.text, id, true)
		}
	}
	return h, nil
}

// expect says that a message's header follows, with what begins a message if
// another one has ended. Only where there are tools is there a commentary.
func (w *writing) expect(another bool) {
	headers := w.held.headers
	if d, s := w.Conversation.Developer, w.Conversation.System; (d == nil || len(d.Tools) == 0) && (s == nil || len(s.Tools) == 0) {
		headers = headers[:len(headers)-1]
	}
	w.forced = w.forced[:0]
	for _, ids := range headers {
		if another {
			ids = append(w.held.begin[:len(w.held.begin):len(w.held.begin)], ids...)
		}
		w.forced = append(w.forced, ids)
	}
}

// restrict lets the model write what the constraint allows.
func (w *writing) restrict() {
	h := w.held
	switch {
	case h == nil:
	case w.answering:
		allowed, done := h.Allowed()
		set(allowed, h.ret, done) // it is no text, so it is not set otherwise
		w.generator.Restrict(allowed)
	case len(w.forced) > 0:
		clear(h.fixed)
		for _, ids := range w.forced {
			set(h.fixed, ids[0], true)
		}
		w.generator.Restrict(h.fixed)
	default: // a thought, or what is about a call
		set(h.text, h.call, w.began && w.calling)
		set(h.text, h.end, w.thinking())
		set(h.text, h.ret, w.thinking()) // which step takes for an end
		set(h.text, h.message, !w.began)
		set(h.text, h.constrained, !w.began)
		w.generator.Restrict(h.text)
	}
}

// thinking says whether a message is being written that is neither the answer
// nor a call.
func (w *writing) thinking() bool { return w.began && !w.answering && !w.calling }

// accept takes note of a token that was written.
func (w *writing) accept(id int32) error {
	if w.held == nil {
		return nil
	}
	if w.answering {
		if err := w.held.Accept(id); err != nil {
			return fmt.Errorf("gptoss: chat: %w", err)
		}
		return nil
	}
	kept, whole := w.forced[:0], false
	for _, ids := range w.forced {
		if ids[0] == id {
			kept = append(kept, ids[1:])
			whole = whole || len(ids) == 1
		}
	}
	if w.forced = kept; whole {
		w.forced = kept[:0]
	}
	return nil
}

// set changes the bit of a token.
func set(bits []uint64, id int32, on bool) {
	if bits[id/64] &^= 1 << (id % 64); on {
		bits[id/64] |= 1 << (id % 64)
	}
}
