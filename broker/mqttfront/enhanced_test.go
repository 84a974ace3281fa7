package mqttfront_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/control/controltest"
	"github.com/signetd/signet/broker/exchange"
	"github.com/signetd/signet/broker/intake"
	"github.com/signetd/signet/broker/mqttd"
	"github.com/signetd/signet/broker/mqttfront"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/challenge"
	"github.com/signetd/signet/protocol/channel"
	"github.com/signetd/signet/protocol/ident/identtest"
	"github.com/signetd/signet/test/harness"
)

// A byAuth is an MQTT 5 client that has the exchange in the packets of enhanced authentication: an
// agent's link.
type byAuth struct {
	t      *testing.T
	nc     net.Conn
	tls    *tls.Conn // nil without TLS
	r      *bufio.Reader
	hello  func(*packets.Connect) // changes the CONNECT
	late   bool                   // the opening message comes in an AUTH
	silent bool                   // it does not name its connection

	connected, under bool // its CONNACK came, an exchange is under way
	ended            byte // why it was refused or ended
}

var _ agent.Bound = (*byAuth)(nil)

func (l *byAuth) End() agent.End {
	if l.tls == nil || l.silent {
		return agent.End{}
	}
	state := l.tls.ConnectionState()
	return agent.End{Channel: channel.Name(&state)}
}

// byAuth connects to addr, over WebSocket if web, without TLS if plain.
func (f *fixture) byAuth(addr string, web, plain bool) *byAuth {
	f.t.Helper()
	l := &byAuth{t: f.t}
	var err error
	if plain {
		l.nc, err = net.Dial("tcp", addr)
	} else if l.tls, err = tls.Dial("tcp", addr, f.clientTLS()); err == nil {
		l.nc = l.tls
	}
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { l.nc.Close() })
	if web {
		l.nc = f.overWeb(l.nc, addr)
	}
	_ = l.nc.SetDeadline(time.Now().Add(patience))
	l.r = bufio.NewReader(l.nc)
	return l
}

func (l *byAuth) write(p io.WriterTo) {
	l.t.Helper()
	var all bytes.Buffer // in one piece
	if _, err := p.WriteTo(&all); err != nil {
		l.t.Fatal(err)
	}
	_, _ = l.nc.Write(all.Bytes()) // what is wrong with it, the next read tells
}

// RoundTrip says one message: in the CONNECT, in an AUTH that begins another authentication, or one that goes on.
func (l *byAuth) RoundTrip(_ context.Context, request []byte) ([]byte, error) {
	if !l.connected && !l.under {
		c := &packets.Connect{ProtocolName: "MQTT", ProtocolVersion: 5, CleanStart: true, KeepAlive: 30, Properties: &packets.Properties{AuthMethod: "SIGNET"}}
		if !l.late {
			c.Properties.AuthData = request
		}
		if l.hello != nil {
			l.hello(c)
		}
		l.write(c)
		l.under = true
		if l.late {
			if data, err := l.heard(); err != nil || len(data) > 0 {
				return nil, fmt.Errorf("no message was said, the answer is %x: %w", data, err)
			}
			l.say(packets.AuthContinueAuthentication, request)
		}
		return l.heard()
	}
	code := byte(packets.AuthContinueAuthentication)
	if !l.under {
		code = packets.AuthReauthenticate
	}
	l.under = true
	l.say(code, request)
	return l.heard()
}

func (l *byAuth) say(code byte, data []byte) {
	l.write(&packets.Auth{ReasonCode: code, Properties: &packets.Properties{AuthMethod: "SIGNET", AuthData: data}})
}

// heard gives what the server says next of the authentication.
func (l *byAuth) heard() ([]byte, error) {
	for {
		p, err := packets.ReadPacket(l.r)
		if err != nil {
			return nil, err
		}
		switch c := p.Content.(type) {
		case *packets.Auth:
			l.under = c.ReasonCode != packets.AuthSuccess
			return c.Properties.AuthData, nil
		case *packets.Connack:
			l.under, l.connected, l.ended = false, c.ReasonCode == 0, c.ReasonCode
			if len(c.Properties.AuthData) == 0 {
				return nil, fmt.Errorf("CONNACK %#x", c.ReasonCode)
			}
			return c.Properties.AuthData, nil
		case *packets.Disconnect:
			l.under, l.ended = false, c.ReasonCode
			return nil, fmt.Errorf("DISCONNECT %#x", c.ReasonCode)
		}
	}
}

