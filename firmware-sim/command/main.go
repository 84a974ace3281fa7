// Package command is what firmware-sim does: its subcommands, their flags and what
// they print. Tests run it without a process.
//
// The summary goes to standard output, the progress bar to standard error and only to a
// terminal. It never prints a secret.
package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/signetd/signet/agent/mqttlink"
	"github.com/signetd/signet/firmware-sim/fault"
	"github.com/signetd/signet/firmware-sim/fleet"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/build"
	"github.com/signetd/signet/protocol/cmdline"
	"github.com/signetd/signet/protocol/exit"
	"github.com/signetd/signet/protocol/output"
)

// Errors that decide the exit code or the hint.
var (
	errFleet   = errors.New("the fleet is not all in")
	errReach   = fmt.Errorf("%w", errFleet) // because no device reached the broker
	errRoot    = fmt.Errorf("%w", errFleet) // because no device believed its certificate
	errNoFiles = errors.New("too few open files allowed")
)

// A program is one run of it: its streams and what it sees of the machine.
type program struct {
	out, err io.Writer
	getenv   func(string) string
}

// Main runs one subcommand and gives the exit code, one of package exit's: 1 if a device was
// left out without an injected reason.
func Main(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	out := output.To(stdout)
	p := &program{out: out, err: stderr, getenv: os.Getenv}
	root := p.root()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		err = out.Err()
	}
	if err == nil {
		return int(exit.Done)
	}
	stderr = output.Lines(stderr)
	if ctx.Err() != nil && out.Err() == nil {
		fmt.Fprintln(stderr, "firmware-sim: interrupted")
		return int(exit.Interrupted)
	}
	code, next := advice(err)
	fmt.Fprintf(stderr, "firmware-sim: %s\n", output.Words(err))
	if next != "" {
		fmt.Fprintf(stderr, "hint: %s\n", next)
	}
	return int(code)
}

// Command is the whole command with its subcommands, for programs that document it.
func Command() *cobra.Command {
	return (&program{out: io.Discard, err: io.Discard, getenv: func(string) string { return "" }}).root()
}

// root is the command with its subcommands.
func (p *program) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "firmware-sim",
		Short: "A fleet of simulated devices, which misbehave a little on purpose",
		Long: "A fleet of simulated devices, which misbehave a little on purpose: each has its own key,\n" +
			"connection and faults. They enroll and authenticate at a real broker, and are counted.",
		Example: "  firmware-sim run --broker mqtts://localhost:8883 --ca root.pem --token TOKEN --devices 5000 --report report.json\n" +
			"  firmware-sim report report.json",
		SilenceUsage: true, SilenceErrors: true, Version: build.Version(),
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return exit.Usagef("%s needs one of: run, report, version", cmd.Name())
			}
			return exit.Usagef("no command %q; there are run, report and version", args[0])
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetVersionTemplate(build.Line("firmware-sim") + "\n")
	root.SetOut(p.out)
	root.SetErr(p.err)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		text, _ := cmdline.FlagError(cmd, err)
		return exit.Usagef("%s", text)
	})
	defer cmdline.Defaults(root)
	defer func() { cmdline.Help(root, func(text string) error { return exit.Usagef("%s", text) }) }()
	defer cmdline.Completions(root)
	root.AddCommand(p.runCommand(), p.reportCommand(), &cobra.Command{
		Use: "version", Short: "Print the version", Args: p.arguments,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(p.out, build.Line("firmware-sim"))
			return err
		},
	})
	return root
}

// arguments holds a line to the arguments that its command's Use names.
func (p *program) arguments(cmd *cobra.Command, args []string) error {
	want := len(strings.Fields(cmd.Use)) - 1
	switch {
	case len(args) < want:
		return exit.Usagef("firmware-sim %s", cmd.Use)
	case len(args) > want:
		return exit.Usagef("unexpected argument %q", args[want])
	}
	return nil
}

// advice is what an error comes to as an exit code, and what to do next.
func advice(err error) (exit.Code, string) {
	for _, row := range []struct {
		is   error
		code exit.Code
		hint string
	}{
		{protocol.ErrEnrollToken, exit.Usage, "copy the token again from where it was made, or make one: signet enrollment create --uses N; a file with one is named with @ before it: --token @FILE"},
		{fleet.ErrScenario, exit.Usage, "a small one: {\"name\": \"night\", \"steps\": [{\"do\": \"enroll\"}, {\"do\": \"authenticate\", \"times\": 3}]}"},
		{fault.ErrKind, exit.Usage, "--faults off turns them off"},
		{exit.Usage, exit.Usage, "firmware-sim COMMAND -h lists the flags"},
		{fs.ErrNotExist, exit.NotFound, "check the path named above"},
		{errNoFiles, exit.Failed, "raise it for this shell with ulimit -n, or take fewer --devices"},
		{mqttlink.ErrURL, exit.Usage, "brokers are named like mqtts://broker.example:8883 or wss://broker.example/mqtt"},
		{errReach, exit.Unavailable, "is the broker up, and --broker its address?"},
		{errRoot, exit.Refused, "give the broker's root with --ca FILE, and the broker by a name that is in its certificate"},
		{errFleet, exit.Failed, "the broker's log says why devices were refused; --report FILE names the devices"},
	} {
		if errors.Is(err, row.is) {
			return row.code, row.hint
		}
	}
	return exit.Of(err), ""
}
