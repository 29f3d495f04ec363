package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/seed-796a8800/tritium/internal/reference"
	"golang.org/x/sys/unix"
)

// console is a terminal with a program in it.
type console struct {
	t      *testing.T
	master *os.File
	cmd    *exec.Cmd
	mu     sync.Mutex
	seen   bytes.Buffer
	from   int // what was waited for already
}

// openConsole runs a chat in a terminal of its own.
func openConsole(t *testing.T, args ...string) *console {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	unlock := int32(0)
	if _, _, e := syscall.Syscall(syscall.SYS_IOCTL, master.Fd(), unix.TIOCSPTLCK, uintptr(unsafe.Pointer(&unlock))); e != 0 {
		t.Fatal(e)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer slave.Close()
	program, err := exec.LookPath("tritium")
	if err != nil {
		t.Fatal(err)
	}
	c := &console{t: t, master: master, cmd: exec.Command(program, args...)}
	c.cmd.Stdin, c.cmd.Stdout, c.cmd.Stderr = slave, slave, slave
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.cmd.Process.Kill() })
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := master.Read(buf)
			c.mu.Lock()
			c.seen.Write(buf[:n])
			c.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return c
}

// wait waits until something appears behind what was waited for before, and
// returns what is in front of it.
func (c *console) wait(text string) string {
	c.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		c.mu.Lock()
		rest := string(c.seen.Bytes()[c.from:])
		c.mu.Unlock()
		if at := strings.Index(rest, text); at >= 0 {
			c.from += at + len(text)
			return rest[:at]
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("%q does not appear in %q", text, rest)
		}
	}
}

func (c *console) send(keys string) {
	c.t.Helper()
	if _, err := c.master.WriteString(keys); err != nil {
		c.t.Fatal(err)
	}
}

// ended waits for the program's end.
func (c *console) ended() {
	c.t.Helper()
	done := make(chan error, 1)
	go func() { done <- c.cmd.Wait() }()
	select {
	case err := <-done:
		if err != nil {
			c.t.Fatal(err)
		}
	case <-time.After(30 * time.Second):
		c.t.Fatal("the program does not end")
	}
}

// At a terminal Ctrl-C stops the answer and not the program, unless it comes
// twice at the prompt; lines can be edited, recalled, pasted and continued.
func TestChatTerminal(t *testing.T) {
	t.Parallel()
	c := openConsole(t, "chat", "nano", "--temperature", "0", "--date", "none", "--context", "100000", "-n", "90000", "--speculate", "off")
	const interrupt, up, left = "\x03", "\x1b[A", "\x1b[D"
	c.wait("> ")
	c.send("The captain lookd" + left + "e\r") // to which nano's answer has no end
	c.wait("the captain, and the captain")
	c.send(interrupt)
	c.wait("; stopped")
	c.wait("> ")
	c.send("/stats\r")
	c.wait("1 turns: ")
	c.wait("> ")
	c.send("half a line" + interrupt)
	c.wait("once more leaves")
	c.wait("> ")
	c.send(up)
	c.wait("/stats")
	c.send("\r")
	c.wait("1 turns: ")
	c.wait("> ")
	c.send("\x1b[200~/reset\nand more\x1b[201~\r") // a paste is one message
	c.wait("and more")
	c.wait("no command /reset")
	c.wait("> ")
	c.send(interrupt)
	c.wait("once more leaves")
	c.wait("> ")
	c.send(interrupt)
	c.ended()
}

// Ctrl-D leaves, and a model's control characters do nothing to the terminal.
func TestChatLeaves(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "m")
	if err := reference.WriteChat(dir); err != nil {
		t.Fatal(err)
	}
	c := openConsole(t, "chat", dir, "--seed", "5", "--date", "none")
	c.wait("> ")
	c.send("hello\r")
	c.wait(" tokens read at ")
	c.wait("> ")
	c.send("\x04")
	c.ended()
	if got := harmless("a\x1b[2Jb\n\tc\rd\u009b"); got != "a\uFFFD[2Jb\n\tc\uFFFDd\uFFFD" {
		t.Errorf("%q", got)
	}
}
