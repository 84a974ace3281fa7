package mqttfront_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"log/slog"
	"net"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"
	paho3 "github.com/eclipse/paho.mqtt.golang"
	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/agent/mqttlink"
	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/access"
	"github.com/signetd/signet/broker/auth"
	"github.com/signetd/signet/broker/control"
	"github.com/signetd/signet/broker/control/controltest"
	"github.com/signetd/signet/broker/keyring/verifier"
	"github.com/signetd/signet/broker/mqttd"
	"github.com/signetd/signet/broker/mqttfront"
	"github.com/signetd/signet/broker/proof"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/channel"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/token"
	"github.com/signetd/signet/test/harness"
	"github.com/signetd/signet/test/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// patience bounds every wait of these tests; none measures time.
const patience = 10 * time.Second

// A fixture is a whole broker behind an MQTT port with TLS and one without.
type fixture struct {
	*harness.Signet
	t        *testing.T
	front    *mqttfront.Front
	server   *mqttd.Server
	root     *x509.Certificate
	identity *tls.Config // the server's
	addr     string      // without TLS
	secure   string      // with TLS
	web      string      // WebSocket with TLS
	known    *known
}

// noSecrets opens no shared key.
type noSecrets struct{}

func (noSecrets) Open(broker.Purpose, []byte) ([]byte, error) { return nil, errRefused }

// known is what clients have to connect with.
type known struct {
	keys   map[string][]agent.Prover // of devices, by user name: all that they ever had
	bearer map[string]bool           // MQTT passwords
}

// start puts one together; wrap, if not nil, stands between the front and the store.
func start(t *testing.T, wrap func(access.Reads) access.Reads) *fixture {
	t.Helper()
	return startWith(t, mqttd.Config{}, wrap)
}

func startWith(t *testing.T, cfg mqttd.Config, wrap func(access.Reads) access.Reads) *fixture {
	t.Helper()
	leaktest.Check(t)
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	f := &fixture{Signet: harness.NewLogging(t, cfg.Log.Handler()), t: t, known: &known{map[string][]agent.Prover{}, map[string]bool{}}}
	several := broker.NewClient(f.Pool, broker.DefaultClient)
	several.MaxSessions = 0 // tests have several agents of one device
	if _, err := controltest.PutClient(t.Context(), f.Control, broker.By{Actor: broker.ActorLocal}, several, false); err != nil {
		t.Fatal(err)
	}
	rule := f.Access
	if wrap != nil {
		keys, err := proof.New(auth.Config{Reads: f.Store, Tries: f.Store, Secrets: noSecrets{}, Answers: f.Keys, SessionKey: make([]byte, 32)})
		if err != nil {
			t.Fatal(err)
		}
		rule = access.New(wrap(f.Store), verifier.New(f.Keys, time.Now), keys)
	}
	var err error
	f.front = mqttfront.New(f.Exchange, rule, cfg.Log)
	cfg.Gate, cfg.Respond, cfg.Methods, cfg.Busy = f.front, f.front.Respond, f.front.Methods(), func(q mqttd.Request, _ mqttd.Overload, retry time.Duration) []byte { return f.front.Busy(q, retry) }
	if f.server, err = mqttd.New(cfg); err != nil {
		t.Fatal(err)
	}
	f.front.Attach(f.server)
	f.Tail.Tell(f.front.Recorded)
	web := httptest.NewTLSServer(f.server.Handler())
	t.Cleanup(web.Close)
	f.root, f.web = web.Certificate(), web.Listener.Addr().String()
	f.identity = &tls.Config{Certificates: web.TLS.Certificates}
	served := make(chan error, 2)
	listen := func(conf *tls.Config) string {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		go func() { served <- f.server.Serve(context.Background(), ln, conf) }()
		return ln.Addr().String()
	}
	f.addr = listen(nil)
	f.secure = listen(f.identity)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := f.server.Close(ctx); err != nil {
			t.Error(err)
		}
		if err := errors.Join(<-served, <-served); err != nil {
			t.Error(err)
		}
	})
	return f
}

// device makes a device's agent; it is not enrolled yet.
func (f *fixture) device(name string, key agent.Prover, client string) *agent.Agent {
	f.t.Helper()
	a, err := agent.New(f.t.Context(), agent.Config{
		Device: f.Name(f.t, name), Prover: key, State: &agent.Memory{}, Client: client, Pin: f.Pin(f.t),
	})
	if err != nil {
		f.t.Fatal(err)
	}
	user := "demo:" + name
	f.known.keys[user] = append(f.known.keys[user], key)
	return a
}

