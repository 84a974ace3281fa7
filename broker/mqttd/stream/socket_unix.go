//go:build unix

package stream

import (
	"io"
	"net"
	"os"
	"syscall"
)

// rawOf gives the socket of a TCP connection; nil if nc is none.
func rawOf(nc net.Conn) syscall.RawConn {
	t, ok := nc.(*net.TCPConn)
	if !ok {
		return nil
	}
	raw, err := t.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

// readNow reads what is there; errAgain if nothing is.
func readNow(fd uintptr, p []byte) (int, error) {
	for {
		n, err := syscall.Read(int(fd), p)
		switch {
		case err == syscall.EINTR: //nolint:errorlint // as the kernel gives it
		case err == syscall.EAGAIN: //nolint:errorlint // as the kernel gives it
			return 0, errAgain
		case err != nil:
			return 0, os.NewSyscallError("read", err)
		case n == 0 && len(p) > 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

// writeNow writes as much as the socket takes, which may be nothing.
func writeNow(fd uintptr, p []byte) (int, error) {
	for done := 0; ; {
		n, err := syscall.Write(int(fd), p[done:])
		switch {
		case err == syscall.EINTR: //nolint:errorlint // as the kernel gives it
		case err == syscall.EAGAIN: //nolint:errorlint // as the kernel gives it
			return done, nil
		case err != nil:
			return done, os.NewSyscallError("write", err)
		default:
			if done += n; done == len(p) {
				return done, nil
			}
		}
	}
}