// subscribe gives the code of SUBACK.
func (l *byAuth) subscribe(filter string) byte {
	l.t.Helper()
	l.write(&packets.Subscribe{PacketID: 7, Properties: &packets.Properties{}, Subscriptions: []packets.SubOptions{{Topic: filter}}})
	for {
		p, err := packets.ReadPacket(l.r)
		if err != nil {
			l.t.Fatal(err)
		}
		if s, ok := p.Content.(*packets.Suback); ok {
			return s.Reasons[0]
		}
	}
}

func (l *byAuth) closed() {
	l.t.Helper()
	if p, err := packets.ReadPacket(l.r); err == nil {
		l.t.Errorf("got %v, want the end", p)
	} else if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
		l.t.Error("the connection stays open")
	}
}

// TestSignetMethod: a device enrolls, authenticates and refreshes in the packets of enhanced
// authentication, and the connection is its own; over a relay, without TLS or without the connection's name
// it gets nothing, nothing is begun, and it hears why.
func TestSignetMethod(t *testing.T) {
	f := start(t, nil)
	n := 0
	for _, web := range []bool{false, true} {
		for _, late := range []bool{false, true} {
			n++
			name := fmt.Sprintf("lamp-%d", n)
			id, own := f.Name(t, name), "devices/demo/"+name+"/#"
			server := map[bool]string{false: f.secure, true: f.web}[web]
			link := f.byAuth(server, web, false)
			link.late = late
			a := f.device(name, harness.NewP256(t), "")
			if _, err := a.Enroll(t.Context(), link, agent.Admission{Token: f.Token(t, 1)}); err != nil {
				t.Fatalf("web %v: %v", web, err)
			}
			if code := link.subscribe(own); code != 0 || a.Status().Relayed {
				t.Errorf("its own topics: %#x, relayed %v", code, a.Status().Relayed)
			}
			if code := link.subscribe("devices/demo/other/#"); code != 0x87 {
				t.Errorf("another's topics: %#x", code)
			}
			for what, call := range map[string]func(*byAuth) (*agent.Tokens, error){
				"authenticate": func(l *byAuth) (*agent.Tokens, error) { return a.Authenticate(t.Context(), l, agent.Ask{}) },
				"refresh":      func(l *byAuth) (*agent.Tokens, error) { return a.Refresh(t.Context(), l, agent.Ask{}) },
			} {
				if _, err := call(link); err != nil || link.under {
					t.Errorf("%s again: %v", what, err)
				}
				if code := link.subscribe(own); code != 0 {
					t.Errorf("%s again, its own topics: %#x", what, code)
				}
				fresh := f.byAuth(server, web, false)
				if _, err := call(fresh); err != nil || !fresh.connected {
					t.Errorf("%s at CONNECT: %v", what, err)
				}
				if code := fresh.subscribe(own); code != 0 {
					t.Errorf("%s at CONNECT, its own topics: %#x", what, code)
				}
				before := f.lastSession(id)
				for way, l := range map[string]*byAuth{
					"a relay": f.byAuth(f.relay(server), web, false), "no TLS": f.byAuth(f.addr, false, true), "no name": f.byAuth(server, web, false),
				} {
					l.silent = way == "no name"
					_, err := call(l)
					if !errors.Is(err, protocol.CodeDenied) || l.connected || l.ended != 0x87 {
						t.Errorf("%s over %s: %v, code %#x", what, way, err, l.ended)
					}
					l.closed()
					if f.lastSession(id) != before {
						t.Errorf("%s over %s began a session", what, way)
					}
				}
			}
		}
	}
}

