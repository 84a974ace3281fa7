package mqttfront_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/coder/websocket"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/agent/mqttlink"
	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/control"
	"github.com/signetd/signet/broker/mqttd"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/channel"
	"github.com/signetd/signet/test/harness"
)

// A stranger is an anonymous client that knows the TLS connection it is on: an
// agent's link over programs' MQTT libraries.
type stranger struct {
	*client
	id     string
	secure *tls.Conn
}

var _ agent.Bound = (*stranger)(nil)

func (s *stranger) End() agent.End {
	state := s.secure.ConnectionState()
	return agent.End{Channel: channel.Name(&state)}
}

func (s *stranger) RoundTrip(ctx context.Context, request []byte) ([]byte, error) {
	if err := s.publish("signet/v1/"+s.id+"/rq", string(request)); err != nil {
		return nil, err
	}
	for {
		select {
		case m := <-s.got:
			if reply, ok := strings.CutPrefix(m, "signet/v1/"+s.id+"/rs "); ok {
				return []byte(reply), nil
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// clientTLS trusts the fixture's server.
func (f *fixture) clientTLS() *tls.Config {
	roots := x509.NewCertPool()
	roots.AddCert(f.root)
	return &tls.Config{RootCAs: roots, ServerName: "example.com"}
}

// overWeb opens a WebSocket on a connection to addr.
func (f *fixture) overWeb(nc net.Conn, addr string) net.Conn {
	f.t.Helper()
	over := &http.Transport{DialTLSContext: func(context.Context, string, string) (net.Conn, error) { return nc, nil }}
	ws, _, err := websocket.Dial(f.t.Context(), "wss://"+addr+"/mqtt", &websocket.DialOptions{HTTPClient: &http.Client{Transport: over}, Subprotocols: []string{"mqtt"}})
	if err != nil {
		f.t.Fatal(err)
	}
	return websocket.NetConn(context.Background(), ws, websocket.MessageBinary)
}

// stranger connects to addr, over WebSocket if web.
func (f *fixture) stranger(version byte, addr string, web bool, number int) *stranger {
	f.t.Helper()
	s := &stranger{id: fmt.Sprintf("anon-%032x", number), client: &client{t: f.t, got: make(chan string, 16), ended: make(chan byte, 2)}}
	var err error
	if s.secure, err = tls.Dial("tcp", addr, f.clientTLS()); err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { s.secure.Close() })
	var nc net.Conn = s.secure
	if web {
		nc = f.overWeb(nc, addr)
	}
	if err := s.over(nc, version, s.id, "", nil); err != nil {
		f.t.Fatal("connect: ", err)
	}
	for _, leaf := range []string{"/rs", "/ev"} {
		if err := s.subscribe("signet/v1/" + s.id + leaf); err != nil {
			f.t.Fatal("subscribe: ", err)
		}
	}
	return s
}

// relay stands between devices, who believe it, and the server at to: it opens TLS
// connections of its own and passes on all that is said.
func (f *fixture) relay(to string) (addr string) {
	f.t.Helper()
	ln, err := tls.Listen("tcp", "127.0.0.1:0", f.identity)
	if err != nil {
		f.t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			device, err := ln.Accept()
			if err != nil {
				return
			}
			own, err := tls.Dial("tcp", to, f.clientTLS())
			if err != nil {
				f.t.Error(err)
				device.Close()
				return
			}
			pass := func(from, to net.Conn) {
				_, _ = io.Copy(to, from)
				from.Close()
				to.Close()
			}
			running.Go(func() { pass(device, own) })
			running.Go(func() { pass(own, device) })
		}
	})
	f.t.Cleanup(func() {
		ln.Close()
		running.Wait()
	})
	return ln.Addr().String()
}

// TestRelay: over a relay a device gets all its grants and the relay's connection
// stays a stranger's; the device's own connection is its own from the grant on.
func TestRelay(t *testing.T) {
	f := start(t, nil)
	number := 0
	for _, web := range []bool{false, true} {
		server := map[bool]string{false: f.secure, true: f.web}[web]
		for addr, relayed := range map[string]bool{server: false, f.relay(server): true} {
			for _, version := range versions {
				number++
				name := fmt.Sprintf("lamp-%d", number)
				t.Run(fmt.Sprintf("version %d, web %v, relayed %v", version, web, relayed), func(t *testing.T) {
					inner := *f
					inner.t = t
					inner.talks(version, name, inner.stranger(version, addr, web, number), !relayed)
				})
			}
		}
	}
}

// talks has a device of this name make each of its calls on link, and checks each
// time whether that has become the device's own.
func (f *fixture) talks(version byte, name string, link *stranger, own bool) {
	id, topics := f.Name(f.t, name), "devices/demo/"+name
	a := f.device(name, harness.NewP256(f.t), "")
	var g *agent.Tokens
	for _, call := range []func() (*agent.Tokens, error){
		func() (*agent.Tokens, error) {
			return a.Enroll(f.t.Context(), link, agent.Admission{Token: f.Token(f.t, 1)})
		},
		func() (*agent.Tokens, error) { return a.Authenticate(f.t.Context(), link, agent.Ask{}) },
		func() (*agent.Tokens, error) { return a.Refresh(f.t.Context(), link, agent.Ask{}) },
	} {
		var err error
		if g, err = call(); err != nil {
			f.t.Fatalf("a device gets its grant over anything: %v", err)
		}
		if a.Status().Relayed == own {
			f.t.Errorf("the device's status says relayed: %v", !own)
		}
		if got := f.server.PushDevice(id, []byte("psst")) == 1; got != own {
			f.t.Errorf("pushed to the device's own connection: %v, want %v", got, own)
		}
		if err := link.subscribe(topics + "/#"); (err == nil) != own {
			f.t.Errorf("subscribing: %v, want success to be %v", err, own)
		}
	}
	// The token is the device's, however it came, and nobody's without its key.
	if _, err := f.connectBy(version, id.String()+"/2", id.String(), func([]byte) []byte { return g.Access }); err == nil {
		f.t.Error("the token alone was a password")
	}
	c, err := f.connectAs(version, id.String()+"/2", id.String(), g.Access)
	if err != nil {
		f.t.Fatal(err)
	}
	if err := c.subscribe(topics + "/#"); err != nil {
		f.t.Error(err)
	}
	_ = link.publish(topics+"/up", "link") // a stranger's connection ends with that in 3.1.1
	if err := c.publish(topics+"/up", "token"); err != nil {
		f.t.Error(err)
	}
	heard := []string{c.message()}
	if own {
		heard = append(heard, c.message()) // in any order
	}
	if slices.Contains(heard, topics+"/up link") != own || !slices.Contains(heard, topics+"/up token") {
		f.t.Errorf("heard %q", heard)
	}
}

// signing counts the signatures of a key.
type signing struct {
	agent.Prover
	made atomic.Int32
}

func (s *signing) Prove(input []byte) ([]byte, error) {
	s.made.Add(1)
	return s.Prover.Prove(input)
}

// TestAgentComesBackItself: an agent whose connection ends comes back as itself, with one
// signature and no message, where TLS ends in the broker that it has heard there before.
// Through a relay, or without TLS, it comes as a stranger and authenticates each time: its
// token is shown to nobody.
func TestAgentComesBackItself(t *testing.T) {
	f := start(t, nil)
	for name, way := range map[string]struct {
		broker string
		itself bool
	}{
		"direct": {"mqtts://" + f.secure, true}, "relayed": {"mqtts://" + f.relay(f.secure), false}, "plain": {"mqtt://" + f.addr, false},
	} {
		t.Run(name, func(t *testing.T) {
			key := &signing{Prover: harness.NewP256(t)}
			a, err := agent.New(t.Context(), agent.Config{Device: f.Name(t, name), Prover: key, State: &agent.Memory{}})
			if err != nil {
				t.Fatal(err)
			}
			type login struct {
				itself bool
				link   *mqttlink.Link
			}
			logins := make(chan login, 16)
			dial := func(ctx context.Context, c *agent.Credential) (agent.Connection, error) {
				before := key.made.Load()
				l, err := mqttlink.Dial(ctx, mqttlink.Options{Broker: way.broker, Trust: f.trust(), Credential: c})
				if err != nil {
					return nil, err
				}
				if made := key.made.Load() - before; made != map[bool]int32{true: 1}[c != nil] {
					t.Errorf("%d signatures to connect", made)
				}
				if !a.Enrolled() {
					if _, err := a.Enroll(ctx, l, agent.Admission{Token: f.Token(t, 1)}); err != nil {
						t.Error(err)
					}
				}
				logins <- login{c != nil, l}
				return l, nil
			}
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- a.Run(ctx, dial) }()
			for round := range 3 {
				l := receive(t, "a connection", logins)
				if l.itself != (way.itself && round > 0) {
					t.Errorf("connection %d: as itself: %v", round, l.itself)
				}
				eventually(t, "the device is online", func() bool { return a.Status().Phase == agent.PhaseOnline && a.Current() != nil })
				if l.itself {
					if err := l.link.Publish(t.Context(), "devices/demo/"+name+"/up", 1, nil); err != nil {
						t.Errorf("its own topic: %v", err)
					}
				}
				if relayed := a.Status().Relayed; relayed != (name == "relayed") {
					t.Errorf("its status says relayed: %v", relayed)
				}
				_ = l.link.Close()
			}
			stop()
			if err := receive(t, "the end of the agent", ended); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestKeyReplacedOverRelay: what an old key began ends, whoever passed on the new
// key's enrollment.
func TestKeyReplacedOverRelay(t *testing.T) {
	f := start(t, nil)
	_, g := f.enrolled("lamp", true)
	c := f.mustConnect(5, "demo:lamp", g.Access)
	_, text, err := f.Control.CreateEnrollToken(t.Context(), broker.By{Actor: broker.ActorLocal}, control.NewEnrollToken{Pool: f.Pool, Replace: true, NamePattern: "l*"})
	if err != nil {
		t.Fatal(err)
	}
	tok, err := protocol.ParseEnrollToken(text)
	if err != nil {
		t.Fatal(err)
	}
	link := f.stranger(5, f.relay(f.secure), false, 1)
	if _, err := f.device("lamp", harness.NewP256(t), "").Enroll(t.Context(), link, agent.Admission{Token: &tok}); err != nil {
		t.Fatal(err)
	}
	c.isOver(5, mqttd.ReasonAdministrative)
}
