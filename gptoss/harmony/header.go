package harmony

import (
	"cmp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/seed-796a8800/tritium/gptoss/tokenizer"
)

// part is the text of a header up to the next special token, and the special
// token in front of it, 0 in front of the first.
type part struct {
	mark int32
	text string
}

// parts splits a header. The start of a rune that its end may leave open stays
// in the decoder.
func (e *Encoding) parts(header []int32, decoder *tokenizer.Decoder) []part {
	parts := []part{{}}
	var text strings.Builder
	for _, id := range header {
		if id != e.channel && id != e.constrain {
			text.WriteString(decoder.Write(id))
			continue
		}
		text.WriteString(decoder.Flush())
		parts[len(parts)-1].text = valid(text.String())
		text.Reset()
		parts = append(parts, part{mark: id})
	}
	parts[len(parts)-1].text = valid(text.String())
	return parts
}

// headerReader puts a header together from words that may be anywhere in it.
type headerReader struct {
	e *Encoding
	Message
	stray    []string // words that are no header
	repaired int
}

// readHeader reads the header of a message. role is whose message it is, as far
// as that is known; "" says that the header has to name it. What is left over
// in front of the channel is text that belongs to no message, and returned as
// such; what is left over behind it is dropped.
//
// It differs from the reference, which gives up on headers that are not right,
// in one case where that one succeeds: a word without "to=" is a recipient only
// if it looks like a tool, and else the content type.
//
// Source: openai/harmony src/encoding.rs parse_header_from_string.
func (e *Encoding) readHeader(parts []part, role Role) (m Message, stray string, repaired int) {
	h := &headerReader{e: e, Message: Message{Role: role}}
	front := strings.Fields(parts[0].text)
	front = h.author(front)
	front = h.recipient(front)
	var rest []string
	for _, p := range parts[1:] {
		text := p.text
		if p.mark == e.channel {
			text = h.channel(text)
		} else {
			text = h.constraint(text)
		}
		rest = append(rest, h.recipient(strings.Fields(text))...)
	}
	h.untagged(front, rest)
	if h.Role == RoleAssistant && h.Channel == "" {
		h.repaired++
	}
	return h.Message, strings.Join(h.stray, " "), h.repaired
}

// author takes the role from the words in front.
func (h *headerReader) author(words []string) []string {
	word := ""
	if len(words) > 0 {
		word = words[0]
	}
	role, name, ok := author(word)
	switch {
	case ok:
		if h.Role != "" { // said twice
			h.repaired++
		}
		h.Role, h.Name = role, name
	case h.Role != "":
		return words
	case word == "" || strings.HasPrefix(word, recipientPrefix):
		h.repaired++
		h.Role = RoleAssistant
		return words
	default:
		h.Role, h.Name = RoleTool, word
	}
	return words[1:]
}

// author splits "user:name". ok is false for a tool, which is named without its
// role.
func author(word string) (role Role, name string, ok bool) {
	before, name, _ := strings.Cut(word, ":")
	role = Role(before)
	return role, name, role.known() && role != RoleTool
}

// recipient takes "to=NAME", and "to= NAME", out of words.
func (h *headerReader) recipient(words []string) (rest []string) {
	for i := 0; i < len(words); i++ {
		name, ok := strings.CutPrefix(words[i], recipientPrefix)
		if !ok {
			rest = append(rest, words[i])
			continue
		}
		if name == "" {
			h.repaired++
			if i++; i == len(words) {
				break
			}
			name = words[i]
		}
		if h.Recipient != "" {
			h.repaired++
			continue
		}
		h.Recipient = name
	}
	return rest
}

// channel takes the channel's name off the text behind its marker. The first of
// several is kept.
func (h *headerReader) channel(text string) (rest string) {
	name, rest := cutChannel(text)
	known := closest(name)
	if h.Channel != "" || name == "" || known != name || text[0] != name[0] {
		h.repaired++
	}
	if h.Channel == "" {
		h.Channel = known
	}
	return rest
}

// cutChannel splits the text behind a channel's marker into the name and what
// follows.
func cutChannel(text string) (name, rest string) {
	text = strings.TrimLeftFunc(text, unicode.IsSpace)
	end := strings.IndexFunc(text, func(r rune) bool { return r == '<' || unicode.IsSpace(r) })
	if end < 0 {
		end = len(text)
	}
	return text[:end], text[end:]
}

