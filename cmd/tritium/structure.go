package main

import (
	"fmt"

	"github.com/seed-796a8800/tritium/gptoss"
	"github.com/seed-796a8800/tritium/gptoss/constrain"
	"github.com/seed-796a8800/tritium/gptoss/harmony"
	"github.com/seed-796a8800/tritium/gptoss/tokenizer"
	"github.com/spf13/pflag"
)

// structure is what --schema or --grammar holds answers to.
type structure struct {
	schemaFile, grammarFile string

	schema    []byte
	automaton *constrain.Automaton // nil: neither was given
}

// declare adds the flags.
func (s *structure) declare(fl *pflag.FlagSet) {
	fl.StringVar(&s.schemaFile, "schema", "", "answers are JSON that the JSON Schema in `file` allows")
	fl.StringVar(&s.grammarFile, "grammar", "", "answers are texts of the grammar (GBNF) in `file`")
}

// read compiles the file.
func (s *structure) read() error {
	if s.schemaFile != "" && s.grammarFile != "" {
		return usagef("--schema and --grammar exclude each other")
	}
	for _, f := range []struct {
		flag, path string
		compile    func([]byte) (*constrain.Automaton, error)
	}{
		{"--schema", s.schemaFile, func(data []byte) (*constrain.Automaton, error) {
			s.schema = data
			return constrain.Schema(data)
		}},
		{"--grammar", s.grammarFile, func(data []byte) (*constrain.Automaton, error) { return constrain.Grammar(string(data)) }},
	} {
		if f.path == "" {
			continue
		}
		data, err := readBounded(f.path, 1<<20)
		if err == nil {
			s.automaton, err = f.compile(data)
		}
		if err != nil {
			return fmt.Errorf("%s %s: %w", f.flag, f.path, err)
		}
	}
	return nil
}

// constraint is what a chat takes; nil holds it to nothing.
func (s *structure) constraint(tok *tokenizer.Tokenizer) gptoss.Constraint {
	if s.automaton == nil {
		return nil
	}
	return constrain.NewMatcher(s.automaton, constrain.NewVocabulary(tok))
}

// tell tells the model of the schema, as harmony does.
func (s *structure) tell(c *harmony.Conversation) {
	if s.schema == nil {
		return
	}
	if c.Developer == nil {
		c.Developer = &harmony.Developer{}
	}
	c.Developer.ResponseFormats = []harmony.ResponseFormat{{Name: "answer", Schema: s.schema}}
}