// TestSignetMethodRefuses: who is no device, or another one than he said, is refused.
func TestSignetMethodRefuses(t *testing.T) {
	f := start(t, nil)
	lamp, _ := f.enrolled("lamp", false)
	other, _ := f.enrolled("other", false)
	again := func(a *agent.Agent, l *byAuth) error {
		_, err := a.Authenticate(t.Context(), l, agent.Ask{})
		return err
	}
	// These have authenticated, so that the device has its tokens, and no connection for its other wishes.
	granted := map[string]bool{"another's id": true, "a will to another's": true, "a stranger's id": true}
	for what, hello := range map[string]func(*packets.Connect){
		"a password beside": func(c *packets.Connect) {
			c.UsernameFlag, c.Username, c.PasswordFlag, c.Password = true, "demo:lamp", true, []byte("x")
		},
		"another's user name":   func(c *packets.Connect) { c.UsernameFlag, c.Username = true, "demo:other" },
		"a user name of none":   func(c *packets.Connect) { c.UsernameFlag, c.Username = true, "lamp" },
		"no message":            func(c *packets.Connect) { c.Properties.AuthData = []byte("hello") },
		"another's id":          func(c *packets.Connect) { c.ClientID = "demo:other" },
		"a will to another's":   func(c *packets.Connect) { c.WillFlag, c.WillTopic = true, "devices/demo/other/x" },
		"a stranger's id":       func(c *packets.Connect) { c.ClientID = "anon-" + strings.Repeat("a", 32) },
		"the method's neighbor": func(c *packets.Connect) { c.Properties.AuthMethod = "signet" },
	} {
		l := f.byAuth(f.secure, false, false)
		l.hello = hello
		if err := again(lamp, l); (err == nil) != granted[what] || l.connected || l.ended < 0x80 {
			t.Errorf("%s: %v, %+v", what, err, l)
		}
	}
	l := f.byAuth(f.secure, false, false)
	l.hello = func(c *packets.Connect) { c.UsernameFlag, c.Username, c.ClientID = true, "demo:lamp", "My Client" }
	if err := again(lamp, l); err != nil {
		t.Fatal(err)
	}
	// Nobody else goes on with its connection, be he a device: that ends it, and the other has no connection.
	if err := again(other, l); err == nil || l.ended != 0x87 {
		t.Errorf("another device on the connection: %v, code %#x", err, l.ended)
	}
	l.closed()
	eventually(t, "they are gone", func() bool { return f.server.PushDevice(f.Name(t, "other"), nil) == 0 && f.server.Count() == 0 })
	// A device that was disabled hears so, on whatever connection.
	l = f.byAuth(f.secure, false, false)
	if err := again(lamp, l); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Control.DisableDevice(t.Context(), broker.By{Actor: broker.ActorLocal}, f.Name(t, "lamp")); err != nil {
		t.Fatal(err)
	}
	if _, err := l.heard(); err == nil || l.ended != 0x98 {
		t.Errorf("disabled: %v, code %#x", err, l.ended)
	}
	l = f.byAuth(f.secure, false, false)
	if err := again(lamp, l); !errors.Is(err, protocol.CodeDisabled) || l.ended != 0x87 {
		t.Errorf("a disabled device: %v, code %#x", err, l.ended)
	}
}

// An answering Responder gives one answer.
type answering struct {
	exchange.Reply
	from exchange.Caller
}

func (a *answering) Respond(_ context.Context, from exchange.Caller, _ []byte) exchange.Reply {
	a.from = from
	return a.Reply
}
func (*answering) Busy([]byte, time.Duration) []byte { return nil }

// TestSignetMethodAnswers: what each answer of the exchange comes to.
func TestSignetMethodAnswers(t *testing.T) {
	code := func(c protocol.Code) *protocol.Code { return &c }
	lamp := identtest.Device(t, "demo:lamp")
	for what, x := range map[string]struct {
		exchange.Reply
		done, busy, refused bool
	}{
		"a challenge":    {Reply: exchange.Reply{Message: []byte("m")}},
		"a wrong answer": {Reply: exchange.Reply{Message: []byte("m"), Refused: code(protocol.CodeWrongAnswer)}},
		"denied":         {Reply: exchange.Reply{Message: []byte("m"), Refused: code(protocol.CodeDenied)}, refused: true},
		"internal":       {Reply: exchange.Reply{Message: []byte("m"), Refused: code(protocol.CodeInternal)}, refused: true},
		"busy":           {Reply: exchange.Reply{Message: []byte("m"), Refused: code(protocol.CodeBusy)}, refused: true, busy: true},
		"no message":     {Reply: exchange.Reply{Refused: code(protocol.CodeMalformed)}, refused: true},
		"a grant":        {Reply: exchange.Reply{Message: []byte("m"), Admitted: &exchange.Admission{Here: true}}, done: true},
		"elsewhere":      {Reply: exchange.Reply{Message: []byte("m"), Admitted: &exchange.Admission{}}, refused: true},
	} {
		by := &answering{Reply: x.Reply}
		front := mqttfront.New(by, nil, slog.New(slog.DiscardHandler))
		a, err := front.Methods()[protocol.AuthMethod](mqttd.Connect{Remote: &net.TCPAddr{}, Channel: []byte("c"), Vouched: true, Device: lamp}).Next(t.Context(), []byte("said"))
		if a.Done != x.done || (err != nil) != x.refused || errors.Is(err, mqttd.ErrBusy) != x.busy {
			t.Errorf("%s: %+v, %v", what, a, err)
		}
		if !by.from.OnlyHere || string(by.from.Channel.Name) != "c" || !by.from.Channel.Vouched || by.from.Owner != lamp {
			t.Errorf("asked as %+v", by.from)
		}
	}
}