// enrolled makes a device's agent and enrolls it, and gives what was granted.
func (f *fixture) enrolled(name string, replace bool) (*agent.Agent, *agent.Tokens) {
	f.t.Helper()
	ask := control.NewEnrollToken{Pool: f.Pool, Replace: replace}
	if replace {
		ask.Name = f.Name(f.t, name).Name
	}
	_, text, err := f.Control.CreateEnrollToken(f.t.Context(), broker.By{Actor: broker.ActorLocal}, ask)
	if err != nil {
		f.t.Fatal(err)
	}
	tok, err := protocol.ParseEnrollToken(text)
	if err != nil {
		f.t.Fatal(err)
	}
	a := f.device(name, harness.NewP256(f.t), "")
	g, err := a.Enroll(f.t.Context(), f, agent.Admission{Token: &tok})
	if err != nil {
		f.t.Fatal(err)
	}
	return a, g
}

// login authenticates a over link and gives its access token.
func (f *fixture) login(a *agent.Agent, link agent.Link, format protocol.Format) []byte {
	f.t.Helper()
	g, err := a.Authenticate(f.t.Context(), link, agent.Ask{Format: &format})
	if err != nil {
		f.t.Fatal(err)
	}
	return g.Access
}

// password has a authenticate over link and gives an MQTT password in text.
func (f *fixture) password(a *agent.Agent, link agent.Link, format protocol.Format) []byte {
	f.t.Helper()
	g, err := a.Authenticate(f.t.Context(), link, agent.Ask{Format: &format, MQTTPassword: true})
	if err != nil {
		f.t.Fatal(err)
	}
	text := g.Access
	if format == protocol.FormatCWT {
		text = base64url(text)
	}
	f.known.bearer[string(text)] = true
	return text
}

// all is everything that a connects with.
func (f *fixture) all(a *agent.Agent, link agent.Link) map[string][]byte {
	f.t.Helper()
	return map[string][]byte{
		"access CWT": f.login(a, link, protocol.FormatCWT), "access JWT": f.login(a, link, protocol.FormatJWT),
		"password CWT": f.password(a, link, protocol.FormatCWT), "password JWT": f.password(a, link, protocol.FormatJWT),
	}
}

// doors are the ways in to the MQTT server.
func (f *fixture) doors() map[string]func() net.Conn {
	must := func(nc net.Conn, err error) net.Conn {
		f.t.Helper()
		if err != nil {
			f.t.Fatal(err)
		}
		f.t.Cleanup(func() { nc.Close() })
		return nc
	}
	return map[string]func() net.Conn{
		"the plain port": func() net.Conn { return must(net.Dial("tcp", f.addr)) },
		"the TLS port":   func() net.Conn { return must(tls.Dial("tcp", f.secure, f.clientTLS())) },
		"WebSocket": func() net.Conn {
			return f.overWeb(must(tls.Dial("tcp", f.web, f.clientTLS())), f.web)
		},
	}
}

// anonymous connects without a name, as a device does that is not authenticated.
func (f *fixture) anonymous() *mqttlink.Link {
	f.t.Helper()
	l, err := mqttlink.Dial(f.t.Context(), mqttlink.Options{Broker: "mqtts://" + f.secure, Trust: f.trust()})
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = l.Close() })
	return l
}

// trust is what a device believes of the broker.
func (f *fixture) trust() mqttlink.Trust { return mqttlink.Trust{Roots: []*x509.Certificate{f.root}} }

