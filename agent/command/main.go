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
	"github.com/signetd/signet/protocol/challenge"
	"github.com/signetd/signet/protocol/exit"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/output"
)

// A program is one run of it: its streams and what it sees of the machine.
type program struct {
	out, err io.Writer
	declared func(*flag.FlagSet) // of Pages: instead of a command's help
	getenv   func(string) string
	now      func() time.Time // this machine's clock, which is not relied on
	of       command          // the one that was typed; empty before it is known
	device   ident.Device     // that it is about, as far as it is known
	view     *keyfile.Dir     // its folder, nil if that is not known or has no settings
	secret   string           // the file of its shared key, "" if it has a key of its own or none is known
	lasting  bool             // the command goes on until it is told to end
	desk     *desk            // of a lasting one: where challenges wait for an answer
	in       io.Reader
}

// Main runs one subcommand and gives the exit code, one of package exit's. That what it
// printed went nowhere is a failure.
func Main(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	p := &program{in: os.Stdin, out: stdout, err: stderr, getenv: os.Getenv, now: time.Now}
	return p.main(ctx, args)
}

func (p *program) main(ctx context.Context, args []string) int {
	out := output.To(p.out)
	p.out, p.err = out, output.Lines(p.err)
	err := p.command(ctx, args)
	if errors.Is(err, flag.ErrHelp) {
		err = nil
	}
	if err == nil {
		err = out.Err()
	}
	if err == nil {
		return int(exit.Done)
	}
	if ctx.Err() != nil && out.Err() == nil {
		fmt.Fprintln(p.err, "signet-agent: interrupted")
		return int(exit.Interrupted)
	}
	code, next := p.advice(err)
	if err != errNothing {
		fmt.Fprintf(p.err, "signet-agent: %s\n", output.Words(err))
		if next != "" {
			fmt.Fprintf(p.err, "hint: %s\n", next)
		}
	}
	return int(code)
}

// errNothing is what comes of no arguments at all, after the help that was printed.
var errNothing = exit.Usagef("no command")

func (p *program) command(ctx context.Context, args []string) error {
	if len(args) == 0 {
		fmt.Fprint(p.err, usage())
		return errNothing
	}
	word, rest, err := firstWord(args)
	if err != nil {
		return err
	}
	switch {
	case word == "help" && len(rest) > 0 && !strings.HasPrefix(rest[0], "-"):
		word, rest = rest[0], []string{"-h"}
	case word == "" && slices.ContainsFunc(rest, isHelp), word == "help":
		fmt.Fprint(p.out, usage())
		return nil
	case word == "":
		return exit.Usagef("no command, only flags; signet-agent help lists the commands")
	}
	c, ok := named(word)
	if !ok {
		if near, ok := nearest(word); ok {
			return exit.Usagef("no command %q; did you mean signet-agent %s?", word, near)
		}
		return exit.Usagef("no command %q; signet-agent help lists them", word)
	}
	p.of = c
	return c.run(p, ctx, rest)
}

// errAudience is wrapped when a token for an audience was not given.
var errAudience = errors.New("not given for the audience")

// errNoPassword is wrapped when an MQTT password was not given.
var errNoPassword = errors.New("no MQTT password")

