// Package reach says in plain words why the other end of a connection was not reached, without
// the names of calls. Programs and libraries on both sides use it for what people read.
package reach

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"syscall"
)

// Explain names who was asked and what came of it: "no address for signet.example: no such host",
// "192.0.2.7:8443: connection refused", "192.0.2.7:8443: no answer in time". What it does not know
// it gives as it is, but without the method and URL that net/http puts before it. The error wraps err.
func Explain(err error) error {
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return &told{fmt.Sprintf("no address for %s: %s", dns.Name, dns.Err), err}
	}
	op, isOp := errors.AsType[*net.OpError](err)
	isOp = isOp && op.Addr != nil
	timeout, slow := errors.AsType[net.Error](err)
	slow = slow && timeout.Timeout() || errors.Is(err, context.DeadlineExceeded)
	sys, isSys := errors.AsType[syscall.Errno](err)
	switch {
	case isOp && isSys:
		return &told{fmt.Sprintf("%s: %s", op.Addr, sys), err}
	case isOp && slow:
		return &told{fmt.Sprintf("%s: no answer in time", op.Addr), err}
	case slow:
		return &told{"no answer in time", err}
	}
	if at, ok := errors.AsType[*url.Error](err); ok {
		if errors.Is(at.Err, io.EOF) {
			return &told{"the other end hung up", err}
		}
		return at.Err
	}
	return err
}

// A told is an error in other words.
type told struct {
	text string
	error
}

// Error gives the words.
func (t *told) Error() string { return t.text }

// Unwrap gives the error itself.
func (t *told) Unwrap() error { return t.error }