// sign makes an access token of any content with the pool's own key.
func (f *fixture) sign(class token.Class, change func(*token.Claims)) (cwt, jwt []byte) {
	f.t.Helper()
	ring, err := f.Keys.Ring(f.t.Context(), f.Pool)
	if err != nil {
		f.t.Fatal(err)
	}
	d, err := f.Control.Device(f.t.Context(), f.Name(f.t, "lamp"))
	if err != nil {
		f.t.Fatal(err)
	}
	key, err := token.ParseCOSEKey(d.Authenticators[0].Key)
	if err != nil {
		f.t.Fatal(err)
	}
	c := token.Claims{
		Issuer: ring.Issuer, Subject: d.Subject, OriginID: f.lastSession(d.ID), Audience: f.Pool.String(), IssuedAt: time.Now(), Expires: time.Now().Add(time.Hour),
		ID: []byte("12345678"), Confirmation: token.Confirm(key), ClientID: broker.DefaultClient, Nonce: []byte("a nonce of it"),
	}
	switch class {
	case token.Access:
		c.Nonce = nil
	case token.MQTTPassword:
		c.Nonce, c.Confirmation, c.Audience = nil, token.Confirmation{}, ring.MQTTAudience()
	default:
		c.OriginID = ident.UUID{}
	}
	change(&c)
	text, err := token.SignJWT(class, &c, ring.Signer)
	if err != nil {
		f.t.Fatal(err)
	}
	if class != token.ID {
		c = *c.Compact()
	}
	if cwt, err = token.SignCWT(class, &c, ring.Signer); err != nil {
		f.t.Fatal(err)
	}
	return cwt, []byte(text)
}

// lastSession is that of the device's newest login.
func (f *fixture) lastSession(id ident.Device) ident.UUID {
	f.t.Helper()
	all, err := f.Control.ListSessions(f.t.Context(), id)
	if err != nil || len(all) == 0 {
		f.t.Fatalf("%d sessions of %s: %v", len(all), id, err)
	}
	return all[0].ID
}

func base64url(b []byte) []byte { return base64.RawURLEncoding.AppendEncode(nil, b) }

// A client is an MQTT client of either version, as programs have them.
type client struct {
	t         *testing.T
	publish   func(topic, payload string) error // QoS 1
	subscribe func(filter string) error
	got       chan string // "topic payload"
	ended     chan byte   // the reason; 0 in 3.1.1
}

var errRefused = errors.New("refused")

// connect connects a device in MQTT version 4 (3.1.1) or 5 with a last will on its own
// topic. An access token is shown with a proof by the device's key, whichever it ever had
// that is taken; anything else is sent as it is.
func (f *fixture) connect(version byte, user string, password []byte) (*client, error) {
	f.t.Helper()
	return f.connectAs(version, user, user, password)
}

func (f *fixture) connectAs(version byte, id, user string, password []byte) (c *client, err error) {
	f.t.Helper()
	name, _, _ := strings.Cut(user, "/")
	keys := f.known.keys[name]
	if isToken := len(password) > 0 && (password[0] == 0xd2 || bytes.HasPrefix(password, []byte("ey"))); !isToken || f.known.bearer[string(password)] || len(keys) == 0 {
		return f.connectBy(version, id, user, func([]byte) []byte { return password })
	}
	for _, key := range keys {
		if c, err = f.connectBy(version, id, user, f.proof(key, id, password)); err == nil {
			break
		}
	}
	return c, err
}

// proof makes passwords of an access token and a proof by key.
func (f *fixture) proof(key agent.Prover, id string, access []byte) func(channel []byte) []byte {
	return func(channel []byte) []byte {
		f.t.Helper()
		p := protocol.ConnectProof{Access: access, Channel: channel}
		var err error
		if p.Proof, err = key.Prove(p.Input(id)); err != nil {
			f.t.Fatal(err)
		}
		raw, err := protocol.EncodeConnectProof(&p)
		if err != nil {
			f.t.Fatal(err)
		}
		return raw
	}
}

// connectBy connects over TLS with the password that is made for the connection's name.
func (f *fixture) connectBy(version byte, id, user string, password func(channel []byte) []byte) (*client, error) {
	f.t.Helper()
	nc, err := tls.Dial("tcp", f.secure, f.clientTLS())
	if err != nil {
		return nil, err
	}
	c := &client{t: f.t, got: make(chan string, 16), ended: make(chan byte, 2)}
	state := nc.ConnectionState()
	return c, c.over(nc, version, id, user, password(channel.Name(&state)))
}

// over connects on nc; a client without a user name leaves no will.
func (c *client) over(nc net.Conn, version byte, id, user string, password []byte) error {
	c.t.Cleanup(func() { nc.Close() })
	if version == 5 {
		return c.dial5(nc, id, user, password)
	}
	return c.dial4(nc, id, user, password)
}

func (f *fixture) mustConnect(version byte, user string, password []byte) *client {
	f.t.Helper()
	c, err := f.connect(version, user, password)
	if err != nil {
		f.t.Fatalf("version %d, %s: %v", version, user, err)
	}
	return c
}

