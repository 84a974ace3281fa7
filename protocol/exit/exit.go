// Package exit is the table of exit codes that Signet's programs share: the same outcome
// has the same code in all of them, so that a script need not read what they say.
//
// Each program knows which of its errors means what; it marks them, and asks Of last. It is
// small, for the agent carries it.
package exit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"
)

// A Code is what a program exits with. It is an error too, so that errors.Is finds what an
// error was marked with.
type Code int

// The codes. Numbers are what scripts rely on.
const (
	Done        Code = 0
	Failed      Code = 1
	Usage       Code = 2
	Refused     Code = 3
	NotFound    Code = 4
	Conflict    Code = 5
	Unavailable Code = 6
	Pending     Code = 7
	Interrupted Code = 130 // 128 and the number of SIGINT, as shells have it
)

// A Row is one row of the table.
type Row struct {
	Code    Code
	Word    string
	Meaning string
}

// Table gives all codes.
func Table() []Row {
	return []Row{
		{Done, "done", "what was asked for was done"},
		{Failed, "failed", "none of those below, such as a full disk, a damaged file, one that this user may not use or output that could not be written"},
		{Usage, "usage", "the command line, a variable, a setting or what a file says makes no sense; nothing was done"},
		{Refused, "refused", "the broker says no: to the token, to what its bearer may do, to the device; or the broker is not the one that is believed: its certificate, fingerprint or anchor is another"},
		{NotFound, "not found", "what was named is not there: a pool, a device, a profile, a store, a file, a running agent"},
		{Conflict, "conflict", "something is in the way: a name that is taken, a thing that is in use or was changed meanwhile, a folder or address that another process has"},
		{Unavailable, "unavailable", "the broker is not reached, does not answer in time or is too busy: try again later"},
		{Pending, "pending", "an operator has yet to approve the device: try again later"},
		{Interrupted, "interrupted", "a signal ended it before it was done"},
	}
}

// String gives the code's word.
func (c Code) String() string {
	for _, r := range Table() {
		if r.Code == c {
			return r.Word
		}
	}
	return fmt.Sprintf("exit code %d", int(c))
}

// Error gives the code's word.
func (c Code) Error() string { return c.String() }

// marked is an error that a program has said the code of.
type marked struct {
	error
	code Code
}

func (m *marked) Unwrap() []error { return []error{m.code, m.error} }

// With marks err with a code. Its text stays, and so do the errors that it wraps. The outermost
// mark counts. With of nil is nil.
func With(c Code, err error) error {
	if err == nil {
		return nil
	}
	return &marked{err, c}
}

// Usagef makes an error of a command line that makes no sense, as fmt.Errorf does.
func Usagef(format string, args ...any) error { return With(Usage, fmt.Errorf(format, args...)) }

// Of gives the code of an error: the one that it was marked with or, if none, what the
// system's own error in it means. Of nil is Done.
func Of(err error) Code {
	if err == nil {
		return Done
	}
	var c Code
	if errors.As(err, &c) {
		return c
	}
	for _, row := range []struct {
		is   error
		code Code
	}{
		{context.Canceled, Interrupted},
		{fs.ErrPermission, Failed}, // also of a socket, which is there and does not let this user in
		{fs.ErrNotExist, NotFound},
		{syscall.ENOTDIR, NotFound}, // a file where the path goes through a folder
		{fs.ErrExist, Conflict},
		{syscall.EADDRINUSE, Conflict},
		{context.DeadlineExceeded, Unavailable},
		{os.ErrDeadlineExceeded, Unavailable},
	} {
		if errors.Is(err, row.is) {
			return row.code
		}
	}
	if dial, ok := errors.AsType[*net.OpError](err); ok && dial.Op != "listen" {
		return Unavailable
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return Unavailable
	}
	return Failed
}
