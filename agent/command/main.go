// Package command is what signet-agent does: its subcommands, their flags, what
// they print and the device's settings on disk. Tests run it without a process.
//
// Help that was asked for goes to standard output. It prints what happened in one
// line, ends an error with what to do next, and prints no secret but the token that
// it was asked for.
package command

import (
	"context"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/agent/keyfile"
	"github.com/signetd/signet/agent/localapi"
	"github.com/signetd/signet/agent/mqttlink"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/output"
)

// Exit codes.
const (
	exitOK    = 0
	exitFail  = 1
	exitUsage = 2
)

// errUsage marks arguments that make no sense.
var errUsage = errors.New("usage")

// A program is one run of it: its streams and what it sees of the machine.
type program struct {
	out, err io.Writer
	declared func(*flag.FlagSet) // of Pages: instead of a command's help
	getenv   func(string) string
	now      func() time.Time // this machine's clock, which is not relied on
	lasting  bool             // the command goes on until it is told to end
	desk     *desk            // of a lasting one: where challenges wait for an answer
	in       io.Reader
}

// Main runs one subcommand and gives the exit code: 0, 1 for a failure, 2 for
// arguments that make no sense. That what it printed went nowhere is a failure.
func Main(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	p := &program{in: os.Stdin, out: stdout, err: stderr, getenv: os.Getenv, now: time.Now}
	return p.main(ctx, args)
}

func (p *program) main(ctx context.Context, args []string) int {
	out := output.To(p.out)
	p.out, p.err = out, output.To(p.err)
	err := p.command(ctx, args)
	if errors.Is(err, flag.ErrHelp) {
		err = nil
	}
	if err == nil {
		err = out.Err()
	}
	if err == nil {
		return exitOK
	}
	if err != errNothing {
		fmt.Fprintf(p.err, "signet-agent: %v\n", err)
		if h := hint(err); h != "" {
			fmt.Fprintf(p.err, "hint: %s\n", h)
		}
	}
	if errors.Is(err, errUsage) {
		return exitUsage
	}
	return exitFail
}

// errNothing is what comes of no arguments at all, after the help that was printed.
var errNothing = fmt.Errorf("%w: no command", errUsage)

func (p *program) command(ctx context.Context, args []string) error {
	if len(args) == 0 {
		fmt.Fprint(p.err, usage())
		return errNothing
	}
	if args[0] == "help" && len(args) > 1 {
		args = []string{args[1], "-h"}
	}
	if slices.Contains([]string{"help", "-h", "-help", "--help"}, args[0]) {
		fmt.Fprint(p.out, usage())
		return nil
	}
	c, ok := named(args[0])
	if !ok {
		return fmt.Errorf("%w: no command %q; signet-agent help lists them", errUsage, args[0])
	}
	args = args[1:]
	if _, second, ok := strings.Cut(c.name, " "); ok {
		switch {
		case len(args) > 0 && args[0] == second:
			args = args[1:]
		case len(args) == 0 || !strings.HasPrefix(args[0], "-h") && !strings.HasPrefix(args[0], "--h"):
			return fmt.Errorf("%w: it is signet-agent %s", errUsage, c.name)
		}
	}
	return c.run(p, ctx, args)
}

// errAudience is wrapped when a token for an audience was not given.
var errAudience = errors.New("not given for the audience")

// errNoPassword is wrapped when an MQTT password was not given.
var errNoPassword = errors.New("no MQTT password")

