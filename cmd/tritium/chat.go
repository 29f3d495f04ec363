package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/seed-796a8800/tritium/gptoss"
	"github.com/seed-796a8800/tritium/gptoss/harmony"
	"github.com/seed-796a8800/tritium/internal/progress"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// chatFlags are the flags of `chat`.
type chatFlags struct {
	prompt            string
	asked             bool // --prompt was given
	system, developer string
	identified        bool // --system was given
	reasoning, date   string
	load              string
	toolFile          string
	toolCommands      []string
	showAnalysis      bool
	maxTokens         int
	context           int
	speculate         string
	inputs            activations
	cache             string
	sampling          samplingFlags
	structure         structure
}

func newChat(a *app) *cobra.Command {
	var f chatFlags
	cmd := &cobra.Command{
		Use:   "chat MODEL",
		Short: "Talk with a model",
		Long: `Chat holds a conversation in harmony, the format that GPT-OSS was trained on.
What has been read is kept: a turn reads what is new. Answers go to stdout; what
else there is, thoughts, calls and speeds, to stderr.

On a terminal, lines can be edited and recalled, Ctrl-C stops the answer (twice
at the prompt: the program), a line that ends in \ goes on in the next, and so do
all between """ and """. /help names the commands. If stdin is no terminal every
line of it is a message. With -p there is one message; "-p -" takes it from all
of stdin.

--tools FILE tells the model of functions: a JSON array in OpenAI's format. What
it calls is shown, and answered by you or by the command of --tool name=command,
which finds the argument on stdin, writes the result to stdout, and has a minute
and 64 KiB for it.

--schema FILE and --grammar FILE hold answers, and nothing else, to a structure:
the model cannot end one that is not complete. It is told of a schema.`,
		Example: "  tritium chat MODEL\n" +
			"  tritium chat MODEL -p \"Who wrote The Deerslayer?\"\n" +
			"  tritium chat MODEL --tools tools.json --tool weather=./weather.sh\n" +
			"  tritium chat MODEL --schema city.json -p \"Describe Paris.\"",
		Args: wantArgs("MODEL"),
		RunE: func(cmd *cobra.Command, args []string) error {
			f.asked, f.identified = cmd.Flags().Changed("prompt"), cmd.Flags().Changed("system")
			if err := f.check(a); err != nil {
				return err
			}
			if err := f.structure.read(); err != nil {
				return err
			}
			tools, err := readTools(f.toolFile, f.toolCommands)
			if err != nil {
				return err
			}
			return withModel(args[0], func(c *gptoss.Checkpoint) error {
				return a.chat(cmd.Context(), c, &f, tools, cmd.Flags().Changed)
			}, append(f.inputs.options(), gptoss.WithCache(cacheOf(f.cache)))...)
		},
	}
	f.declare(cmd.Flags())
	return cmd
}

// declare adds the flags.
func (f *chatFlags) declare(fl *pflag.FlagSet) {
	fl.SortFlags = false
	fl.StringVarP(&f.prompt, "prompt", "p", "", "the only message, as `text`; - takes it from stdin (default: a conversation)")
	fl.Var(newOptional(&f.reasoning, "low", "medium", "high"), "reasoning", "how much to think (default medium)")
	fl.StringVar(&f.system, "system", "", "`text` that tells the model who it is (default: ChatGPT, as it was trained)")
	fl.StringVar(&f.developer, "developer", "", "your instructions, a `text` that goes before what the user says")
	fl.StringVar(&f.date, "date", "today", "the `day` that the model is told it is; none for no day")
	fl.BoolVar(&f.showAnalysis, "show-analysis", false, "show what the model thinks")
	fl.StringVar(&f.load, "load", "", "begin with the conversation in `file`, which /save wrote")
	fl.StringVar(&f.toolFile, "tools", "", "`file` of functions that the model may call")
	fl.StringArrayVar(&f.toolCommands, "tool", nil, "answer calls of a function by a command, as `name=command`; may be repeated")
	f.structure.declare(fl)
	fl.IntVarP(&f.maxTokens, "max-tokens", "n", 4096, "end an answer after so many tokens, thoughts included")
	fl.IntVar(&f.context, "context", 0, "end the conversation at so many tokens (default: the model's)")
	f.sampling.declare(fl)
	fl.Var(newChoice(&f.speculate, "auto", "off", "on"), "speculate", "guess repeated tokens: where it pays, never, wherever possible")
	f.inputs.declare(fl)
	cacheFlag(fl, &f.cache)
}

// check refuses what makes no sense.
func (f *chatFlags) check(a *app) error {
	switch {
	case a.json && !f.asked:
		return usagef("--json is for one message; give it with -p")
	case f.maxTokens < 1:
		return usagef("--max-tokens is %d, want at least 1", f.maxTokens)
	case f.context < 0:
		return usagef("--context is %d, want 1 or more", f.context)
	case f.load != "" && (f.identified || f.developer != "" || f.toolFile != ""):
		return usagef("--load brings its own system message, instructions and tools; leave --system, --developer and --tools out")
	}
	if f.date != "today" && f.date != "none" {
		if _, err := time.Parse(time.DateOnly, f.date); err != nil {
			return usagef("--date is %q, want YYYY-MM-DD, today or none", f.date)
		}
	}
	if f.prompt == "" && f.asked {
		return usagef("the message is empty")
	}
	return nil
}

