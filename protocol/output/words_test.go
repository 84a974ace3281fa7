package output

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

func TestWordsArePlain(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	_, noFile := os.Open(missing)
	_, number := strconv.Atoi("many")
	_, large := strconv.ParseUint("99999999999999999999", 10, 32)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := ln.Addr().String()
	_ = ln.Close()
	_, refused := net.Dial("tcp", address)
	_, noSocket := net.Dial("unix", missing)
	for _, c := range []struct {
		err  error
		want string
	}{
		{nil, ""},
		{errors.New("plain: as it was"), "plain: as it was"},
		{noFile, missing + ": no such file or directory"},
		{fmt.Errorf("read %s: %w", missing, noFile), "read " + missing + ": no such file or directory"},
		{fmt.Errorf("--ca: %w", noFile), "--ca: " + missing + ": no such file or directory"},
		{os.Rename(missing, missing+"2"), missing + "2: no such file or directory"},
		{fmt.Errorf("--port: %w", number), `--port: "many" is not a number`},
		{large, `"99999999999999999999" is out of range`},
		{fmt.Errorf("connect: %w", refused), "connect: " + address + ": connection refused"},
		{noSocket, missing + ": no such file or directory"},
		{fmt.Errorf("read x: %w", json.Unmarshal([]byte("{"), new(any))), "read x: the JSON ends too early"},
		{json.Unmarshal([]byte(`{"a":?}`), new(any)), "unexpected '?' in JSON"},
		{&url.Error{Op: "Get", URL: "https://h/", Err: refused}, address + ": connection refused"},
		{fmt.Errorf("h is not reached: %w", context.DeadlineExceeded), "h is not reached: no answer in time"},
		{&net.OpError{Op: "read", Net: "tcp", Err: os.ErrDeadlineExceeded}, "no answer in time"},
		{&net.DNSError{Name: "h", Err: "no such host", Server: "127.0.0.53:53"}, "no address for h: no such host"},
		{fmt.Errorf("TLS: %w", &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}), "TLS: certificate signed by unknown authority"},
		{fmt.Errorf("signet: %w", errors.New("signet: twice")), "signet: twice"},
		{errors.Join(fmt.Errorf("one: %w", io.EOF), fmt.Errorf("two: %w", context.Canceled)), "one: it ends too early\ntwo: interrupted"},
	} {
		if got := Words(c.err); got != c.want {
			t.Errorf("%v\n is said as %q\n want       %q", c.err, got, c.want)
		}
	}
}