// hint says what to do next.
func hint(err error) string {
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return "name the broker as its certificate does, or have the operator add that name to signetd's names"
	}
	for _, row := range []struct {
		is   error
		hint string
	}{
		{errUsage, "signet-agent COMMAND -h lists the flags"},
		{output.ErrOutput, "what was printed is not whole: send it where it can be written, then try again"},
		{errNotEnrolled, "signet-agent enroll, with a token of the pool's"},
		{errOtherKey, "leave --key away to go on with the key there is, or signet-agent unenroll and enroll with a token that allows a new key"},
		{errNoHome, "name the device's own folder: --state FOLDER, or SIGNET_STATE"},
		{errOtherName, "name its folder with --state, or leave --name away"},
		{errWhich, "add --name NAME, or --state FOLDER"},
		{errNoDevice, "signet-agent enroll makes this device known to a broker; --state or --name picks one of several"},
		{protocol.ErrEnrollToken, "copy the token again from where it was made, or make one: signet enrollment create"},
		{agent.ErrNoAnchor, "give an enrollment token, or the pool's anchor with --anchor"},
		{agent.ErrAnchor, "somebody is in between, or the pool has another anchor; compare it with signet pool show POOL and, if it is the pool's, enroll again with the same key: signet-agent enroll --anchor THUMBPRINT and the flags of the first time"},
		{agent.ErrOlder, "an older copy of the broker's data was put back, its log tells; there: signetd restore --in-place. Without that: signet-agent enroll --anchor THUMBPRINT, which signet pool show tells, and the flags of the first time"},
		{agent.ErrGrant, "what answered is not the pinned broker; compare the token or anchor with the pool's"},
		{agent.ErrFlow, "log in as a client whose flow asks for what the device has: signet flow create shared --step psk, signet client create shared --flow shared, then enroll --client shared"},
		{agent.ErrNoSolver, "give a program that answers it with --answer-command, or answer a running agent: signet-agent answer CODE"},
		{agent.ErrOtherDevice, "each device has a folder of its own: take another --state, or signet-agent unenroll first"},
		{keyfile.ErrKeyDamaged, "restore device.key, or signet-agent unenroll and enroll again with a token that allows a new key"},
		{keyfile.ErrDamaged, "signet-agent enroll, with a token, writes a new state for the same key"},
		{keyfile.ErrKeyLost, "restore device.key, or signet-agent unenroll and enroll again with a token that allows a new key"},
		{keyfile.ErrHeld, "another signet-agent command, such as enroll or token, is at work there and may wait for the broker; try again when it is done"},
		{keyfile.ErrExposed, "chmod go-rwx the path named above"},
		{agent.ErrStale, "renew the broker's certificate, or set the broker's clock: the device goes by the time that it signs"},
		{mqttlink.ErrPeer, "MQTT over TLS is at mqtts://HOST:8883 unless the operator says otherwise, over WebSocket at wss://HOST:8443/mqtt"},
		{mqttlink.ErrHungUp, "the broker's log says why; it may have too many connections"},
		{mqttlink.ErrCertificate, "give the broker's root with --ca FILE; signet-agent check tells more"},
		{mqttlink.ErrURL, "brokers are named like mqtts://broker.example:8883 or wss://broker.example/mqtt"},
		{mqttlink.ErrProxy, "HTTPS_PROXY names the proxy, http://[USER:PASSWORD@]HOST:PORT; NO_PROXY names hosts to which the way is free"},
		{mqttlink.ErrWebSocket, "signetd speaks it at /mqtt of its HTTPS port; a balancer before it must pass the Upgrade on"},
		{localapi.ErrForbidden, "run as the agent's user or in a group given to run --group"},
		{protocol.CodeDisabled, "ask the operator: signet device enable"},
		{protocol.CodeExists, "a device of that name has another key; use a token that allows replacement, or another name"},
		{protocol.CodeTries, "wait as long as it says; a wrong answer more doubles that"},
		{errAudience, "signet client show tells which audiences the device's client may have"},
		{errNoPassword, "an operator sees it in signet pool show: a pool with an MQTT password life of 0s gives none"},
		{protocol.CodeDenied, "check pool, name and token, and client if one was named; the broker's log says why. Only if the broker was restored from a backup older than this device: signet-agent enroll, with a new token"},
		{protocol.CodePending, "an operator has yet to approve it: signet device approve"},
		{localapi.ErrAgent, "signet-agent status tells where the device stands"},
		{localapi.ErrPath, "take a shorter one: run --socket PATH"},
		{localapi.ErrNotRunning, "signet-agent run makes the socket; if it listens elsewhere, name its --socket"},
		{errRunning, "stop the running signet-agent first"},
		{syscall.EROFS, "the device's folder must be on a disk that can be written, and so must a --socket; an enrolled device needs only the latter"},
		{syscall.ENOSPC, "make room where the device's folder is, then try again"},
		{fs.ErrPermission, "run as the user that enrolled the device"},
		{context.DeadlineExceeded, "is the broker up and reachable? signet-agent check tells"},
	} {
		if errors.Is(err, row.is) {
			return row.hint
		}
	}
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return "check the path: " + path.Path
	}
	if call, ok := errors.AsType[*os.SyscallError](err); ok && call.Syscall == "bind" {
		return "make the socket's folder, or name another --socket"
	}
	_, noName := errors.AsType[*net.DNSError](err)
	if op, ok := errors.AsType[*net.OpError](err); noName || ok && strings.HasPrefix(op.Net, "tcp") {
		return "is the broker up, and --broker its address? signet-agent check tells where the way ends"
	}
	return ""
}