// advice is what an error comes to as an exit code, and what to do next.
func (p *program) advice(err error) (exit.Code, string) {
	code := exit.Of(err)
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return exit.Refused, "name the broker as its certificate does, or have the operator add that name to signetd's names"
	}
	if flow, ok := errors.AsType[*agent.FlowError](err); ok {
		return exit.Refused, flowHint(flow)
	}
	if errors.Is(err, protocol.CodeDenied) && p.otherSecret() { // also if a running agent says the former only
		return exit.Refused, p.secretHint()
	}
	for _, row := range []struct {
		is   error
		code exit.Code // Done: what it is without this row
		hint string
	}{
		{errMethod, exit.Usage, "the first word is the kind: signet-agent credentials mqtt"},
		{errPin, exit.Usage, "signetd prints it at serve --dev and init; of a root's file: openssl x509 -in root.pem -noout -fingerprint -sha256"},
		{errThumbprint, exit.Usage, "signet pool show POOL tells it: ANCHOR there, anchorThumbprint in its JSON"},
		{errOtherRoot, exit.Usage, "give one of --ca and --ca-fingerprint, or those of one broker: signetd prints the fingerprint at serve --dev and init"},
		{errAnswerMissing, exit.NotFound, "name one program, by its path, with --answer-command; arguments it can have in a script of its own"},
		{errAnswerMode, exit.Failed, "chmod +x the path named above, or name another --answer-command"},
		{errAnswerSlow, exit.Unavailable, "have it answer sooner, or answer a running agent, which waits: leave --answer-command away and use signet-agent answer CODE"},
		{errAnswerFailed, exit.Failed, "run it by hand: the kind of the challenge is its argument, the parameters come as JSON on its standard input"},
		{errNoToken, exit.Refused, "without a token the operator registers the device first: signet device create NAME --key FILE (signet-agent key prints it) or, of a shared key, --psk-file FILE on both sides"},
		{exit.Usage, exit.Usage, p.flagsHint()},
		{output.ErrOutput, exit.Failed, "what was printed is not whole: send it where it can be written, then try again"},
		{errNotEnrolled, exit.NotFound, "signet-agent enroll, with a token of the pool's"},
		{errOtherKey, exit.Conflict, "leave --key away to go on with the key there is, or signet-agent unenroll and enroll with a token that allows a new key"},
		{errNoHome, exit.Usage, "name the device's own folder: --state FOLDER, or SIGNET_STATE"},
		{errOtherName, exit.Conflict, "name its folder with --state, or leave --name away"},
		{errWhich, exit.Usage, "add --name NAME, or --state FOLDER"},
		{errNoSettings, exit.NotFound, "put agent.json back from the same copy as the state beside it; or signet-agent enroll, with the flags of the first time, which keeps the key"},
		{errNoDevice, exit.NotFound, "signet-agent enroll makes this device known to a broker; --state or --name picks one of several"},
		{protocol.ErrEnrollToken, exit.Usage, "copy the token again from where it was made, or make one: signet enrollment create; a file with one is named with @ before it: --token @FILE"},
		{agent.ErrNoAnchor, exit.Usage, "give an enrollment token, or the pool's anchor with --anchor"},
		{agent.ErrAnchor, exit.Refused, "somebody is in between, or the pool has another anchor; compare it with signet pool show POOL and, if it is the pool's, enroll again with the same key: signet-agent enroll --anchor THUMBPRINT and the flags of the first time"},
		{agent.ErrOlder, exit.Refused, "an older copy of the broker's data was put back, its log tells; there: signetd restore --in-place. Without that: signet-agent enroll --anchor THUMBPRINT, which signet pool show tells, and the flags of the first time"},
		{agent.ErrGrant, exit.Refused, "what answered is not the pinned broker; compare the token or anchor with the pool's"},
		{agent.ErrNoSolver, exit.NotFound, "give a program that answers it with --answer-command, or answer a running agent: signet-agent answer CODE"},
		{agent.ErrOtherDevice, exit.Conflict, "each device has a folder of its own: take another --state, or signet-agent unenroll first"},
		{agent.ErrOtherSecret, exit.Refused, p.secretHint()},
		{keyfile.ErrKeyDamaged, exit.Failed, "restore device.key, or signet-agent unenroll and enroll again with a token that allows a new key"},
		{keyfile.ErrSharedKey, exit.Usage, "the file holds 32 to 64 bytes in hex or base64 and nothing else, the same as the operator registered"},
		{keyfile.ErrDamaged, exit.Failed, "signet-agent enroll, with a token, writes a new state for the same key"},
		{keyfile.ErrKeyLost, exit.NotFound, "restore device.key, or signet-agent unenroll and enroll again with a token that allows a new key"},
		{keyfile.ErrHeld, exit.Conflict, "another signet-agent command, such as enroll or token, is at work there and may wait for the broker; try again when it is done"},
		{keyfile.ErrNoFolder, exit.Usage, "name a folder, which need not be there yet, with --state"},
		{keyfile.ErrExposed, exit.Failed, "chmod go-rwx the path named above"},
		{agent.ErrStale, exit.Refused, "renew the broker's certificate, or set the broker's clock: the device goes by the time that it signs"},
		{mqttlink.ErrPeer, exit.Unavailable, "MQTT over TLS is at mqtts://HOST:8883 unless the operator says otherwise, over WebSocket at wss://HOST:8443/mqtt"},
		{mqttlink.ErrHungUp, exit.Unavailable, "the broker's log says why; it may have too many connections"},
		{mqttlink.ErrPin, exit.Refused, "compare --ca-fingerprint with what signetd printed at init or serve --dev, or give the root's file with --ca; signet-agent check tells more"},
		{mqttlink.ErrCertificate, exit.Refused, "give the broker's root with --ca FILE; signet-agent check tells more"},
		{mqttlink.ErrURL, exit.Usage, "brokers are named like mqtts://broker.example:8883 or wss://broker.example/mqtt"},
		{mqttlink.ErrProxy, exit.Unavailable, "HTTPS_PROXY names the proxy, http://[USER:PASSWORD@]HOST:PORT; NO_PROXY names hosts to which the way is free"},
		{mqttlink.ErrWebSocket, exit.Unavailable, "signetd speaks it at /mqtt of its HTTPS port; a balancer before it must pass the Upgrade on"},
		{localapi.ErrForbidden, exit.Refused, "run as the agent's user or in a group given to run --group"},
		{protocol.CodeDisabled, exit.Refused, "ask the operator: " + p.operators("enable")},
		{protocol.CodeExists, exit.Conflict, "a device of that name has another key; use a token that allows replacement, or another name"},
		{protocol.CodeTries, exit.Refused, "wait as long as it says; a wrong answer more doubles that"},
		{protocol.CodeFlow, exit.Refused, flowHint(&agent.FlowError{Has: challenge.Key})},
		{errAudience, exit.Refused, "signet client show tells which audiences the device's client may have"},
		{errNoPassword, exit.Refused, "an operator sees it in signet pool show: a pool with an MQTT password life of 0s gives none"},
		{protocol.CodeDenied, exit.Refused, "check pool, name and token, and client if one was named; the broker's log says why. Only if the broker was restored from a backup older than this device: signet-agent enroll, with a new token"},
		{protocol.CodePending, exit.Pending, "an operator has yet to approve it: " + p.operators("approve") + "; signet-agent run comes back by itself then, and so does enroll --wait"},
		{protocol.CodeBusy, exit.Unavailable, "try again in as long as it says: the broker has much to do, or this device or its network has asked too often; the broker's log says which"},
		{errNoChallenge, exit.NotFound, "signet-agent status tells where the device stands"},
		{exit.Unavailable, exit.Unavailable, "signet-agent status tells where the device stands, signet-agent check where the way ends"},
		{localapi.ErrAgent, exit.Done, "signet-agent status tells where the device stands"},
		{localapi.ErrPath, exit.Usage, "take a shorter one: run --socket PATH"},
		{localapi.ErrListens, exit.Conflict, "stop the running signet-agent first, or name another --socket"},
		{localapi.ErrNotRunning, exit.NotFound, "signet-agent run makes the socket; if it listens elsewhere, name its --socket"},
		{errRunning, exit.Conflict, "stop the running signet-agent first"},
		{syscall.EROFS, exit.Failed, "the device's folder must be on a disk that can be written, and so must a --socket; an enrolled device needs only the latter"},
		{syscall.ENOSPC, exit.Failed, "make room where the device's folder is, then try again"},
		{fs.ErrPermission, exit.Failed, "this user may not use the path named above; the device's own folder is for the user that enrolled it"},
		{context.DeadlineExceeded, exit.Unavailable, "is the broker up and reachable? signet-agent check tells"},
	} {
		if errors.Is(err, row.is) {
			if row.code != exit.Done {
				code = row.code
			}
			return code, row.hint
		}
	}
	return code, pathHint(err)
}

