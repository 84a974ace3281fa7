package reach_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/signetd/signet/protocol/reach"
)

// TestExplain: who was asked and what came of it, and none of Go's words for calls.
func TestExplain(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := ln.Addr().String()
	ln.Close()
	never := make(chan struct{})
	silent := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-never }))
	defer silent.Close()
	defer close(never)
	asked := func(u string) error {
		res, err := (&http.Client{Timeout: 50 * time.Millisecond}).Get(u)
		if err == nil {
			res.Body.Close()
		}
		return err
	}
	addr := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 8443}
	own := errors.New("mine")
	for name, c := range map[string]struct {
		err  error
		says string
		is   error
	}{
		"nobody listens": {asked("http://" + nobody), nobody + ": connection refused", syscall.ECONNREFUSED},
		"no way":         {&net.OpError{Op: "dial", Net: "tcp", Addr: addr, Err: os.NewSyscallError("connect", syscall.ENETUNREACH)}, "192.0.2.7:8443: network is unreachable", syscall.ENETUNREACH},
		"no packet back": {&url.Error{Op: "Get", URL: "https://x/", Err: &net.OpError{Op: "dial", Net: "tcp", Addr: addr, Err: os.ErrDeadlineExceeded}}, "192.0.2.7:8443: no answer in time", os.ErrDeadlineExceeded},
		"no such name":   {&url.Error{Op: "Get", URL: "https://x/", Err: &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: "signet.example", Server: "192.0.2.1:53", IsNotFound: true}}}, "no address for signet.example: no such host", nil},
		"no answer":      {asked(silent.URL), "no answer in time", nil},
		"out of time":    {context.DeadlineExceeded, "no answer in time", context.DeadlineExceeded},
		"hung up":        {&url.Error{Op: "Get", URL: "https://x/", Err: io.EOF}, "the other end hung up", io.EOF},
		"anything else":  {own, "mine", own},
	} {
		got := reach.Explain(c.err)
		if got.Error() != c.says || c.is != nil && !errors.Is(got, c.is) {
			t.Errorf("%s: %q, want %q", name, got, c.says)
		}
		for _, word := range []string{"dial", "lookup", "connect:", "Get", "i/o"} {
			if strings.Contains(got.Error(), word) {
				t.Errorf("%s: %q has %q in it", name, got, word)
			}
		}
	}
}
