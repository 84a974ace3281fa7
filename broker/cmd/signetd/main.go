// Command signetd is Signet's broker.
package main

import (
	"context"
	"os"
	"os/signal"
	"runtime"
	"syscall"
)

func main() { os.Exit(start()) }

// start exists so that deferred calls happen before the exit.
func start() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends it at once
	// Never touched, so no memory is behind it. It makes the collector wait for as much
	// garbage again: a small broker's heap is so small that it would run all the time,
	// for 6% of what an authentication costs; in a large one's it is lost.
	ballast := make([]byte, 32<<20)
	defer runtime.KeepAlive(ballast)
	return run(ctx, os.Environ(), os.Args[1:], os.Stdout, os.Stderr)
}
