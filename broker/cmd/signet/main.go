// Command signet is the operators' tool: a client of a broker's HTTP API, and a
// reader and verifier of tokens that needs no broker.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/signetd/signet/broker/cmd/signet/cli"
)

func main() { os.Exit(run()) }

// run exists so that deferred calls happen before the exit.
func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return cli.Run(ctx, cli.Surroundings{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Getenv: os.Getenv}, os.Args[1:])
}
