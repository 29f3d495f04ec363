package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/seed-796a8800/tritium/gptoss"
	"github.com/seed-796a8800/tritium/internal/progress"
	"github.com/spf13/cobra"
)

func newTokenize(a *app) *cobra.Command {
	var decode, special bool
	cmd := &cobra.Command{
		Use:   "tokenize MODEL [TEXT]",
		Short: "Token ids and pieces of a text, or the text of token ids",
		Long: `Tokenize prints the tokens of TEXT, or of what it reads from stdin. The spelling
of a special token, such as <|start|>, is ordinary text unless --special is
given. With --decode, TEXT is token ids separated by spaces or commas.`,
		Example: "  tritium tokenize nano \"The captain's boat\"\n  tritium tokenize nano --decode \"464 1023\"",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 2 {
				return nil
			}
			return wantArgs("MODEL")(cmd, args)
		},
		RunE: func(_ *cobra.Command, args []string) error {
			return withModel(args[0], func(c *gptoss.Checkpoint) error {
				text, err := a.argumentOrInput(args[1:])
				if err != nil {
					return err
				}
				if decode {
					return a.decodeTokens(c, text)
				}
				return a.printTokens(c, text, special)
			}, gptoss.AsStored())
		},
	}
	cmd.Flags().BoolVar(&decode, "decode", false, "TEXT is token ids; print their text")
	cmd.Flags().BoolVar(&special, "special", false, "recognise the spelling of special tokens")
	return cmd
}

func (a *app) printTokens(c *gptoss.Checkpoint, text string, special bool) error {
	tok, err := c.Tokenizer()
	if err != nil {
		return err
	}
	var ids []int32
	if special {
		ids = tok.EncodeSpecial(text)
	} else {
		ids = tok.Encode(text)
	}
	pieces := make([]string, len(ids))
	for i, id := range ids {
		b, _ := tok.Bytes(id)
		pieces[i] = string(b)
	}
	if a.json {
		return a.printJSON(struct {
			Tokens int      `json:"tokens"`
			IDs    []int32  `json:"ids"`
			Pieces []string `json:"pieces"` // a piece that is not UTF-8 is not exact here
		}{len(ids), append([]int32{}, ids...), pieces})
	}
	for i, id := range ids {
		fmt.Fprintf(a.out, "%6d  %s\n", id, strconv.Quote(pieces[i]))
	}
	a.remark("%s tokens, %s bytes", count(len(ids)), count(len(text)))
	return nil
}

func (a *app) decodeTokens(c *gptoss.Checkpoint, text string) error {
	tok, err := c.Tokenizer()
	if err != nil {
		return err
	}
	ids, err := parseIDs(text, c.Config().Vocab)
	if err != nil {
		return err
	}
	decoded := tok.Decode(ids)
	if a.json {
		return a.printJSON(struct {
			Tokens int    `json:"tokens"`
			Text   string `json:"text"`
		}{len(ids), decoded})
	}
	_, err = fmt.Fprintln(a.out, decoded)
	return err
}

// parseIDs reads token ids separated by spaces, line ends or commas; the
// brackets of a list are allowed.
func parseIDs(text string, vocab int) ([]int32, error) {
	fields := strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" \t\r\n,[]", r) })
	ids := make([]int32, len(fields))
	for i, f := range fields {
		id, err := strconv.ParseInt(f, 10, 32)
		if err != nil || id < 0 || int(id) >= vocab {
			return nil, usagef("%q is no token id; want numbers from 0 to %d", f, vocab-1)
		}
		ids[i] = int32(id)
	}
	return ids, nil
}

// argumentOrInput returns the text given as argument, or all of stdin without
// the line end that closes it.
func (a *app) argumentOrInput(args []string) (string, error) {
	if len(args) > 0 {
		return args[0], nil
	}
	if progress.Terminal(a.in) {
		return "", usagef("no text is given; pass it as an argument or through stdin")
	}
	data, err := io.ReadAll(a.in)
	if err != nil {
		return "", fmt.Errorf("stdin: %w", err)
	}
	text := strings.TrimSuffix(string(data), "\n")
	return strings.TrimSuffix(text, "\r"), nil
}
