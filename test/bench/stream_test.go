package bench

import (
	"crypto/tls"
	"errors"
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

// streamServer gives back what comes on package stream's streams, plain and over TLS.
func streamServer() error {
	l := stream.NewLoop(stream.Config{
		MaxBacklog: 256 << 10, Mark: 32 << 10, WriteTimeout: 10 * time.Second, TrimAfter: 1000, Goroutines: os.Getenv(streamForm) != "",
	})
	return serveBoth(streamEnv, func(ln net.Listener, conf *tls.Config) error {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return err
			}
			go serveEcho(l, nc, conf)
		}
	})
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

// BenchmarkIdleStream is the resident memory for each silent connection of package stream,
// without MQTT, after each has echoed four times 600 bytes: in the server, whose goroutines or
// pollers read. Kernel memory is not in it.
func BenchmarkIdleStream(b *testing.B) {
	if b.N > 1 { // one crowd says it all
		b.Skip("run with -benchtime 1x")
	}
	for _, form := range []string{"poller", "goroutines"} {
		for _, sec := range security {
			b.Run(sec.name+"/"+form, func(b *testing.B) {
				var env []string
				if form == "goroutines" {
					env = append(env, streamForm+"=1")
				}
				p := serverChild(b, streamEnv, env...)
				address, conf := p.at(sec.tls)
				crowd(b, p.child, func(i int) (net.Conn, error) { return echoed(address, conf, i, 4, 600) })
			})
		}
	}
}

// echoed gives a connection on which some bytes came back, some times.
func echoed(address string, conf *tls.Config, i, times, size int) (net.Conn, error) {
	nc, err := dial(address, conf, i)
	if err != nil {
		return nil, err
	}
	p := make([]byte, size)
	for range times {
		if err := there(nc, p); err != nil {
			return nil, errors.Join(err, nc.Close())
		}
	}
	return nc, nil
}
