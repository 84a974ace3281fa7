// Command firmware-sim is a fleet of devices in one process, for tests and for
// finding out what a broker can carry.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/signetd/signet/firmware-sim/command"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := command.Main(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
