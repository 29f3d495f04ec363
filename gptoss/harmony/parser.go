package harmony

import (
	"strings"

	"github.com/seed-796a8800/tritium/gptoss/tokenizer"
)

// EventKind is what happened to a message.
type EventKind uint8

// What happens to every message, in this order; Delta any number of times.
const (
	// Begin: the header is complete.
	Begin EventKind = iota
	// Delta: the text goes on.
	Delta
	// End: the message is complete.
	End
)

// Event is a step of a message that a Parser reads.
type Event struct {
	Kind EventKind
	// Message is the message: its header and, at End, its whole Text.
	Message Message
	// Delta is what a Delta adds to the text: never empty, always valid UTF-8. All
	// of a message's, concatenated, are its Text.
	Delta string
}

// maxHeader bounds the tokens of a header. The longest that Render writes for
// names of 64 letters has about 100; a model that writes more than this without
// <|message|> is writing text.
const maxHeader = 256

// Parser reads messages from token ids, one at a time. It never fails, and
// holds no more than a header of bounded length and the text of the message
// that is being read.
//
// What departs from the format is read as well as it can be, and counted:
//
//   - header fields that are doubled, empty, unknown words, or in the wrong
//     place (a recipient is in the right place in front of the channel and
//     behind it); an assistant's message without a channel
//   - text without a header, or outside of messages: it is a message of the
//     assistant without a channel; a header without <|message|>
//   - <|start|> or <|channel|> inside a message: it ends, and another begins
//   - <|endoftext|>, which ends a message as <|end|> does; an end where no
//     message is
//   - other special tokens, which are left out, and ids that no token has, which
//     become U+FFFD
//
// Bytes that are not UTF-8 become U+FFFD and are not counted.
//
// Source: openai/harmony src/encoding.rs StreamableParser, which reads the same
// where nothing is repaired, but for a content type without a recipient: it
// takes that for the recipient.
type Parser struct {
	e        *Encoding
	state    parserState
	role     Role    // whose header it is; "": it has to say so
	header   []int32 // that is being read
	message  Message // whose text is being read
	text     strings.Builder
	decoder  *tokenizer.Decoder
	repaired int
	events   []Event
}

type parserState uint8

const (
	between   parserState = iota // messages
	inHeader                     // between <|start|> and <|message|>
	inContent                    // behind <|message|>
)

// NewParser returns a parser. With a role it begins inside the header of a
// message by it, behind what RenderForCompletion has written; with "" it expects
// <|start|>.
func (e *Encoding) NewParser(role Role) *Parser {
	p := &Parser{e: e, decoder: e.tok.NewDecoder()}
	if role != "" {
		p.open(role)
	}
	return p
}

// Parse returns the messages that ids are, the last of which may be incomplete,
// and how many departures from the format were repaired; see Parser.
func (e *Encoding) Parse(ids []int32, role Role) (messages []Message, repaired int) {
	p := e.NewParser(role)
	collect := func(events []Event) {
		for _, event := range events {
			if event.Kind == End {
				messages = append(messages, event.Message)
			}
		}
	}
	for _, id := range ids {
		collect(p.Write(id))
	}
	collect(p.Close())
	return messages, p.Repaired()
}

// Repaired returns how many departures from the format there were so far.
func (p *Parser) Repaired() int { return p.repaired }

// Write reads the next tokens, <|return|> and <|call|> among them or not, and
// returns what happened. The events are valid until the next call. They do not
// depend on how many tokens a call has.
func (p *Parser) Write(ids ...int32) []Event {
	p.reset()
	for _, id := range ids {
		switch p.state {
		case between:
			p.writeBetween(id)
		case inHeader:
			p.writeHeader(id)
		default:
			p.writeContent(id)
		}
	}
	return p.events
}

