//go:build unix

package main

import (
	"os/exec"
	"syscall"
)

// ownGroup gives a command a process group, so that Ctrl-C does not reach it,
// and whatever it started ends with it.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
