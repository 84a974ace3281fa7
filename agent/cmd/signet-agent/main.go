// Command signet-agent is a device's side of Signet: it enrolls the device, keeps
// it authenticated, and gives its programs tokens.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/signetd/signet/agent/command"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := command.Main(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