// A talking is paho's handler of AUTH packets, over which an agent's link talks.
type talking struct {
	toClient, toAgent chan []byte
}

func (h *talking) Authenticate(a *paho.Auth) *paho.Auth {
	h.toAgent <- a.Properties.AuthData
	return h.auth(packets.AuthContinueAuthentication, <-h.toClient)
}
func (*talking) Authenticated() {}

func (*talking) auth(code byte, data []byte) *paho.Auth {
	return &paho.Auth{ReasonCode: code, Properties: &paho.AuthProperties{AuthMethod: protocol.AuthMethod, AuthData: data}}
}

// over is a link of which the agent has one end and paho's client the other.
type over struct {
	*talking
	end   agent.End
	begin func(opening []byte)
	once  bool
}

func (o *over) End() agent.End { return o.end }

func (o *over) RoundTrip(ctx context.Context, request []byte) ([]byte, error) {
	if !o.once {
		o.once = true
		o.begin(request)
	} else {
		o.toClient <- request
	}
	select {
	case reply := <-o.toAgent:
		return reply, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// TestSignetMethodByPaho: paho.golang, as it is, connects so and authenticates again. Of the last AUTH its client
// hands on no data, so that what is granted then is lost to its user.
func TestSignetMethodByPaho(t *testing.T) {
	f := start(t, nil)
	a, _ := f.enrolled("lamp", false)
	nc, err := tls.Dial("tcp", f.secure, f.clientTLS())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	state := nc.ConnectionState()
	h := &talking{make(chan []byte, 1), make(chan []byte, 1)}
	m := paho.NewClient(paho.ClientConfig{Conn: packets.NewThreadSafeConn(nc), AuthHandler: h})
	failed := make(chan error, 1)
	link := &over{talking: h, end: agent.End{Channel: channel.Name(&state)}, begin: func(opening []byte) {
		go func() {
			ack, err := m.Connect(t.Context(), &paho.Connect{ClientID: "paho", CleanStart: true, KeepAlive: 30, Properties: &paho.ConnectProperties{AuthMethod: protocol.AuthMethod, AuthData: opening}})
			if err == nil {
				h.toAgent <- ack.Properties.AuthData
			}
			failed <- err
		}()
	}}
	if _, err := a.Authenticate(t.Context(), link, agent.Ask{}); err != nil {
		t.Fatal(err)
	}
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
	first := f.lastSession(f.Name(t, "lamp"))
	done := make(chan *paho.AuthResponse, 1)
	ctx, cancel := context.WithCancel(t.Context())
	link.once, link.begin = false, func(opening []byte) {
		go func() {
			r, err := m.Authenticate(ctx, h.auth(packets.AuthReauthenticate, opening))
			if err != nil {
				t.Error(err)
			}
			done <- r
			cancel() // what the agent waits for does not come
		}()
	}
	if _, err := a.Authenticate(ctx, link, agent.Ask{}); !errors.Is(err, context.Canceled) {
		t.Errorf("the agent got %v of an answer that paho keeps", err)
	}
	if r := <-done; !r.Success || r.ReasonCode != packets.AuthSuccess {
		t.Errorf("authenticating again: %+v", r)
	}
	if f.lastSession(f.Name(t, "lamp")) == first {
		t.Error("no session was begun")
	}
	if _, err := m.Subscribe(t.Context(), &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "devices/demo/lamp/#"}}}); err != nil {
		t.Errorf("the connection: %v", err)
	}
	_ = m.Disconnect(&paho.Disconnect{})
}