// chat holds a conversation with a model.
func (a *app) chat(ctx context.Context, c *gptoss.Checkpoint, f *chatFlags, tools *toolbox, given func(string) bool) error {
	tok, err := c.Tokenizer()
	if err != nil {
		return err
	}
	g, err := c.GenerationConfig()
	if err != nil {
		return err
	}
	s := f.sampling.choose(g.Sampling, given)
	s.Seed = a.seed
	if err := s.Check(); err != nil {
		return usageError{err}
	}
	speculate, err := gptoss.ParseSpeculation(f.speculate)
	if err != nil {
		return usageError{err}
	}
	cpu := a.cpu()
	defer cpu.Close()
	m, err := c.Compile(cpu, prefillRows)
	if err != nil {
		return err
	}
	chat, err := gptoss.NewChat(m, tok, gptoss.ChatOptions{Sampling: s, Speculation: speculate, Stop: g.Stop,
		MaxTokens: f.maxTokens, Context: f.context, Tools: tools.functions(), Constraint: f.structure.constraint(tok)})
	if err != nil {
		return err
	}
	if err := f.introduce(chat, tools); err != nil {
		return err
	}
	session := &chatSession{app: a, chat: chat, flags: f, tools: tools, printer: newChatPrinter(a, f.showAnalysis)}
	if f.asked {
		return session.once(ctx)
	}
	return session.converse(ctx)
}

// introduce fills the messages in front of the first one of the user.
func (f *chatFlags) introduce(chat *gptoss.Chat, tools *toolbox) error {
	if f.load != "" {
		if err := loadChat(chat, f.load); err != nil {
			return fmt.Errorf("--load: %w", err)
		}
	} else {
		f.identify(chat.Conversation.System)
		if f.developer != "" || tools.any() {
			chat.Conversation.Developer = &harmony.Developer{Instructions: f.developer, Tools: tools.declared}
		}
	}
	f.structure.tell(&chat.Conversation)
	if s := chat.Conversation.System; s != nil && f.reasoning != "" {
		s.Reasoning = harmony.Reasoning(f.reasoning)
	}
	return nil
}

// identify fills the system message of a new conversation.
func (f *chatFlags) identify(s *harmony.System) {
	if f.identified {
		s.Identity = f.system
	}
	switch f.date {
	case "today":
		s.CurrentDate = time.Now().Format(time.DateOnly)
	case "none":
	default:
		s.CurrentDate = f.date
	}
}

// loadChat replaces the conversation by that in a file.
func loadChat(chat *gptoss.Chat, path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() { // opening a pipe would wait for a writer
		return fmt.Errorf("%s: not a regular file", path)
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := chat.Load(file); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// once has the model answer one message.
func (s *chatSession) once(ctx context.Context) error {
	text := s.flags.prompt
	if text == "-" {
		if progress.Terminal(s.app.in) {
			return usagef("-p - takes the message from stdin, which is a terminal")
		}
		var err error
		if text, err = s.app.argumentOrInput(nil); err != nil {
			return err
		}
		if text == "" {
			return usagef("the message is empty")
		}
	}
	if s.app.json {
		s.printer.text, s.printer.notes = io.Discard, io.Discard
	}
	turn, err := s.chat.Say(ctx, text, s.printer.event)
	s.printer.close()
	if err != nil {
		return err
	}
	if call, ok := turn.Call(); ok && !s.app.json {
		s.app.remark("%s waits for an answer; --tool %s=COMMAND would give one", call.Recipient, functionName(call.Recipient))
	}
	if s.app.json {
		return s.app.printJSON(newChatReport(s.chat, turn))
	}
	s.app.remark("%s", closing(s.chat, turn))
	return nil
}

// chatReport is what `chat --json` prints.
type chatReport struct {
	Messages   []reportedMessage `json:"messages"`
	Final      string            `json:"final"`
	StopReason gptoss.StopReason `json:"stop_reason"`
	Prompt     int               `json:"prompt_tokens"`
	Read       int               `json:"read_tokens"`
	Written    int               `json:"written_tokens"`
	Context    int               `json:"context_tokens"`
	Limit      int               `json:"context_limit"`
	Repaired   int               `json:"repaired"`
	Prefill    float64           `json:"prefill_tok_s"`
	Decode     float64           `json:"decode_tok_s"`
	Drafted    int               `json:"drafted_tokens"`
	Accepted   int               `json:"accepted_tokens"`
}

type reportedMessage struct {
	Role        harmony.Role `json:"role"`
	Name        string       `json:"name,omitempty"`
	Recipient   string       `json:"recipient,omitempty"`
	Channel     string       `json:"channel,omitempty"`
	ContentType string       `json:"content_type,omitempty"`
	Content     string       `json:"content"`
}

func newChatReport(chat *gptoss.Chat, t *gptoss.Turn) chatReport {
	r := chatReport{Messages: []reportedMessage{}, Final: t.Final(), StopReason: t.Stop, Prompt: t.Prompt, Read: t.Read, Written: t.Written,
		Context: t.Context, Limit: chat.Limit(), Repaired: t.Repaired, Drafted: t.Drafted, Accepted: t.Accepted,
		Prefill: rateOf(t.Read, t.ReadTime), Decode: rateOf(t.Written, t.WriteTime)}
	for _, m := range t.Messages {
		r.Messages = append(r.Messages, reportedMessage{m.Role, m.Name, m.Recipient, m.Channel, m.ContentType, m.Text})
	}
	return r
}

func rateOf(tokens int, d time.Duration) float64 {
	if d <= 0 {
		return 0
	}
	return float64(tokens) / d.Seconds()
}

// interrupted says whether a turn failed because it was stopped.
func interrupted(err error) bool { return errors.Is(err, context.Canceled) }

// quitAfter is how many times Ctrl-C leaves at the prompt.
const quitAfter = 2

// functionName is a recipient without its namespace.
func functionName(recipient string) string { return strings.TrimPrefix(recipient, "functions.") }
