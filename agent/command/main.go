// Package command is what signet-agent does: its subcommands, their flags, what
// they print and the device's settings on disk. Tests run it without a process.
//
// Help that was asked for goes to standard output. It prints what happened in one
// line, ends an error with what to do next, and prints no secret but the token that
// it was asked for.
package command

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/agent/keyfile"
	"github.com/signetd/signet/agent/localapi"
	"github.com/signetd/signet/agent/mqttlink"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/build"
)

// Exit codes.
const (
	exitOK    = 0
	exitFail  = 1
	exitUsage = 2
)

const usage = `signet-agent is a device's side of Signet.

  enroll      make this device known to a broker (--broker, --pool, --name, --token)
  key         print the public key, for signet device create --key; makes one if there is none
  run         keep the device authenticated and serve tokens to its programs
  status      where the device stands (-o json)
  check       DNS, clock, TLS, login: ok, or why not
  answer      show the challenge that waits for an answer, or give it one (answer CODE)
  token       print a token (--type access|id, --format jwt|cwt, --audience A)
  credentials what an ordinary MQTT program connects with (credentials mqtt, -o text|json|password)
  bugreport   what a developer needs to know, without secrets
  unenroll    forget key and state on this device
  version

signet-agent COMMAND -h lists a command's flags.
`

// errUsage marks arguments that make no sense.
var errUsage = errors.New("usage")

// A program is one run of it: its streams and what it sees of the machine.
type program struct {
	out, err io.Writer
	getenv   func(string) string
	now      func() time.Time // this machine's clock, which is not relied on
	lasting  bool             // the command goes on until it is told to end
	desk     *desk            // of a lasting one: where challenges wait for an answer
	in       io.Reader
}

// Main runs one subcommand and gives the exit code: 0, 1 for a failure, 2 for
// arguments that make no sense.
func Main(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	p := &program{in: os.Stdin, out: stdout, err: stderr, getenv: os.Getenv, now: time.Now}
	return p.main(ctx, args)
}

func (p *program) main(ctx context.Context, args []string) int {
	if len(args) == 0 {
		fmt.Fprint(p.err, usage)
		return exitUsage
	}
	run := map[string]func(context.Context, []string) error{
		"enroll": p.enroll, "key": p.key, "run": p.run, "status": p.status, "check": p.check, "token": p.token, "answer": p.answer, "credentials": p.credentials,
		"bugreport": p.bugreport, "unenroll": p.unenroll, "version": p.version, "--version": p.version,
	}[args[0]]
	switch {
	case args[0] == "help" || args[0] == "-h" || args[0] == "--help":
		fmt.Fprint(p.out, usage)
		return exitOK
	case run == nil:
		fmt.Fprintf(p.err, "signet-agent: no command %q\n\n%s", args[0], usage)
		return exitUsage
	}
	err := run(ctx, args[1:])
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	}
	fmt.Fprintf(p.err, "signet-agent: %v\n", err)
	if h := hint(err); h != "" {
		fmt.Fprintf(p.err, "hint: %s\n", h)
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
		{errUsage, "signet-agent COMMAND -h lists the flags"},
		{errNotEnrolled, "signet-agent enroll, with a token of the pool's"},
		{errOtherKey, "leave --key away to go on with the key there is, or signet-agent unenroll and enroll with a token that allows a new key"},
		{errNoDevice, "signet-agent enroll makes this device known to a broker; --state or --name picks one of several"},
		{protocol.ErrEnrollToken, "copy the token again from where it was made, or make one: signet enrollment create"},
		{agent.ErrNoAnchor, "give an enrollment token, or the pool's anchor with --anchor"},
		{agent.ErrAnchor, "somebody is in between, or the pool has another anchor; compare it with signet pool show POOL and, if it is the pool's, enroll again with the same key: signet-agent enroll --anchor THUMBPRINT and the flags of the first time"},
		{agent.ErrGrant, "what answered is not the pinned broker; compare the token or anchor with the pool's"},
		{agent.ErrNoSolver, "give a program that answers it with --answer-command, or answer a running agent: signet-agent answer CODE"},
		{agent.ErrOtherDevice, "each device has a folder of its own: take another --state, or signet-agent unenroll first"},
		{keyfile.ErrKeyDamaged, "restore device.key, or signet-agent unenroll and enroll again with a token that allows a new key"},
		{keyfile.ErrDamaged, "signet-agent enroll, with a token, writes a new state for the same key"},
		{keyfile.ErrKeyLost, "restore device.key, or signet-agent unenroll and enroll again with a token that allows a new key"},
		{keyfile.ErrHeld, "a running signet-agent holds it; stop it first"},
		{keyfile.ErrExposed, "chmod go-rwx the path named above"},
		{agent.ErrStale, "renew the broker's certificate, or set the broker's clock: the device goes by the time that it signs"},
		{mqttlink.ErrCertificate, "give the broker's root with --ca FILE; signet-agent check tells more"},
		{mqttlink.ErrURL, "brokers are named like mqtts://broker.example:8883 or wss://broker.example/mqtt"},
		{mqttlink.ErrProxy, "HTTPS_PROXY names the proxy, http://[USER:PASSWORD@]HOST:PORT; NO_PROXY names hosts to which the way is free"},
		{mqttlink.ErrWebSocket, "signetd speaks it at /mqtt of its HTTPS port; a balancer before it must pass the Upgrade on"},
		{localapi.ErrForbidden, "run as the agent's user or in a group given to run --group"},
		{protocol.CodeDisabled, "ask the operator: signet device enable"},
		{protocol.CodeExists, "a device of that name has another key; use a token that allows replacement, or another name"},
		{protocol.CodeTries, "wait as long as it says; a wrong answer more doubles that"},
		{protocol.CodeDenied, "check pool, name and token; the broker's log says why. If it was restored from a backup older than this device: signet-agent enroll, with a new token"},
		{protocol.CodePending, "an operator has yet to approve it: signet device approve"},
		{localapi.ErrAgent, "signet-agent status tells where the device stands"},
		{localapi.ErrPath, "take a shorter one: run --socket PATH"},
		{localapi.ErrNotRunning, "signet-agent run --socket makes the socket"},
		{syscall.EROFS, "the device's folder must be on a disk that can be written: --state FOLDER"},
		{syscall.ENOSPC, "make room where the device's folder is, then try again"},
		{fs.ErrPermission, "run as the user that enrolled the device"},
		{context.DeadlineExceeded, "is the broker up and reachable? signet-agent check tells"},
	} {
		if errors.Is(err, row.is) {
			return row.hint
		}
	}
	if network := net.Error(nil); errors.As(err, &network) {
		return "is the broker up, and --broker its address? signet-agent check tells where the way ends"
	}
	return ""
}

func (p *program) version(_ context.Context, args []string) error {
	if err := p.parse(p.flags("version"), args); err != nil {
		return err
	}
	fmt.Fprintln(p.out, build.Line("signet-agent"))
	return nil
}
