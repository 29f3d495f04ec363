package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/seed-796a8800/tritium/gptoss"
	"github.com/seed-796a8800/tritium/gptoss/harmony"
)

const (
	maxToolFile   = 1 << 20
	maxToolOutput = 64 << 10
	toolTime      = time.Minute
)

// toolbox is the functions that the model may call, and the commands that
// answer.
type toolbox struct {
	declared []harmony.Tool
	commands map[string]string // by the function's name
}

func (t *toolbox) any() bool { return len(t.declared) > 0 }

// toolName is what OpenAI allows a function to be called.
var toolName = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,64}$`)

// readTools reads --tools and --tool.
func readTools(path string, commands []string) (*toolbox, error) {
	t := &toolbox{commands: map[string]string{}}
	if path != "" {
		data, err := readBounded(path, maxToolFile)
		if err == nil {
			t.declared, err = parseTools(data)
		}
		if err != nil {
			return nil, fmt.Errorf("--tools %s: %w", path, err)
		}
	}
	for _, c := range commands {
		name, command, ok := strings.Cut(c, "=")
		if !ok || strings.TrimSpace(command) == "" {
			return nil, usagef("--tool %q: want name=command", c)
		}
		if !slices.ContainsFunc(t.declared, func(d harmony.Tool) bool { return d.Name == name }) {
			return nil, usagef("--tool %s: --tools does not declare a function of this name", name)
		}
		if _, twice := t.commands[name]; twice {
			return nil, usagef("--tool %s is given twice", name)
		}
		t.commands[name] = command
	}
	return t, nil
}

// readBounded reads a regular file of at most limit bytes.
func readBounded(path string, limit int64) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular(): // opening a pipe would wait for a writer
		return nil, errors.New("not a regular file")
	case info.Size() > limit:
		return nil, fmt.Errorf("it has %d bytes, at most %d", info.Size(), limit)
	}
	return os.ReadFile(path)
}

// parseTools reads functions in OpenAI's format: an array of {"type":
// "function", "function": {...}}, or of the functions alone.
func parseTools(data []byte) ([]harmony.Tool, error) {
	type function struct {
		Name        string          `json:"name"`
		Description string          `json:"description"`
		Parameters  json.RawMessage `json:"parameters"`
	}
	var entries []struct {
		Type     string    `json:"type"`
		Function *function `json:"function"`
		function
	}
	if err := json.Unmarshal(data, &entries); err != nil {
		return nil, fmt.Errorf("want a JSON array of functions: %w", err)
	}
	var tools []harmony.Tool
	for i, e := range entries {
		f := e.function
		if e.Function != nil {
			f = *e.Function
		}
		switch {
		case e.Type != "" && e.Type != "function":
			return nil, fmt.Errorf("tool %d: type %q; only functions are known", i, e.Type)
		case !toolName.MatchString(f.Name):
			return nil, fmt.Errorf("tool %d: name %q, want 1 to 64 letters, digits, _ or -", i, f.Name)
		case slices.ContainsFunc(tools, func(t harmony.Tool) bool { return t.Name == f.Name }):
			return nil, fmt.Errorf("tool %d: a second function %q", i, f.Name)
		}
		tools = append(tools, harmony.Tool{Name: f.Name, Description: f.Description, Parameters: f.Parameters})
	}
	return tools, nil
}

// functions are the tools that a command answers for.
func (t *toolbox) functions() map[string]gptoss.ToolFunc {
	functions := map[string]gptoss.ToolFunc{}
	for name, command := range t.commands {
		functions["functions."+name] = func(ctx context.Context, arguments string) (string, error) {
			return runTool(ctx, command, arguments, toolTime)
		}
	}
	return functions
}

// runTool runs a command with the arguments on its stdin and returns what it
// writes to stdout. A command that fails is an error that says how.
func runTool(ctx context.Context, command, arguments string, limit time.Duration) (string, error) {
	bounded, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	shell := []string{"sh", "-c", command}
	if runtime.GOOS == "windows" {
		shell = []string{"cmd", "/C", command}
	}
	cmd := exec.CommandContext(bounded, shell[0], shell[1:]...)
	cmd.Stdin = strings.NewReader(arguments)
	stdout, stderr := &boundedBuffer{limit: maxToolOutput, strict: true}, &boundedBuffer{limit: 1 << 10}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.WaitDelay = time.Second
	ownGroup(cmd)
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return "", ctx.Err()
	case bounded.Err() != nil:
		return "", fmt.Errorf("the command did not end within %s", limit)
	case stdout.over:
		return "", fmt.Errorf("the command wrote more than %d bytes", stdout.limit)
	case errors.As(err, &exit):
		return "", errors.New(strings.TrimSpace(fmt.Sprintf("%s: %s", exit.ProcessState, stderr.text.String())))
	case err != nil && !errors.Is(err, exec.ErrWaitDelay): // the last: it left something running
		return "", err
	}
	return strings.TrimSuffix(strings.ToValidUTF8(stdout.text.String(), "\uFFFD"), "\n"), nil
}

// boundedBuffer keeps the first bytes that are written to it. Where strict, it
// takes no more; otherwise it drops the rest.
type boundedBuffer struct {
	text   bytes.Buffer // a field: io.Copy would find its ReadFrom
	limit  int
	strict bool
	over   bool
}

func (b *boundedBuffer) Write(p []byte) (int, error) {
	room := min(b.limit-b.text.Len(), len(p))
	b.text.Write(p[:room])
	if b.over = b.over || room < len(p); b.over && b.strict {
		return room, io.ErrShortWrite
	}
	return len(p), nil
}
