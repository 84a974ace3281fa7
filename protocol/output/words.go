package output

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/signetd/signet/protocol/reach"
)

// Words gives an error's text as people are told it: what Go's libraries say in their own
// words, such as "dial tcp 127.0.0.1:1: connect: connection refused", is said plainly, and
// nothing is said twice in a row.
func Words(err error) string {
	if err == nil {
		return ""
	}
	return once(replaced(err.Error(), err))
}

// replaced puts plain words in the places of all that err wraps.
func replaced(text string, err error) string {
	if plain, ok := plainly(err); ok {
		return strings.Replace(text, err.Error(), plain, 1)
	}
	switch e := err.(type) { //nolint:errorlint // the chain is walked here
	case interface{ Unwrap() error }:
		if inner := e.Unwrap(); inner != nil {
			return replaced(text, inner)
		}
	case interface{ Unwrap() []error }:
		for _, inner := range e.Unwrap() {
			text = replaced(text, inner)
		}
	}
	return text
}

// plainly rewords one error of a library, with all that it wraps.
func plainly(err error) (string, bool) {
	switch e := err.(type) { //nolint:errorlint // the chain is walked by replaced
	case *fs.PathError:
		return join(e.Path, e.Err), true
	case *os.LinkError:
		return join(e.New, e.Err), true
	case *os.SyscallError:
		return Words(e.Err), true
	case *url.Error:
		if said := reach.Explain(e); said != e.Err { //nolint:errorlint // the very one
			return said.Error(), true
		}
		return Words(e.Err), true
	case *tls.CertificateVerificationError:
		return Words(e.Err), true
	case x509.UnknownAuthorityError:
		return "certificate signed by unknown authority", true
	case *json.SyntaxError:
		text, _, _ := strings.Cut(err.Error(), " looking for")
		text, _, _ = strings.Cut(text, " after")
		text, _, _ = strings.Cut(text, " in ")
		if character, ok := strings.CutPrefix(text, "invalid character "); ok {
			return "unexpected " + character + " in JSON", true
		}
		return "the JSON ends too early", true
	case *strconv.NumError:
		if errors.Is(e.Err, strconv.ErrRange) {
			return strconv.Quote(e.Num) + " is out of range", true
		}
		return strconv.Quote(e.Num) + " is not a number", true
	case *net.OpError:
		if e.Addr == nil {
			return Words(e.Err), true
		}
		return reach.Explain(e).Error(), true
	case *net.DNSError:
		return reach.Explain(e).Error(), true
	}
	switch err { //nolint:errorlint // what wraps them is walked by replaced
	case context.DeadlineExceeded, os.ErrDeadlineExceeded:
		return "no answer in time", true
	case context.Canceled:
		return "interrupted", true
	case io.EOF, io.ErrUnexpectedEOF:
		return "it ends too early", true
	}
	if e, ok := err.(net.Error); ok && e.Timeout() && strings.Contains(err.Error(), "i/o timeout") { //nolint:errorlint // as above
		return "no answer in time", true
	}
	return "", false
}

func join(what string, err error) string { return what + ": " + Words(err) }

// once drops names of Go's packages and of the system's calls, and parts that the part before has said.
func once(text string) string {
	var kept []string
	for i, part := range strings.Split(text, ": ") {
		if slices.Contains([]string{"x509", "tls", "net/http", "http", "net", "json", "yaml", "exec", "strconv", "pem", "asn1", "os", "time", "flag"}, part) {
			continue
		}
		if i > 0 && slices.Contains([]string{"open", "read", "write", "stat", "lstat", "mkdir", "connect", "bind"}, part) {
			continue
		}
		if n := len(kept); n > 0 && (kept[n-1] == part || strings.HasSuffix(kept[n-1], " "+part)) {
			continue
		}
		kept = append(kept, part)
	}
	return strings.Join(kept, ": ")
}
