//go:build !unix

package main

import "os/exec"

// ownGroup leaves a command as it is.
func ownGroup(*exec.Cmd) {}
