package cli

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"

	"github.com/signetd/signet/broker/problem"
	"github.com/signetd/signet/protocol/environ"
	"github.com/spf13/cobra"
)

// A usageError is a command line that was parsed and still makes no sense.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

func usagef(format string, args ...any) error { return &usageError{fmt.Sprintf(format, args...)} }

// A hintedError says what to do next.
type hintedError struct {
	error
	next string
}

func (e *hintedError) Unwrap() error { return e.error }

// flagError rewords an error of the flags' parser for people who do not know Go.
func flagError(cmd *cobra.Command, err error) error {
	var unknown interface {
		GetSpecifiedName() string
		GetSpecifiedShortnames() string
	}
	text := err.Error()
	if errors.As(err, &unknown) && unknown.GetSpecifiedShortnames() != "" && strings.HasPrefix(text, "unknown shorthand") {
		return &hintedError{usagef("%s", text), fmt.Sprintf(
			"put -- before an argument that begins with -, as in: %s -- -%s", cmd.CommandPath(), unknown.GetSpecifiedShortnames())}
	}
	if i := strings.LastIndex(text, ": strconv."); i >= 0 {
		want := "a whole number"
		if strings.Contains(text[i:], "ParseBool") {
			want = "true or false"
		}
		text = text[:i] + ": want " + want
	}
	return usagef("%s", regexp.MustCompile(`^invalid argument ("[^"]*") for "([^"]*)" flag: (invalid duration "[^"]*": )?`).ReplaceAllString(text, "$2 $1: "))
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
	case errors.As(err, &dial) && dial.Op == "dial", errors.As(err, &name):
		return "is signetd running there? check --server or " + environ.Server
	case strings.Contains(err.Error(), "HTTP response to HTTPS client"), errors.Is(err, io.EOF):
		return "that port does not speak HTTPS; the API is where listen.https says, 8443 if nothing else"
	case !a.started:
		return "see " + cmd.CommandPath() + " --help"
	}
	return ""
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
