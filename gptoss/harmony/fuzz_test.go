package harmony

import (
	"encoding/binary"
	"slices"
	"testing"
)

// FuzzParser: no ids panic, and what holds for all of them holds. Two bytes are
// an id, from some below 0 to some that no token has.
func FuzzParser(f *testing.F) {
	e := small(f)
	for _, text := range []string{
		"", "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Yes.<|return|>",
		"<|start|>assistant to=functions.f<|channel|>commentary <|constrain|>json<|message|>{}<|call|>", "\n<|end|>text<|start|>",
	} {
		var data []byte
		for _, id := range e.tok.EncodeSpecial(text) {
			data = binary.LittleEndian.AppendUint16(data, uint16(id+idOffset))
		}
		f.Add(data, true)
		f.Add(data, false)
	}
	f.Fuzz(func(t *testing.T, data []byte, completion bool) {
		if len(data) > 1<<14 {
			return
		}
		var ids []int32
		for pair := range slices.Chunk(data, 2) {
			if len(pair) == 2 {
				ids = append(ids, int32(binary.LittleEndian.Uint16(pair))%(int32(e.tok.Size())+2*idOffset)-idOffset)
			}
		}
		role := Role("")
		if completion {
			role = RoleAssistant
		}
		checkStream(t, e, role, ids, 1+len(data)%7)
	})
}

const idOffset = 8

// FuzzSchema: no parameters panic, and what is accepted has one declaration.
func FuzzSchema(f *testing.F) {
	for _, schema := range []string{
		"", "null", "[[[", `{"type": "object", "properties": {"a": {"oneOf": [{"type": "string"}], "default": -0, "nullable": true}}, "required": ["a"]}`,
		`{"type": ["string", "integer"], "enum": ["a"]}`, `{"type": "array", "items": {"type": "array"}}`,
	} {
		f.Add([]byte(schema))
	}
	f.Fuzz(func(t *testing.T, schema []byte) {
		tool := Tool{Parameters: schema}
		argument, err := tool.argument()
		if err == nil && argument != "" && argument[:3] != "_: " {
			t.Fatalf("%q", argument)
		}
	})
}

// TestMemory: a model that writes for ever without a header, or messages without
// end, does not fill the memory; what it wrote is the caller's.
func TestMemory(t *testing.T) {
	e := small(t)
	p := e.NewParser(RoleAssistant)
	for range 100_000 {
		p.Write(e.channel)
		p.Write(e.start)
		p.Write(e.constrain)
	}
	for range 10_000 {
		p.Write(e.tok.EncodeSpecial("<|start|>assistant<|channel|>final<|message|>Yes.<|end|>")...)
	}
	if cap(p.header) > 2*maxHeader || p.text.Cap() > 64 || cap(p.events) > 64 {
		t.Errorf("header %d, text %d, events %d", cap(p.header), p.text.Cap(), cap(p.events))
	}
}
