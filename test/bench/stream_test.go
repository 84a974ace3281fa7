package bench

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/signetd/signet/broker/mqttd/stream"
)

const (
	streamEnv  = "SIGNET_BENCH_STREAM"            // file for the server's addresses
	streamForm = "SIGNET_BENCH_STREAM_GOROUTINES" // set: no poller
)

// streamServer answers what comes on package stream's streams with the same, plain and over TLS.
func streamServer() error {
	conf, err := minimalTLS()
	if err != nil {
		return err
	}
	l := stream.NewLoop(stream.Config{
		MaxBacklog: 256 << 10, Mark: 32 << 10, WriteTimeout: 10 * time.Second, TrimAfter: 1000, Goroutines: os.Getenv(streamForm) != "",
	})
	var addresses []byte
	failed := make(chan error)
	for _, conf := range []*tls.Config{nil, conf} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		addresses = fmt.Appendf(addresses, "%s\n", ln.Addr())
		go func() {
			for {
				nc, err := ln.Accept()
				if err != nil {
					failed <- err
					return
				}
				go serveEcho(l, nc, conf)
			}
		}()
	}
	if err := os.WriteFile(os.Getenv(streamEnv), addresses, 0o600); err != nil {
		return err
	}
	return <-failed
}

func serveEcho(l *stream.Loop, nc net.Conn, conf *tls.Config) {
	e := new(echo)
	e.s = l.New(nc, conf, e)
	if err := e.s.Handshake(); err != nil {
		e.s.Cut()
		return
	}
	e.s.SetIdleTimeout(10 * time.Minute) // as a keep-alive
	e.s.Serve(nil)
}

// echo is a stream's handler.
type echo struct{ s *stream.Stream }

func (e *echo) Feed(p []byte) (time.Duration, error) { return 0, e.s.Write(p) }
func (e *echo) Drained()                             {}
func (e *echo) Overdue()                             { e.s.Cut() }
func (e *echo) Closed(error)                         {}

// streams is how many connections are kept; descriptors bound them.
const streams = 10_000

// BenchmarkIdleStream is the resident memory for each silent connection of package stream,
// without MQTT, after each has echoed four times 600 bytes: in the server, whose goroutines or
// pollers read, at 10,000 plain or TLS connections. Kernel memory is not in it.
func BenchmarkIdleStream(b *testing.B) {
	if b.N > 1 { // one crowd says it all
		b.Skip("run with -benchtime 1x")
	}
	for _, form := range []string{"poller", "goroutines"} {
		for at, secure := range []string{"plain", "TLS"} {
			b.Run(secure+"/"+form, func(b *testing.B) {
				var env []string
				if form == "goroutines" {
					env = append(env, streamForm+"=1")
				}
				c, addresses := serverChild(b, streamEnv, 2, env...)
				conf := &tls.Config{InsecureSkipVerify: true} //nolint:gosec // our own child
				if secure == "plain" {
					conf = nil
				}
				crowd(b, c, func(int) (net.Conn, error) { return echoed(addresses[at], conf) })
			})
		}
	}
}

// echoed gives a connection that was used.
func echoed(address string, conf *tls.Config) (net.Conn, error) {
	nc, err := dial(address, conf)
	if err != nil {
		return nil, err
	}
	p := make([]byte, 600)
	for range 4 {
		if _, err = nc.Write(p); err == nil {
			_, err = io.ReadFull(nc, p)
		}
		if err != nil {
			return nil, errors.Join(err, nc.Close())
		}
	}
	return nc, nil
}