// closest returns the channel that a name begins with, "commentary" for
// "commentary?", where no letter of the name is left over, and otherwise the
// name.
func closest(name string) string {
	for _, channel := range []string{ChannelAnalysis, ChannelCommentary, ChannelFinal} {
		rest, ok := strings.CutPrefix(name, channel)
		r, _ := utf8.DecodeRuneInString(rest)
		if ok && rest != "" && r != '_' && r != '-' && !unicode.IsLetter(r) && !unicode.IsNumber(r) {
			return channel
		}
	}
	return name
}

// constraint takes the content type off the text behind <|constrain|>.
func (h *headerReader) constraint(text string) (rest string) {
	words := strings.Fields(text)
	if len(words) == 0 || h.ContentType != "" {
		h.repaired++
		return text
	}
	if !strings.HasPrefix(text, words[0]) {
		h.repaired++
	}
	h.ContentType = constrainMarker + words[0]
	_, rest, _ = strings.Cut(text, words[0])
	return rest
}

// untagged places the words that nothing says the meaning of, those in front of
// the channel and the rest.
func (h *headerReader) untagged(front, rest []string) {
	if h.Channel == "" { // what follows the channel is in front too
		front, rest = nil, append(front, rest...)
	}
	if h.Recipient == "" && h.Channel != ChannelFinal {
		switch {
		case len(front) == 1 && isTool(front[0]):
			h.repaired++
			h.Recipient, front = front[0], nil
		case (len(rest) == 1 || len(rest) == 2 && h.ContentType == "") && isTool(rest[0]):
			h.repaired++
			h.Recipient, rest = rest[0], rest[1:]
		}
	}
	if len(rest) == 1 && h.ContentType == "" {
		h.ContentType, rest = rest[0], nil
	}
	if len(front)+len(rest) > 0 {
		h.repaired++
	}
	if h.stray = front; h.Channel == "" {
		h.stray = rest
	}
}

// isTool says whether a word can be the name of a tool: "namespace.name", or
// the one built-in tool that has no name besides its namespace's.
func isTool(word string) bool {
	namespace, name, ok := strings.Cut(word, ".")
	return word == "python" || ok && namespace != "" && name != "" && !strings.ContainsRune(word, '/')
}

// salvage reads a header that is not followed by a text, but may itself have
// one in it, from which the fields that lead each part are taken. ok says that
// there is anything.
func (e *Encoding) salvage(parts []part, role Role) (m Message, ok bool) {
	m.Role = cmp.Or(role, RoleAssistant)
	var text strings.Builder
	for _, p := range parts {
		rest := p.text
		switch p.mark {
		case e.channel:
			var name string
			if name, rest = cutChannel(rest); m.Channel == "" {
				m.Channel = closest(name)
			}
		case e.constrain:
			trimmed := strings.TrimLeftFunc(rest, unicode.IsSpace)
			rest = strings.TrimLeftFunc(trimmed, unicode.IsLetter)
			if name := trimmed[:len(trimmed)-len(rest)]; name != "" && m.ContentType == "" {
				m.ContentType = constrainMarker + name
			}
		default:
			word, after := cutWord(rest)
			if said, name, ok := author(word); ok && (role == "" || said == role) {
				m.Role, m.Name, rest = said, name, after
			}
		}
		word, after := cutWord(rest)
		if name, ok := strings.CutPrefix(word, recipientPrefix); ok && name != "" && m.Recipient == "" {
			m.Recipient, rest = name, after
		}
		text.WriteString(rest)
	}
	m.Text = strings.TrimLeftFunc(text.String(), unicode.IsSpace)
	return m, m.Channel != "" || m.Recipient != "" || m.ContentType != "" || m.Text != ""
}

// cutWord splits a text behind its first word.
func cutWord(text string) (word, rest string) {
	text = strings.TrimLeftFunc(text, unicode.IsSpace)
	if end := strings.IndexFunc(text, unicode.IsSpace); end >= 0 {
		return text[:end], text[end:]
	}
	return text, ""
}
