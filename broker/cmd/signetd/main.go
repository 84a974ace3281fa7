// Command signetd is Signet's broker.
package main

import (
	"context"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"

	"github.com/signetd/signet/broker/cmd/signetd/command"
)

func main() { os.Exit(start()) }

// start exists so that deferred calls happen before the exit.
func start() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)                               // a second signal ends it at once
	defer runtime.KeepAlive(ballast(debug.SetMemoryLimit(-1))) // a negative limit only asks
	return command.Main(ctx, os.Environ(), os.Args[1:], os.Stdout, os.Stderr)
}
