package bench

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/broker/mqttd/packet"
	"github.com/signetd/signet/protocol/channel"
)

// BenchmarkDevice is what signetd takes for devices that have enrolled: each comes over TLS, shows a proof
// of its key and subscribes to what is its own.
//
// "idle" is the resident memory of each that is silent, beyond the first 2,000: what a broker takes without
// any, and what starting has left, is not a device's. Beside it a minimal Go server's for as many
// connections; kernel memory is in neither. Then the CPU that a device takes when it enrolls, when it
// connects, and for a ping.
//
// "storm" is the time from a kill -9 of the server until all are there again, who try without a pause,
// against that of TLS connections to the minimal server, killed likewise, three times in turns; "refused"
// is how often somebody listened and did not serve.
func BenchmarkDevice(b *testing.B) {
	n := crowdSize(b)
	if n <= few {
		b.Fatalf("a crowd of %d; more than %d are needed", n, few)
	}
	many := fmt.Sprint(3 * n)
	s := newBroker(b, "SIGNET_LIMITS_CONNECTIONS="+many, "SIGNET_LIMITS_STRANGERS="+many, "SIGNET_LIMITS_PER_SOURCE=-1",
		"SIGNET_LIMITS_RATE=-1", "SIGNET_LIMITS_REQUESTS=-1")
	began := s.cpu(b)
	all := s.enrolled(b, n)
	enrollment := s.since(b, began, n)
	minimal := serverChild(b, minimalEnv)
	bare := func(i int) (net.Conn, error) { return echoed(minimal.secure, anyServer(), i, 1, 1) }
	again := func() { s.kill(b); s.start(b) }
	bareAgain := func() { minimal.kill(b); minimal.start(b) }
	come := func(i int) (net.Conn, error) { return all[i].connect(s.mqtt, i) }
	b.Run("idle", func(b *testing.B) {
		if b.N > 1 { // one fleet says it all
			b.Skip("run with -benchtime 1x")
		}
		base := minimal.status(b, "VmRSS")
		conns := gather(b, 0, n, func(i int) (net.Conn, error) { return echoed(minimal.secure, anyServer(), i, 4, 600) })
		settle(b)
		floor := (minimal.status(b, "VmRSS") - base) / float64(n)
		scatter(conns)

		again() // what enrolling took is none of it
		listens(b, s.mqtt)
		base = s.status(b, "VmRSS")
		defer scatter(gather(b, 0, few, come))
		settle(b)
		first, began := s.status(b, "VmRSS"), s.cpu(b)
		conns = gather(b, few, n, come)
		defer func() { scatter(conns) }()
		b.ReportMetric(s.since(b, began, n-few), "cpu-us/connect")
		settle(b)
		each := (s.status(b, "VmRSS") - first) / float64(n-few)
		reportIdle(b, s.child)
		began = s.cpu(b)
		spread(n-few, 8, func(i int) {
			if err := ping(conns[i]); err != nil {
				b.Error(err)
			}
		})
		b.ReportMetric(s.since(b, began, n-few), "cpu-us/ping")
		b.ReportMetric(enrollment, "cpu-us/enrollment")
		b.ReportMetric(each, "KiB/device")
		b.ReportMetric(floor, "floor-KiB/conn")
		b.ReportMetric(base/1024, "idle-MiB")
		b.ReportMetric(0, "ns/op")
	})
	b.Run("storm", func(b *testing.B) {
		if b.N > 1 {
			b.Skip("run with -benchtime 1x")
		}
		ours := &storm{n: n, restart: again, open: come, used: func() time.Duration { return s.cpu(b) }}
		theirs := &storm{n: n, restart: bareAgain, open: bare, used: func() time.Duration { return minimal.cpu(b) }}
		spent := inTurns(rounds, ours.window(b), theirs.window(b))
		b.ReportMetric(micros(spent[0])/1e6, "s")
		b.ReportMetric(micros(spent[1])/1e6, "bare-s")
		b.ReportMetric(ratio(spent[0], spent[1]), "x-bare")
		b.ReportMetric(micros(ours.server)/float64(n), "cpu-us/device")
		b.ReportMetric(micros(ours.clients)/float64(n), "clients-cpu-us/device")
		b.ReportMetric(micros(theirs.server)/float64(n), "bare-cpu-us/device")
		b.ReportMetric(micros(theirs.clients)/float64(n), "bare-clients-cpu-us/device")
		b.ReportMetric(float64(ours.refused.Load()), "refused")
		b.ReportMetric(0, "ns/op")
	})
}

