package cli

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"github.com/signetd/signet/broker/problem"
	"github.com/signetd/signet/broker/strictyaml"
	"github.com/signetd/signet/protocol/cmdline"
	"github.com/signetd/signet/protocol/environ"
	"github.com/signetd/signet/protocol/exit"
	"github.com/signetd/signet/protocol/output"
)

// A usageError is a command line that was parsed and still makes no sense.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }
func (e *usageError) Unwrap() error { return exit.Usage }

func usagef(format string, args ...any) error { return &usageError{fmt.Sprintf(format, args...)} }

// A hintedError says what to do next.
type hintedError struct {
	error
	next string
}

func (e *hintedError) Unwrap() error { return e.error }

// flagError rewords an error of the flags' parser.
func flagError(cmd *cobra.Command, err error) error {
	if word := cmdline.Misspelt(cmd); word != "" {
		return knownCommand(cmd, []string{word})
	}
	text, next := cmdline.FlagError(cmd, err)
	if next == "" {
		return usagef("%s", text)
	}
	return &hintedError{usagef("%s", text), next}
}

// code is what the program exits with for an error of cmd.
func (a *app) code(err error) exit.Code {
	var trouble *troubleError
	var rejected *rejectedToken
	var marked exit.Code
	var wrong fileErrors
	var text strictyaml.Errors
	var refused *problem.Problem
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	switch {
	case !a.started, errors.As(err, &trouble):
		return exit.Usage
	case errors.As(err, &marked):
		return marked
	case errors.As(err, &wrong), errors.As(err, &text):
		return exit.Usage
	case errors.As(err, &rejected), errors.Is(err, errDiffers), errors.Is(err, output.ErrOutput):
		return exit.Failed
	case errors.As(err, &refused):
		return refused.Exit()
	case errors.As(err, &authority), errors.As(err, &host), errors.As(err, &invalid), errors.Is(err, errPin):
		return exit.Refused
	case strings.Contains(err.Error(), "is not reached"):
		return exit.Unavailable
	}
	return exit.Of(err)
}

// hint gives the next step after an error of cmd, if there is an obvious one.
func (a *app) hint(cmd *cobra.Command, err error) string {
	var hinted *hintedError
	var refused *problem.Problem
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	var dial *net.OpError
	var name *net.DNSError
	switch {
	case errors.As(err, &hinted):
		return hinted.next
	case errors.As(err, &refused):
		return a.problemHint(cmd, refused)
	case errors.As(err, &authority):
		return "give the broker's root certificate: --ca FILE or --ca-fingerprint HEX (signetd serve --dev and signetd init print both)"
	case errors.As(err, &host):
		return "use the name that is in the broker's certificate in --server"
	case errors.Is(err, errPin):
		return "compare --ca-fingerprint with what signetd printed at init or serve --dev, or give the root's file with --ca"
	case errors.As(err, &dial) && dial.Op == "dial", errors.As(err, &name):
		return "is signetd running there? check --server or " + environ.Server
	case strings.Contains(err.Error(), "HTTP response to HTTPS client"), errors.Is(err, io.EOF):
		return "that port does not speak HTTPS; the API is where listen.https says, 8443 if nothing else"
	case errors.Is(err, fs.ErrNotExist):
		return "check the path: " + pathOf(err)
	case !a.started:
		return "see " + cmd.CommandPath() + " --help"
	}
	return ""
}

// pathOf is the path that an error of the system's is about.
func pathOf(err error) string {
	if at, ok := errors.AsType[*fs.PathError](err); ok {
		return at.Path
	}
	return "it is not there"
}

func (a *app) problemHint(cmd *cobra.Command, p *problem.Problem) string {
	switch {
	case p.Forcible && cmd.Flags().Lookup("force") != nil:
		return "if that is what you want" + a.on() + ": " + a.again() + " --force"
	case p.Status == http.StatusNotFound && (strings.HasPrefix(p.Detail, "pool ") || cmd.Flag("pool") == nil && cmd.Parent().Name() == "pool"):
		return "signet pool list shows the pools there are, signet pool create NAME makes one"
	case p.Status == http.StatusNotFound:
		if list := a.lister(cmd); list != "" {
			return list + " shows what there is"
		}
	case p.Status == http.StatusConflict && strings.HasSuffix(p.Detail, "already exists"):
		if list := a.lister(cmd); list != "" {
			return "choose another name; " + list + " shows those that are taken"
		}
	case p.Status == http.StatusUnauthorized:
		return "the operator's token is wrong or has expired: signet login --server URL"
	case p.Status == http.StatusForbidden:
		return "signet status shows what you may; an admin makes a token that may more: signet operator create NAME --scope SCOPE --pool POOL"
	case p.Status == http.StatusTooManyRequests:
		return "wait a moment, and log in anew if your token has expired: signet login --server URL"
	case p.Status >= http.StatusInternalServerError:
		return "look for request " + p.RequestID + " in the broker's log"
	}
	return ""
}

// again is the line as it was typed, if it has no secret in it.
func (a *app) again() string {
	if a.flags.Token != "" {
		return "the same line with"
	}
	words := []string{"signet"}
	for _, w := range a.line {
		if strings.ContainsAny(w, " \t\"'$\\*?;&|<>()") {
			w = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
		words = append(words, w)
	}
	return strings.Join(words, " ")
}

// lister is the nearest command that lists what cmd is about, as it is to be typed.
func (a *app) lister(cmd *cobra.Command) string {
	for group := cmd.Parent(); group != nil; group = group.Parent() {
		for _, list := range group.Commands() {
			if list.Name() != "list" || list == cmd {
				continue
			}
			line := list.CommandPath()
			if args := cmd.Flags().Args(); len(strings.Fields(list.Use)) > 1 && len(args) > 0 {
				line += " " + args[0] // the sessions of a device
			}
			if a.pool != "" {
				line += " --pool " + a.pool
			}
			return line
		}
	}
	return ""
}
