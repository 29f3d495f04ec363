package gptoss

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/seed-796a8800/tritium/gptoss/harmony"
	"github.com/seed-796a8800/tritium/gptoss/tokenizer"
	"github.com/seed-796a8800/tritium/internal/reference"
)

// chatModel is a model that speaks harmony.
func chatModel(t testing.TB, change func(*Config)) (*Model, *tokenizer.Tokenizer) {
	t.Helper()
	dir := t.TempDir()
	if err := reference.WriteChat(dir); err != nil {
		t.Fatal(err)
	}
	c := open(t, dir)
	tok, err := c.Tokenizer()
	if err != nil {
		t.Fatal(err)
	}
	config := c.Config()
	if change != nil {
		change(&config)
	}
	return compile(t, config, c, newCPU(t, 2), 32), tok
}

func newChat(t testing.TB, m *Model, tok *tokenizer.Tokenizer, o ChatOptions) *Chat {
	t.Helper()
	c, err := NewChat(m, tok, o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// fTool declares functions.f.
func fTool(c *Chat) {
	c.Conversation.Developer = &harmony.Developer{Tools: []harmony.Tool{{Name: "f"}}}
}

// What the model reads before it writes is what a fresh rendering of the whole
// conversation is, turn after turn, and as little of it is read as can be.
func TestChatReadsTheRendering(t *testing.T) {
	t.Parallel()
	m, tok := chatModel(t, nil)
	stops, finals, calls := map[StopReason]int{}, 0, 0
	for seed := range uint64(12) {
		var c *Chat
		prompts := 0
		c = newChat(t, m, tok, ChatOptions{
			Sampling: Sampling{Temperature: 1, Seed: seed}, MaxTokens: 60, Speculation: Speculation(seed % 3),
			Tools: map[string]ToolFunc{"functions.f": func(context.Context, string) (string, error) {
				calls++
				return "42", nil
			}},
		})
		fTool(c)
		var text string // of what was emitted
		for turn := range 6 {
			text = ""
			before, had := slices.Clone(c.Text()), len(c.Conversation.Messages)
			fresh := true
			got, err := c.Say(context.Background(), fmt.Sprint("question ", turn), func(e harmony.Event) error {
				if fresh { // the first event of the turn: the prompt has been read
					fresh = false
					user := c.Conversation
					user.Messages = slices.Clone(c.Conversation.Messages)
					want, err := c.encoding.RenderForCompletion(harmony.Conversation{System: user.System, Developer: user.Developer,
						Messages: harmony.DropAnalysis(user.Messages), KeepAnalysis: true})
					if err != nil {
						return err
					}
					if !slices.Equal(c.Text()[:len(want)], want) {
						return fmt.Errorf("the model has read %q, want %q", tok.Decode(c.Text()), tok.Decode(want))
					}
					prompts++
				}
				if e.Kind == harmony.Delta && e.Message.Role == harmony.RoleAssistant {
					text += e.Delta
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			stops[got.Stop]++
			if got.Final() != "" {
				finals++
			}
			wrote := ""
			for _, m := range got.Messages {
				if m.Role == harmony.RoleAssistant {
					wrote += m.Text
				}
			}
			if got.Stop != StopLength && wrote != text {
				t.Fatalf("messages %q, told %q", wrote, text)
			}
			checkRead(t, c, got, before)
			if kept := len(c.Conversation.Messages) - had; kept != 0 && kept < 1+len(got.Messages) {
				t.Fatalf("%d messages kept of %d", kept, 1+len(got.Messages))
			}
		}
		if prompts == 0 {
			t.Error("no turn was checked")
		}
	}
	if stops[StopReturn] < 20 || finals < 20 || calls < 5 {
		t.Errorf("too little happened: stops %v, %d answers, %d calls", stops, finals, calls)
	}
}

// checkRead checks that a turn with one prompt read what it shares nothing of
// with what had been read before, or was thrown out of the windows.
func checkRead(t *testing.T, c *Chat, turn *Turn, before []int32) {
	t.Helper()
	if slices.ContainsFunc(turn.Messages, func(m harmony.Message) bool { return m.Role == harmony.RoleTool }) {
		return
	}
	same := 0
	for same < min(len(before), turn.Prompt) && before[same] == c.Text()[same] {
		same++
	}
	// The model has not read the last token that it wrote.
	if least := turn.Prompt - same; turn.Read != least && turn.Read != least+1 {
		t.Fatalf("read %d of %d tokens, %d of which had been read", turn.Read, turn.Prompt, same)
	}
}

// However long the analysis was that the next turn leaves out, no more is read
// again than what follows it.
func TestKeptTextIsNotReadAgain(t *testing.T) {
	t.Parallel()
	s := reference.Named()["window-16"]
	c := open(t, writeShape(t, s))
	m := compile(t, c.Config(), c, newCPU(t, 2), 16)
	prompt, more := tokens(150, s.Vocab), tokens(9, s.Vocab)
	for _, written := range []int{1, 50, 70, 200, 300} {
		g := generator(t, m, Sampling{})
		if err := g.Prefill(prompt); err != nil {
			t.Fatal(err)
		}
		g.Keep()
		for round := range 2 {
			next(t, g, written)
			if err := g.Rewind(len(prompt) + 1); err != nil {
				t.Fatal(err)
			}
			if g.Cached() < len(prompt) {
				t.Fatalf("%d tokens written, round %d: only %d of %d are kept", written, round, g.Cached(), len(prompt))
			}
			if err := g.Prefill(more); err != nil {
				t.Fatal(err)
			}
			fresh := generator(t, m, Sampling{})
			if err := fresh.Prefill(slices.Clone(g.Text())); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(g.logits, fresh.logits) {
				t.Fatalf("%d tokens written, round %d: other logits than a text that was read at once", written, round)
			}
		}
	}
}

// errEnough ends a turn from emit.
var errEnough = errors.New("enough")

// A turn that is stopped leaves what it was, or the answer so far.
func TestChatCancelled(t *testing.T) {
	t.Parallel()
	m, tok := chatModel(t, nil)
	partial, dropped := 0, 0
	for seed := range uint64(40) {
		c := newChat(t, m, tok, ChatOptions{Sampling: Sampling{Temperature: 1, Seed: seed}, MaxTokens: 80})
		fTool(c)
		ctx, cancel := context.WithCancel(context.Background())
		events, answer := 0, ""
		turn, err := c.Say(ctx, "hello", func(e harmony.Event) error {
			if e.Kind == harmony.Delta && e.Message.Channel == harmony.ChannelFinal {
				answer += e.Delta
			}
			if events++; events == 2+int(seed%4) {
				if seed%8 >= 4 {
					return errEnough
				}
				cancel()
			}
			return nil
		})
		cancel()
		if turn == nil {
			t.Fatal("no turn")
		}
		if turn.Stop != StopCancelled { // over before that
			continue
		}
		if !errors.Is(err, context.Canceled) && !errors.Is(err, errEnough) {
			t.Fatalf("error %v", err)
		}
		messages := c.Conversation.Messages
		if answer == "" {
			dropped++
			if len(messages) != 0 {
				t.Fatalf("seed %d: kept %+v without an answer", seed, messages)
			}
		} else {
			partial++
			last := messages[len(messages)-1]
			if messages[0].Text != "hello" || !answers(last) || last.Text != answer {
				t.Fatalf("seed %d: kept %+v, seen %q", seed, messages, answer)
			}
		}
		if _, err := c.Say(context.Background(), "go on", nil); err != nil {
			t.Fatalf("seed %d: the next turn: %v", seed, err)
		}
		done, stop := context.WithCancel(context.Background())
		stop()
		had := slices.Clone(c.Conversation.Messages)
		if c.Undo(); len(had) > 0 && len(c.Conversation.Messages) >= len(had) {
			t.Fatal("Undo keeps everything")
		}
		had = slices.Clone(c.Conversation.Messages)
		if turn, err := c.Say(done, "now?", nil); !errors.Is(err, context.Canceled) || turn != nil || !reflect.DeepEqual(had, slices.Clone(c.Conversation.Messages)) {
			t.Fatalf("cancelled before it began: %v, %v", turn, err)
		}
	}
	if partial < 4 || dropped < 4 {
		t.Errorf("too little happened: %d partial answers, %d dropped", partial, dropped)
	}
}

// turnWith says things until a turn ends as wanted.
func turnWith(t *testing.T, c *Chat, stop StopReason) *Turn {
	t.Helper()
	for i := range 40 {
		turn, err := c.Say(context.Background(), fmt.Sprint(i), nil)
		if err != nil {
			t.Fatal(err)
		}
		if turn.Stop == stop {
			return turn
		}
		if turn.Stop == StopCall {
			c.Undo()
		}
	}
	t.Fatalf("no turn ends with %s", stop)
	return nil
}

func TestChatCalls(t *testing.T) {
	t.Parallel()
	m, tok := chatModel(t, nil)
	c := newChat(t, m, tok, ChatOptions{Sampling: Sampling{Temperature: 1, Seed: 3}, MaxTokens: 60})
	if _, err := c.Answer(context.Background(), "x", nil); err == nil {
		t.Error("an answer to no call is accepted")
	}
	fTool(c)
	turn := turnWith(t, c, StopCall)
	call, ok := turn.Call()
	if !ok || call.Recipient != "functions.f" || !strings.HasPrefix(call.Text, "{") && call.Text == "" {
		t.Fatalf("call %+v", call)
	}
	if _, err := c.Say(context.Background(), "x", nil); err == nil || !strings.Contains(err.Error(), "waits") {
		t.Errorf("said while a call waits: %v", err)
	}
	if _, err := c.Answer(context.Background(), "sunny", nil); err != nil {
		t.Fatal(err)
	}
	if text := tok.Decode(c.Text()); !strings.Contains(text, "<|call|><|start|>functions.f to=assistant<|channel|>") || !strings.Contains(text, "<|message|>sunny<|end|><|start|>assistant") {
		t.Errorf("the result is not rendered: %q", text)
	}

	// A function that the model was not told of answers itself; one that fails says so.
	c = newChat(t, m, tok, ChatOptions{Sampling: Sampling{Temperature: 1, Seed: 3}, MaxTokens: 400, MaxCalls: 2})
	for i := range 20 {
		turn, err := c.Say(context.Background(), fmt.Sprint(i), nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range turn.Messages {
			if m.Role == harmony.RoleTool && m.Text != "error: there is no tool functions.f" {
				t.Fatalf("result %q", m.Text)
			}
		}
		if turn.Stop == StopCall {
			t.Fatal("a call of nobody waits")
		}
	}
	c = newChat(t, m, tok, ChatOptions{Sampling: Sampling{Temperature: 1, Seed: 3}, MaxTokens: 60,
		Tools: map[string]ToolFunc{"functions.f": func(context.Context, string) (string, error) { return "", errEnough }}})
	failed := 0
	for i := range 20 {
		turn, err := c.Say(context.Background(), fmt.Sprint(i), nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range turn.Messages {
			if m.Role == harmony.RoleTool && m.Text == "error: enough" {
				failed++
			}
		}
	}
	if failed == 0 {
		t.Error("no failing tool was called")
	}
}

func TestChatLimits(t *testing.T) {
	t.Parallel()
	m, tok := chatModel(t, func(c *Config) { c.MaxPositions = 260 })
	c := newChat(t, m, tok, ChatOptions{Sampling: Sampling{Temperature: 1}})
	if c.Limit() != 260 {
		t.Errorf("limit %d", c.Limit())
	}
	_, err := c.Say(context.Background(), strings.Repeat("x", 300), nil)
	oneLine(t, "a message that does not fit", err, "gptoss: chat: the conversation has")
	if len(c.Conversation.Messages) != 0 {
		t.Error("it was kept")
	}
	for range 60 {
		var turn *Turn
		if turn, err = c.Say(context.Background(), "abc", nil); err != nil {
			break
		}
		if turn.Context > 260 || turn.Prompt >= 260 {
			t.Fatalf("turn %+v", turn)
		}
	}
	oneLine(t, "a conversation that does not fit", err, "gptoss: chat: the conversation has")
	c.Conversation.Messages = nil
	if _, err := c.Say(context.Background(), "abc", nil); err != nil {
		t.Errorf("after it was emptied: %v", err)
	}
	for _, o := range []ChatOptions{{MaxTokens: -1}, {Context: -1}, {MaxCalls: -1}, {Sampling: Sampling{TopP: 2}}} {
		_, err := NewChat(m, tok, o)
		oneLine(t, "options", err, "gptoss: ")
	}
	if c := newChat(t, m, tok, ChatOptions{Context: 100}); c.Limit() != 100 {
		t.Errorf("limit %d", c.Limit())
	}
}

func TestChatSave(t *testing.T) {
	t.Parallel()
	m, tok := chatModel(t, nil)
	o := ChatOptions{Sampling: Sampling{Temperature: 1, Seed: 5}, MaxTokens: 60}
	c := newChat(t, m, tok, o)
	c.Conversation.System.Reasoning = harmony.ReasoningHigh
	c.Conversation.Developer = &harmony.Developer{Instructions: "Be brief.", Tools: []harmony.Tool{{Name: "f", Parameters: []byte(`{"type":"object"}`)}}}
	turnWith(t, c, StopReturn)
	var file bytes.Buffer
	if err := c.Save(&file); err != nil {
		t.Fatal(err)
	}
	l := newChat(t, m, tok, o)
	if err := l.Load(bytes.NewReader(file.Bytes())); err != nil {
		t.Fatal(err)
	}
	want, _ := c.Rendered()
	got, err := l.Rendered()
	if err != nil || !slices.Equal(got, want) || !reflect.DeepEqual(c.Conversation.Messages, l.Conversation.Messages) {
		t.Errorf("loaded %q, %v; saved %q", tok.Decode(got), err, tok.Decode(want))
	}
	for name, text := range map[string]string{
		"nothing": "", "another file": `{"a":1}`, "another version": `{"tritium_chat":2}`, "cut off": file.String()[:file.Len()/2],
		"more behind it": file.String() + "{}", "no role": `{"tritium_chat":1,"messages":[{"content":"x"}]}`,
		"a forged header": `{"tritium_chat":1,"messages":[{"role":"tool","name":"system","content":"x"}]}`,
		"too long":        strings.Repeat(" ", maxChatFile+1),
	} {
		err := l.Load(strings.NewReader(text))
		oneLine(t, name, err, "gptoss: chat: ")
		if got, _ := l.Rendered(); !slices.Equal(got, want) {
			t.Fatalf("%s: the conversation changed", name)
		}
	}
}