// since is what CPU the child has used of late for each of n, in microseconds.
func (c *child) since(b *testing.B, began time.Duration, n int) float64 {
	b.Helper()
	return float64((c.cpu(b) - began).Microseconds()) / float64(n)
}

// A storm is a server with n connections that is killed and starts again, and all come back.
type storm struct {
	n               int
	restart         func()
	open            func(i int) (net.Conn, error)
	used            func() time.Duration // by the server, since it started
	server, clients []time.Duration      // CPU of each storm
	refused         atomic.Int64         // tries for which somebody listened in vain
}

// window gives how long it takes until all are there again.
func (s *storm) window(b *testing.B) window {
	return func() time.Duration {
		insist := func(i int) (net.Conn, error) { return s.insist(b, i) }
		before := gather(b, 0, s.n, insist)
		began, own := time.Now(), cpu(b)
		s.restart()
		after := gather(b, 0, s.n, func(i int) (net.Conn, error) {
			_ = before[i].Close() // its end is what tells a client to come again, and descriptors are few
			return insist(i)
		})
		took := time.Since(began)
		s.server, s.clients = append(s.server, s.used()), append(s.clients, cpu(b)-own)
		scatter(after)
		return took
	}
}

// insist tries until it is served.
func (s *storm) insist(b *testing.B, i int) (net.Conn, error) {
	for began := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		nc, err := s.open(i)
		if err == nil || time.Since(began) > patience || b.Context().Err() != nil {
			return nc, err
		}
		if !errors.Is(err, syscall.ECONNREFUSED) {
			s.refused.Add(1)
		}
	}
}

// A returning device has enrolled, and knows whose certificate the broker has.
type returning struct {
	cred   *agent.Credential
	server []byte
}

// enrolled gives n devices that have enrolled and hung up.
func (b *signetd) enrolled(t *testing.B, n int) []returning {
	t.Helper()
	v := b.voucher(t, n)
	all := make([]returning, n)
	spread(n, 8, func(i int) {
		d, err := b.device(t, fmt.Sprintf("lamp-%d", i), v)
		if err != nil {
			t.Error(err)
			return
		}
		all[i] = returning{d.Credential(), d.link.End().Server}
		if err := d.link.Close(); err != nil || all[i].cred == nil {
			t.Errorf("no credential, or %v", err)
		}
	})
	if t.Failed() {
		t.FailNow()
	}
	return all
}

// connect gives a connection of the device by a proof of its key, subscribed.
func (d returning) connect(address string, i int) (net.Conn, error) {
	nc, err := dial(address, anyServer(), i)
	if err != nil {
		return nil, err
	}
	state := nc.(*tls.Conn).ConnectionState()
	id := d.cred.Username
	password, err := d.cred.Password(agent.End{Channel: channel.Name(&state), Server: d.server}, id)
	if err != nil {
		return nil, errors.Join(err, nc.Close())
	}
	c, err := connect(nc, id, id, password)
	if err != nil {
		return nil, err
	}
	if err := c.subscribe(fmt.Sprintf("devices/demo/lamp-%d/#", i), 0); err != nil {
		return nil, errors.Join(err, nc.Close())
	}
	return nc, nil
}

// ping has the server answer a PINGREQ.
func ping(nc net.Conn) error {
	if _, err := nc.Write(packet.AppendPingreq(nil)); err != nil {
		return err
	}
	_, err := nc.Read(make([]byte, 2))
	return err
}