const will = "devices/demo/lamp/gone"

func willOf(user string) string {
	return strings.Replace(will, "demo/lamp", strings.Replace(user, ":", "/", 1), 1)
}

func (c *client) dial4(nc net.Conn, id, user string, password []byte) error {
	o := paho3.NewClientOptions().AddBroker("tcp://" + nc.RemoteAddr().String()).SetClientID(id).SetProtocolVersion(4).SetUsername(user).SetPassword(string(password)).
		SetAutoReconnect(false).SetConnectTimeout(patience).SetOrderMatters(false).
		SetCustomOpenConnectionFn(func(*url.URL, paho3.ClientOptions) (net.Conn, error) { return nc, nil }).
		SetConnectionLostHandler(func(paho3.Client, error) { c.ended <- 0 })
	if user != "" {
		o.SetWill(willOf(user), "4", 1, false)
	}
	m := paho3.NewClient(o)
	c.t.Cleanup(func() { m.Disconnect(0) })
	wait := func(t paho3.Token) error {
		if !t.WaitTimeout(patience) {
			c.t.Fatal("no answer")
		}
		return t.Error()
	}
	c.publish = func(topic, payload string) error { return wait(m.Publish(topic, 1, false, payload)) }
	c.subscribe = func(filter string) error {
		t := m.Subscribe(filter, 1, func(_ paho3.Client, m paho3.Message) { c.got <- m.Topic() + " " + string(m.Payload()) })
		if err := wait(t); err != nil {
			return err
		}
		if t.(*paho3.SubscribeToken).Result()[filter] > 2 {
			return errRefused
		}
		return nil
	}
	return wait(m.Connect())
}

func (c *client) dial5(nc net.Conn, id, user string, password []byte) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	c.t.Cleanup(cancel)
	m := paho.NewClient(paho.ClientConfig{
		Conn: packets.NewThreadSafeConn(nc), // it writes a packet in pieces
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(p paho.PublishReceived) (bool, error) {
			c.got <- p.Packet.Topic + " " + string(p.Packet.Payload)
			return true, nil
		}},
		OnServerDisconnect: func(d *paho.Disconnect) { c.ended <- d.ReasonCode },
	})
	c.publish = func(topic, payload string) error {
		_, err := m.Publish(ctx, &paho.Publish{Topic: topic, QoS: 1, Payload: []byte(payload)})
		return err
	}
	c.subscribe = func(filter string) error {
		_, err := m.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: filter, QoS: 1}}})
		return err
	}
	hello := &paho.Connect{
		ClientID: id, Username: user, Password: password, UsernameFlag: user != "", PasswordFlag: user != "", KeepAlive: 30, CleanStart: true,
	}
	if user != "" {
		hello.WillMessage = &paho.WillMessage{Topic: willOf(user), Payload: []byte("5"), QoS: 1}
	}
	_, err := m.Connect(ctx, hello)
	if err == nil {
		c.t.Cleanup(func() { _ = m.Disconnect(&paho.Disconnect{}) })
	}
	return err
}

// message waits for the next message.
func (c *client) message() string {
	c.t.Helper()
	return receive(c.t, "a message", c.got)
}

// works proves that the client may talk on the device's own topics.
func (c *client) works() {
	c.t.Helper()
	if err := c.publish("devices/demo/lamp/up", "1"); err != nil {
		c.t.Errorf("publishing: %v", err)
	}
}

// isOver waits for the end, with this reason if the version has one.
func (c *client) isOver(version byte, want mqttd.Reason) {
	c.t.Helper()
	if got := receive(c.t, "the connection's end", c.ended); version == 5 && mqttd.Reason(got) != want {
		c.t.Errorf("ended with reason %#x, want %#x", got, want)
	}
}

func receive[T any](t *testing.T, what string, ch <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-ch:
	case <-time.After(patience):
		t.Fatalf("never: %s", what)
	}
	return v
}

// eventually waits for what has no event of its own.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

// changed tells the front that a device was written, with nothing else to say.
func (f *fixture) changed(ctx context.Context, id ident.Device) {
	f.front.Recorded(ctx, &broker.Record{Kind: broker.RecordDevice, Pool: id.Pool, Subject: id.Name.String(), What: broker.WhatUpdate})
}
