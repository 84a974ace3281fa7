package certstest_test

import (
	"crypto/tls"
	"testing"

	"github.com/signetd/signet/certs"
	"github.com/signetd/signet/certs/certstest"
)

func TestServerAndClient(t *testing.T) {
	ca := certstest.New(t, certs.Config{})
	ln, err := tls.Listen("tcp", "127.0.0.1:0", ca.ServerTLS(t))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	done := make(chan error, 1)
	go func() {
		conn, err := ln.Accept()
		if err == nil {
			err = conn.(*tls.Conn).Handshake()
			conn.Close()
		}
		done <- err
	}()
	conn, err := tls.Dial("tcp", ln.Addr().String(), ca.ClientTLS())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
