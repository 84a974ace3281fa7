package exit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
)

func TestOf(t *testing.T) {
	_, missing := os.Open("/nonexistent/file")
	cause := errors.New("cause")
	for _, c := range []struct {
		err  error
		want Code
	}{
		{nil, Done},
		{cause, Failed},
		{io.EOF, Failed},
		{Usagef("--count %d: %w", 3, cause), Usage},
		{fmt.Errorf("outside: %w", With(Refused, cause)), Refused},
		{With(Usage, missing), Usage}, // the mark goes before what the system says
		{With(Usage, With(Refused, cause)), Usage},
		{missing, NotFound},
		{&os.PathError{Op: "open", Path: "file/x", Err: syscall.ENOTDIR}, NotFound},
		{os.ErrExist, Conflict},
		{&net.OpError{Op: "listen", Err: syscall.EADDRINUSE}, Conflict},
		{&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, Unavailable},
		{&net.OpError{Op: "dial", Net: "unix", Err: syscall.EACCES}, Failed}, // it is there
		{&net.DNSError{}, Unavailable},
		{fmt.Errorf("ask: %w", context.DeadlineExceeded), Unavailable},
		{context.Canceled, Interrupted},
	} {
		if got := Of(c.err); got != c.want {
			t.Errorf("%v: %d (%s), want %d (%s)", c.err, got, got, c.want, c.want)
		}
	}
	if With(Usage, nil) != nil {
		t.Error("no error became one")
	}
	if err := With(Pending, cause); err.Error() != "cause" || !errors.Is(err, cause) || !errors.Is(err, Pending) {
		t.Errorf("%v lost something", err)
	}
}
