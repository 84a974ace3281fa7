// Package command is what firmware-sim does: its subcommands, their flags and what
// they print. Tests run it without a process.
//
// The summary goes to standard output, the progress bar to standard error and only to a
// terminal. It never prints a secret.
package command

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/signetd/signet/agent/mqttlink"
	"github.com/signetd/signet/firmware-sim/fault"
	"github.com/signetd/signet/firmware-sim/fleet"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/build"
)

// Exit codes.
const (
	exitOK    = 0
	exitFail  = 1
	exitUsage = 2
)

const usage = `firmware-sim is a fleet of simulated devices, which misbehave a little on purpose.

  run      enrol and authenticate devices (--broker, --ca, --pool, --token, --devices)
  report   print a report that run has written
  version

firmware-sim COMMAND -h lists a command's flags.
`

// Errors that decide the exit code or the hint.
var (
	errUsage   = errors.New("usage")
	errFleet   = errors.New("the fleet is not all in")
	errNoFiles = errors.New("too few open files allowed")
)

// A program is one run of it: its streams and what it sees of the machine.
type program struct {
	out, err io.Writer
	getenv   func(string) string
}

// Main runs one subcommand and gives the exit code: 0, 1 if a device was left out
// without an injected reason or anything else failed, 2 for arguments that make no sense.
func Main(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	p := &program{out: stdout, err: stderr, getenv: os.Getenv}
	if len(args) == 0 {
		fmt.Fprint(stderr, usage)
		return exitUsage
	}
	var err error
	switch args[0] {
	case "run":
		err = p.run(ctx, args[1:])
	case "report":
		err = p.report(args[1:])
	case "version", "--version":
		fmt.Fprintln(stdout, build.Line("firmware-sim"))
	case "help", "-h", "--help":
		fmt.Fprint(stdout, usage)
	default:
		fmt.Fprintf(stderr, "firmware-sim: no command %q\n\n%s", args[0], usage)
		return exitUsage
	}
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return exitOK
	}
	fmt.Fprintf(stderr, "firmware-sim: %v\n", err)
	if h := hint(err); h != "" {
		fmt.Fprintf(stderr, "hint: %s\n", h)
	}
	if errors.Is(err, errUsage) {
		return exitUsage
	}
	return exitFail
}

// hint says what to do next.
func hint(err error) string {
	for _, row := range []struct {
		is   error
		hint string
	}{
		{protocol.ErrEnrolToken, "copy the token again from where it was made, or make one: signet enrollment create --uses N"},
		{fleet.ErrScenario, "a small one: {\"name\": \"night\", \"steps\": [{\"do\": \"enrol\"}, {\"do\": \"authenticate\", \"times\": 3}]}"},
		{fault.ErrKind, "--faults off turns them off"},
		{errUsage, "firmware-sim COMMAND -h lists the flags"},
		{errNoFiles, "raise it for this shell with ulimit -n, or take fewer --devices"},
		{mqttlink.ErrURL, "brokers are named like mqtts://broker.example:8883"},
		{errFleet, "the broker's log says why devices were refused; --report FILE names the devices"},
	} {
		if errors.Is(err, row.is) {
			return row.hint
		}
	}
	return ""
}

// flags makes a flag set whose errors are errUsage.
func (p *program) flags(name string) *flag.FlagSet {
	f := flag.NewFlagSet(name, flag.ContinueOnError)
	f.SetOutput(io.Discard) // Main prints errors
	f.Usage = func() {}
	return f
}

// parse prints help that was asked for to standard output.
func (p *program) parse(f *flag.FlagSet, args []string) error {
	err := f.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprintf(p.out, "firmware-sim %s\n", f.Name())
		f.SetOutput(p.out)
		f.PrintDefaults()
		return err
	case err != nil:
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	return nil
}
