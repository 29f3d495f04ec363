package evaluate

import (
	"strings"
	"unicode"

	"github.com/seed-796a8800/tritium/gptoss/harmony"
)

// prompt renders a task up to where the assistant writes its header.
func (t *Task) prompt(e *harmony.Encoding) ([]int32, error) {
	var c harmony.Conversation
	if t.System != "" {
		c.Messages = append(c.Messages, harmony.Message{Role: harmony.RoleSystem, Text: t.System})
	}
	c.Messages = append(c.Messages, harmony.Message{Role: harmony.RoleUser, Text: t.User})
	return e.RenderForCompletion(c)
}

type verdict uint8

const (
	undecided verdict = iota
	right
	wrong
)

// answer follows what the model writes, token by token.
type answer struct {
	parser   *harmony.Parser
	expected string
	text     string // of the current message, if it is a final one
	// repaired is what the parser had repaired by the token that began the current
	// message, -1 at that token: a right answer is not mended, nor found in a
	// header.
	repaired int
}

func newAnswer(e *harmony.Encoding, expected string) answer {
	return answer{parser: e.NewParser(harmony.RoleAssistant), expected: strings.TrimSpace(expected), repaired: -1}
}

// write takes the next token. stop says that it ends the answer, as <|return|>
// does.
func (a *answer) write(id int32, stop bool) verdict {
	var events []harmony.Event
	if stop {
		events = a.parser.Close()
	} else {
		events = a.parser.Write(id)
	}
	for _, event := range events {
		final := event.Message.Channel == harmony.ChannelFinal
		switch event.Kind {
		case harmony.Begin:
			a.text, a.repaired = "", -1
		case harmony.Delta:
			if !final {
				continue
			}
			if a.text += event.Delta; !a.possible() {
				return wrong
			}
		case harmony.End:
			if !final {
				continue
			}
			if a.parser.Repaired() == a.repaired && strings.TrimSpace(event.Message.Text) == a.expected {
				return right
			}
			return wrong
		}
	}
	if stop { // without a final message
		return wrong
	}
	if a.repaired < 0 {
		a.repaired = a.parser.Repaired()
	}
	return undecided
}

// possible says whether a final message that begins like the current one can
// still be the expected one.
func (a *answer) possible() bool {
	text := strings.TrimLeftFunc(a.text, unicode.IsSpace)
	rest, longer := strings.CutPrefix(text, a.expected)
	return strings.HasPrefix(a.expected, text) || longer && strings.TrimSpace(rest) == ""
}