// TestEnhancedIsTold: who runs the broker sees logins and refusals in AUTH packets as he sees others: in the log, in what is
// counted, and in the store.
func TestEnhancedIsTold(t *testing.T) {
	for message, do := range map[string]func(f *fixture, lamp, other *agent.Agent){
		"authenticated": func(f *fixture, lamp, _ *agent.Agent) {
			if _, err := lamp.Authenticate(t.Context(), f.byAuth(f.secure, false, false), agent.Ask{}); err != nil {
				t.Error(err)
			}
			if all, err := f.Control.ListSessions(t.Context(), f.Name(t, "lamp")); err != nil || all[0].From != "127.0.0.1" {
				t.Errorf("sessions %+v: %v", all, err)
			}
		},
		"refused": func(f *fixture, lamp, _ *agent.Agent) {
			if _, err := lamp.Authenticate(t.Context(), f.byAuth(f.relay(f.secure), false, false), agent.Ask{}); err == nil {
				t.Error("a relay was admitted")
			}
		},
		"mqtt client failed to authenticate again": func(f *fixture, lamp, other *agent.Agent) {
			l := f.byAuth(f.secure, false, false)
			if _, err := lamp.Authenticate(t.Context(), l, agent.Ask{}); err != nil {
				t.Error(err)
			}
			if _, err := other.Authenticate(t.Context(), l, agent.Ask{}); err == nil {
				t.Error("another device has the connection")
			}
		},
	} {
		log := told{slog.DiscardHandler, make(chan map[string]string, 8), message}
		refused, ended := make(chan intake.Cause, 8), make(chan mqttd.Reason, 8)
		f := startWith(t, mqttd.Config{
			Log: slog.New(log), OnEnd: func(r mqttd.Reason) { ended <- r }, Refused: func(c intake.Cause, _ string, _ error) { refused <- c },
		}, nil)
		lamp, _ := f.enrolled("lamp", false)
		other, _ := f.enrolled("other", false)
		for len(log.refusals) > 0 {
			<-log.refusals
		}
		do(f, lamp, other)
		if said := receive(t, message, log.refusals); said["device"] != "demo:lamp" || !strings.HasPrefix(said["remote"], "127.0.0.1:") {
			t.Errorf("%s: %v", message, said)
		}
		switch message {
		case "refused":
			if c := receive(t, "a refused connection", refused); c != intake.CauseConnect {
				t.Errorf("refused as %q", c)
			}
		case "mqtt client failed to authenticate again":
			if r := receive(t, "an ended connection", ended); r != mqttd.ReasonDenied {
				t.Errorf("ended as %q", r)
			}
		}
	}
}

// TestSignetMethodAsksAgain: a wrong code costs a try, not the connection, at CONNECT and later.
func TestSignetMethodAsksAgain(t *testing.T) {
	f := start(t, nil)
	by := broker.By{Actor: broker.ActorLocal}
	f.enrolled("lamp", false)
	id, key := f.Name(t, "lamp"), f.known.keys["demo:lamp"][0]
	if _, err := controltest.PutFlow(t.Context(), f.Control, by, broker.Flow{Pool: f.Pool, Name: "codes", Steps: []string{challenge.Key, challenge.TOTP}}, true); err != nil {
		t.Fatal(err)
	}
	if _, err := controltest.PutClient(t.Context(), f.Control, by, broker.Client{Pool: f.Pool, ID: "codes", Flow: "codes", AccessLife: time.Hour}, true); err != nil {
		t.Fatal(err)
	}
	code := f.Codes(t, id, nil, false)
	asked, step := 0, 0
	a, err := agent.New(t.Context(), agent.Config{Device: id, Prover: key, State: &agent.Memory{}, Client: "codes", Pin: f.Pin(t), Solver: func(context.Context, string, map[string]string) ([]byte, error) {
		if asked++; asked%2 == 1 {
			return []byte("000000x"), nil
		}
		step++ // each code is good once
		return []byte(code(step - 1)), nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	link := f.byAuth(f.secure, false, false)
	for i := range 2 {
		if _, err := a.Authenticate(t.Context(), link, agent.Ask{}); err != nil || asked != 2*(i+1) || !link.connected || link.under {
			t.Fatalf("round %d: %v, asked %d times", i, err, asked)
		}
		if code := link.subscribe("devices/demo/lamp/#"); code != 0 {
			t.Errorf("round %d, its own topics: %#x", i, code)
		}
	}
}
