package evaluate

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/seed-796a8800/tritium/gptoss/tokenizer"
)

// harmony renders and reads the conversations of tasks.
//
// Source: openai/harmony, docs/format.md.
type harmony struct {
	tok                          *tokenizer.Tokenizer
	start, message, end, channel int32
}

func newHarmony(tok *tokenizer.Tokenizer) (*harmony, error) {
	h := &harmony{tok: tok}
	for _, s := range []struct {
		id    *int32
		piece string
	}{{&h.start, "<|start|>"}, {&h.message, "<|message|>"}, {&h.end, "<|end|>"}, {&h.channel, "<|channel|>"}} {
		id, ok := tok.ID(s.piece)
		if !ok {
			return nil, fmt.Errorf("evaluate: tasks: the tokenizer has no %s; tasks are harmony conversations", s.piece)
		}
		*s.id = id
	}
	return h, nil
}

// prompt renders a task up to where the assistant writes its header.
func (h *harmony) prompt(t Task) []int32 {
	var ids []int32
	add := func(role, content string) {
		ids = append(ids, h.start)
		ids = append(h.tok.AppendEncode(ids, role), h.message)
		ids = append(h.tok.AppendEncode(ids, content), h.end)
	}
	if t.System != "" {
		add("system", t.System)
	}
	add("user", t.User)
	return h.tok.AppendEncode(append(ids, h.start), "assistant")
}

type verdict uint8

const (
	undecided verdict = iota
	right
	wrong
)

// answer follows what the model writes, token by token.
type answer struct {
	*harmony
	expected string
	header   []int32 // of the current message, up to <|message|>
	content  []int32 // of the current message
	inside   bool    // the current message's content
}

// write takes the next token. stop says that it ends the answer, as <|return|>
// does.
func (a *answer) write(id int32, stop bool) verdict {
	ends := stop || id == a.end
	switch {
	case ends && a.inside && a.final():
		if strings.TrimSpace(a.tok.Decode(a.content)) == a.expected {
			return right
		}
		return wrong
	case stop: // without a final message
		return wrong
	case ends:
		a.header, a.content, a.inside = a.header[:0], a.content[:0], false
	case !a.inside && id == a.message:
		a.inside = true
	case !a.inside:
		a.header = append(a.header, id)
	default:
		a.content = append(a.content, id)
		if a.final() && !a.possible() {
			return wrong
		}
	}
	return undecided
}

// final says whether the current message is on the final channel.
func (a *answer) final() bool {
	i := slices.Index(a.header, a.channel)
	if i < 0 {
		return false
	}
	name := a.tok.Decode(a.header[i+1:]) // followed by a content type, or by <|constrain|>
	if end := strings.IndexAny(name, " <"); end >= 0 {
		name = name[:end]
	}
	return name == "final"
}

// possible says whether a final message that begins like the current one can
// still be the expected one.
func (a *answer) possible() bool {
	text := strings.TrimLeftFunc(a.tok.Decode(a.content), unicode.IsSpace)
	rest, longer := strings.CutPrefix(text, a.expected)
	return strings.HasPrefix(a.expected, text) || longer && strings.TrimSpace(rest) == ""
}