// otherSecret tells whether the device's folder has another key than it was let in with.
func (p *program) otherSecret() bool {
	if p.view == nil {
		return false
	}
	ctx := context.Background() // it reads three files
	c, err := readSettings(p.view)
	if err != nil {
		return false
	}
	r, err := p.view.Load(ctx)
	return err == nil && errors.Is(c.checkKey(ctx, p.view, &r), agent.ErrOtherSecret)
}

// secretHint is what to do about a key that the broker does not take for the device's.
func (p *program) secretHint() string {
	of := "this device"
	if !p.device.IsZero() {
		of = p.device.String()
	}
	if p.secret != "" {
		return "put the shared key of " + of + " back into " + p.secret + "; or have an operator register the one that is there, and enroll again"
	}
	return "put back the device.key of " + of + ", from the same copy as the state beside it; if it is to have the key that is there: signet-agent enroll, with a token that allows a new key"
}

// operators is what an operator types about the device, as far as it is known.
func (p *program) operators(verb string) string {
	if p.device.IsZero() {
		return "signet device " + verb
	}
	return operatorsCommand(verb, p.device)
}

// operatorsCommand is what an operator types about a device.
func operatorsCommand(verb string, d ident.Device) string {
	return "signet device " + verb + " " + d.Name.String() + " --pool " + d.Pool.String()
}

// flagsHint says where the flags of the command that was meant are listed.
func (p *program) flagsHint() string {
	if p.of.name == "" {
		return "signet-agent COMMAND -h lists the flags"
	}
	return "signet-agent " + p.of.name + " -h lists the flags"
}

// flowHint is what to do about a flow that asks for another secret than the device has.
func flowHint(e *agent.FlowError) string {
	if e.Has == challenge.PSK {
		return "log in as a client whose flow asks for what the device has: signet flow create shared --step psk, signet client create shared --flow shared, then enroll --client shared"
	}
	return "log in as a client whose flow asks for what the device has: signet flow create own --step key, signet client create own --flow own, then enroll --client own; or enroll with the shared key that the flow asks for: --psk-file FILE"
}

// pathHint is for errors that only the system has words for.
func pathHint(err error) string {
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
