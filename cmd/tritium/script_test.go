package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/seed-796a8800/tritium/internal/reference"
	"github.com/seed-796a8800/tritium/testdata"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"tritium": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			e.Values[hubKey{}] = &scriptHub{}
			return nil
		},
		Condition: func(name string) (bool, error) {
			switch name {
			case "mount":
				return canMount(), nil
			case "signals":
				return runtime.GOOS != "windows", nil
			}
			return false, errors.New("unknown condition " + name)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "oneline": oneline, "jsonkeys": jsonkeys, "copynano": copynano,
			"writechat": writechat, "writeindex": writeIndexCommand, "hub": startHub, "hubholds": hubHolds, "hubsent": hubSent,
			"cut": cut, "flip": flip, "poison": poison, "killed": killed, "mount": mount,
		},
	})
}

// exits CODE COMMAND...: the command must end with exactly this exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND [ARG...]")
	}
	code := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		code = exit.ExitCode()
	}
	if want := args[0]; strconv.Itoa(code) != want {
		ts.Fatalf("exit code %d, want %s", code, want)
	}
}

// oneline: stderr is one line that starts with "tritium: ".
func oneline(ts *testscript.TestScript, neg bool, args []string) {
	got := ts.ReadFile("stderr")
	if strings.Count(got, "\n") != 1 || !strings.HasPrefix(got, "tritium: ") || !strings.HasSuffix(got, "\n") {
		ts.Fatalf("stderr is not one line of tritium's: %q", got)
	}
}

// jsonkeys KEY...: stdout is one JSON object and nothing else, with these
// keys; a.b.0.c looks into it.
func jsonkeys(ts *testscript.TestScript, neg bool, args []string) {
	decoder := json.NewDecoder(strings.NewReader(ts.ReadFile("stdout")))
	var object map[string]any
	ts.Check(decoder.Decode(&object))
	if decoder.More() {
		ts.Fatalf("stdout holds more than one JSON object")
	}
	for _, path := range args {
		var at any = object
		for _, key := range strings.Split(path, ".") {
			var ok bool
			switch v := at.(type) {
			case map[string]any:
				at, ok = v[key]
			case []any:
				i, err := strconv.Atoi(key)
				if ok = err == nil && i < len(v); ok {
					at = v[i]
				}
			}
			if !ok {
				ts.Fatalf("the JSON on stdout has no %q (looking for %s)", key, path)
			}
		}
	}
}

// copynano DIR: the built-in model as a directory.
func copynano(ts *testscript.TestScript, neg bool, args []string) {
	dir := ts.MkAbs(args[0])
	ts.Check(os.CopyFS(dir, testdata.Nano()))
}

// writechat DIR: a model that speaks harmony.
func writechat(ts *testscript.TestScript, neg bool, args []string) {
	ts.Check(reference.WriteChat(ts.MkAbs(args[0])))
}

// cut FILE N: drops the last N bytes.
func cut(ts *testscript.TestScript, neg bool, args []string) {
	file := ts.MkAbs(args[0])
	n, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	info, err := os.Stat(file)
	ts.Check(err)
	ts.Check(os.Truncate(file, info.Size()-n))
}

// flip FILE OFFSET XOR: changes one byte; a negative offset is from the end.
func flip(ts *testscript.TestScript, neg bool, args []string) {
	file := ts.MkAbs(args[0])
	data, err := os.ReadFile(file)
	ts.Check(err)
	offset, err := strconv.Atoi(args[1])
	ts.Check(err)
	mask, err := strconv.ParseUint(args[2], 0, 8)
	ts.Check(err)
	if offset < 0 {
		offset += len(data)
	}
	data[offset] ^= byte(mask)
	ts.Check(os.WriteFile(file, data, 0o666))
}

// poison FILE TENSOR: makes the first value of a bf16 tensor infinite.
func poison(ts *testscript.TestScript, neg bool, args []string) {
	file := ts.MkAbs(args[0])
	data, err := os.ReadFile(file)
	ts.Check(err)
	n := binary.LittleEndian.Uint64(data)
	var header map[string]struct {
		Offsets []int `json:"data_offsets"`
	}
	ts.Check(json.Unmarshal(data[8:8+n], &header))
	tensor, ok := header[args[1]]
	if !ok {
		ts.Fatalf("%s has no tensor %s", args[0], args[1])
	}
	binary.LittleEndian.PutUint16(data[8+int(n)+tensor.Offsets[0]:], 0x7f80)
	ts.Check(os.WriteFile(file, data, 0o666))
}

// killed SIGNAL CODE OUT COMMAND...: starts a command that makes the directory
// OUT, sends it the signal as soon as it works on it, and checks its exit code
// (-1: killed by the signal). OUT must not exist afterwards, and nothing of it
// may open as a model. Its stderr is left in the file "log".
func killed(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 4 {
		ts.Fatalf("usage: killed INT|KILL CODE OUT COMMAND [ARG...]")
	}
	signal := map[string]os.Signal{"INT": os.Interrupt, "KILL": syscall.SIGKILL}[args[0]]
	out := ts.MkAbs(args[2])
	var stderr bytes.Buffer
	tritium, err := exec.LookPath(args[3])
	ts.Check(err)
	cmd := exec.Command(tritium, args[4:]...)
	cmd.Dir, cmd.Stderr = filepath.Dir(out), &stderr
	ts.Check(cmd.Start())
	partials := func() []string {
		list, err := filepath.Glob(filepath.Join(filepath.Dir(out), "."+filepath.Base(out)+".partial-*"))
		ts.Check(err)
		return list
	}
	begun := func() bool { // a finished unit has a checksum
		list, err := filepath.Glob(filepath.Join(out+".work", "*.sha256"))
		ts.Check(err)
		return len(list)+len(partials()) > 0
	}
	for deadline := time.Now().Add(20 * time.Second); !begun(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			cmd.Process.Kill()
			cmd.Wait()
			ts.Fatalf("the command did not begin to write %s: %s", out, stderr.String())
		}
	}
	time.Sleep(100 * time.Millisecond) // into the work
	ts.Check(cmd.Process.Signal(signal))
	cmd.Wait()
	ts.Check(os.WriteFile(ts.MkAbs("log"), stderr.Bytes(), 0o666))
	if got := strconv.Itoa(cmd.ProcessState.ExitCode()); got != args[1] {
		ts.Fatalf("exit code %s, want %s: %s", got, args[1], stderr.String())
	}
	if _, err := os.Stat(out); !errors.Is(err, fs.ErrNotExist) {
		ts.Fatalf("%s exists (%v)", out, err)
	}
	rest := partials()
	if args[0] == "INT" && len(rest) > 0 {
		ts.Fatalf("left behind: %q", rest)
	}
	for _, dir := range rest {
		if err := exec.Command(tritium, "inspect", dir).Run(); err == nil {
			ts.Fatalf("%s opens as a model", dir)
		}
	}
}

// mount DIR OPTIONS: a file system in memory, until the script ends.
func mount(ts *testscript.TestScript, neg bool, args []string) {
	dir := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(dir, 0o777))
	ts.Check(mountMemory(dir, args[1]))
	ts.Defer(func() { ts.Check(unmount(dir)) })
}