// Close ends the message that is being read, where no token did, and returns
// what happened, as Write does. What is written next is another message.
func (p *Parser) Close() []Event {
	p.reset()
	switch p.state {
	case inHeader:
		if p.abandon() {
			p.repaired++
		}
	case inContent:
		p.finish()
	}
	return p.events
}

func (p *Parser) reset() {
	clear(p.events) // lets go of the texts
	p.events = p.events[:0]
}

func (p *Parser) ends(id int32) bool {
	e := p.e
	return id == e.end || id == e.ret || id == e.call || id == e.endOfText
}

// open begins a header.
func (p *Parser) open(role Role) {
	p.state, p.role, p.header = inHeader, role, p.header[:0]
}

func (p *Parser) writeBetween(id int32) {
	switch {
	case id == p.e.start:
		p.open("")
	case p.ends(id):
		p.repaired++
	default: // <|start|> is missing, or more
		p.repaired++
		p.open(RoleAssistant)
		p.writeHeader(id)
	}
}

func (p *Parser) writeHeader(id int32) {
	e := p.e
	switch {
	case id == e.message:
		m, stray, repaired := e.readHeader(p.parts(true), p.role)
		p.repaired += repaired
		if stray != "" {
			p.begin(Message{Role: m.Role, Name: m.Name})
			p.add(stray)
			p.finish()
		}
		p.begin(m)
	case id == e.start:
		p.repaired++
		p.abandon()
		p.open("")
	case p.ends(id):
		p.repaired++
		p.abandon()
	case id != e.channel && id != e.constrain && !e.ordinary(id):
		p.repaired++
	case len(p.header) == maxHeader:
		p.repaired++
		m, _ := e.salvage(p.parts(false), p.role)
		text := m.Text
		m.Text = ""
		p.begin(m)
		p.add(text)
		p.writeContent(id)
	default:
		p.header = append(p.header, id)
	}
}

func (p *Parser) writeContent(id int32) {
	e := p.e
	switch {
	case p.ends(id):
		if id == e.endOfText {
			p.repaired++
		}
		p.finish()
	case id == e.start:
		p.repaired++
		p.finish()
		p.open("")
	case id == e.channel: // of the assistant's, as nobody else's is by itself
		p.repaired++
		p.finish()
		p.open(RoleAssistant)
		p.header = append(p.header, id)
	case e.ordinary(id):
		p.add(valid(p.decoder.Write(id)))
	case e.tok.IsSpecial(id):
		p.repaired++
	default:
		p.repaired++
		p.add(valid(p.decoder.Flush()) + replacement)
	}
}

// ordinary says whether an id is a token of text.
func (e *Encoding) ordinary(id int32) bool {
	_, ok := e.tok.Bytes(id)
	return ok && !e.tok.IsSpecial(id)
}

// parts returns the header that has been read. whole says that no text of it
// follows.
func (p *Parser) parts(whole bool) []part {
	parts := p.e.parts(p.header, p.decoder)
	if whole {
		parts[len(parts)-1].text += valid(p.decoder.Flush())
	}
	return parts
}

// abandon ends a header that no <|message|> follows, and says whether there was
// a message in it.
func (p *Parser) abandon() bool {
	p.state = between
	m, ok := p.e.salvage(p.parts(true), p.role)
	if !ok {
		return false
	}
	text := m.Text
	m.Text = ""
	p.begin(m)
	p.add(text)
	p.finish()
	return true
}

func (p *Parser) begin(m Message) {
	p.state, p.message = inContent, m
	p.events = append(p.events, Event{Kind: Begin, Message: m})
}

func (p *Parser) add(text string) {
	if text == "" {
		return
	}
	p.text.WriteString(text)
	p.events = append(p.events, Event{Kind: Delta, Message: p.message, Delta: text})
}

func (p *Parser) finish() {
	p.add(valid(p.decoder.Flush()))
	m := p.message
	m.Text = p.text.String()
	p.events = append(p.events, Event{Kind: End, Message: m})
	p.state, p.message = between, Message{}
	p.text.Reset()
}
