// Command rotate replaces the certificates of Microsoft Entra app registrations
// before they end: as a daemon, and by hand.
//
// This package holds the commands, the wiring, the exit codes and what people
// read; no rule about rotations. main.go and root.go are the way in; service.go
// puts the program together; each other file holds one command, or one noun that
// several share.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // a host or container may have no time zones
)

func main() {
	os.Exit(start())
}

// start runs the program and returns its exit code. The first signal asks for a
// graceful end, the second one is deadly.
func start() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	return run(ctx, environment{
		args: os.Args[1:], stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, getenv: os.Getenv,
	})
}

// environment is what a command gets from the process.
type environment struct {
	args           []string
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) string
}

// run carries out one command line. It is the only function that turns an error
// into text and a code.
func run(ctx context.Context, env environment) int {
	root := newRootCommand(&env) //nolint:contextcheck // commands get ctx from ExecuteContext
	root.SetArgs(env.args)
	root.SetIn(env.stdin)
	root.SetOut(env.stdout)
	root.SetErr(env.stderr)
	return report(env.stderr, root.ExecuteContext(ctx))
}
