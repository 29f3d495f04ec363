package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/pelletier/go-toml/v2"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// maxConfig bounds the configuration file; a real one has a few lines.
const maxConfig = 1 << 20

// flagsFromConfig sets every flag that neither the command line nor the
// environment gave from a TOML file:
//
//	threads = 8          # every command that has the flag
//
//	[quantize]           # this command alone
//	group = 64
//
// A file that is not named is looked for in the user's configuration directory
// and need not exist.
func flagsFromConfig(cmd *cobra.Command, path string) error {
	named := path != ""
	if !named {
		dir, err := os.UserConfigDir()
		if err != nil {
			return nil // a user without a home has no configuration
		}
		path = filepath.Join(dir, "tritium", "config.toml")
	}
	config, err := readConfig(path)
	if err != nil {
		if !named && errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return fmt.Errorf("configuration: %w", err)
	}
	if err := applyConfig(cmd, config); err != nil {
		return usagef("configuration %s: %v", path, err)
	}
	return nil
}

func readConfig(path string) (map[string]any, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxConfig {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, maxConfig)
	}
	var config map[string]any
	if err := toml.Unmarshal(data, &config); err != nil {
		var at *toml.DecodeError
		if errors.As(err, &at) {
			row, column := at.Position()
			return nil, usagef("%s:%d:%d: %v", path, row, column, err)
		}
		return nil, usagef("%s: %v", path, err)
	}
	return config, nil
}

// applyConfig checks the whole file, also what is for other commands, so that a
// misspelt name is found at once.
func applyConfig(cmd *cobra.Command, config map[string]any) error {
	commands := map[string]*cobra.Command{}
	for _, c := range cmd.Root().Commands() {
		commands[c.Name()] = c
	}
	common := map[string]any{}
	for name, value := range config {
		table, ok := value.(map[string]any)
		if !ok {
			if !anyHas(commands, name) {
				return fmt.Errorf("%q is no flag of any command", name)
			}
			common[name] = value
			continue
		}
		c := commands[name]
		if c == nil {
			return fmt.Errorf("[%s] is no command", name)
		}
		for key := range table {
			if flagOf(c, key) == nil {
				return fmt.Errorf("[%s] has %q, which is no flag of it", name, key)
			}
		}
	}
	own, _ := config[topLevel(cmd).Name()].(map[string]any)
	for _, values := range []map[string]any{own, common} { // the first to set a flag wins
		for name, value := range values {
			f := flagOf(cmd, name)
			if f == nil || f.Changed {
				continue
			}
			if err := setFlag(cmd.Flags(), f.Name, value); err != nil {
				return err
			}
		}
	}
	return nil
}

// topLevel returns the command below the root that cmd is or belongs to.
func topLevel(cmd *cobra.Command) *cobra.Command {
	for cmd.HasParent() && cmd.Parent().HasParent() {
		cmd = cmd.Parent()
	}
	return cmd
}

func anyHas(commands map[string]*cobra.Command, flag string) bool {
	for _, c := range commands {
		if flagOf(c, flag) != nil {
			return true
		}
	}
	return false
}

// flagOf returns a command's own or inherited flag, nil if it has none of that
// name. What is about the program and not about the work is no configuration.
func flagOf(c *cobra.Command, name string) *pflag.Flag {
	if slices.Contains([]string{"help", "config"}, name) {
		return nil
	}
	if f := c.Flags().Lookup(name); f != nil {
		return f
	}
	return c.InheritedFlags().Lookup(name)
}

// setFlag sets a flag to a value of the file; a list sets it once for each.
func setFlag(flags *pflag.FlagSet, name string, value any) error {
	list, ok := value.([]any)
	if !ok {
		list = []any{value}
	}
	for _, v := range list {
		switch v.(type) {
		case string, bool, int64, float64:
		default:
			return fmt.Errorf("%s is %v: want a string, a number, true or false", name, v)
		}
		if err := flags.Set(name, fmt.Sprint(v)); err != nil {
			return err
		}
	}
	return nil
}
