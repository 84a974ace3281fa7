package mqttfront_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/agent/mqttlink"
	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/adminapi"
	"github.com/signetd/signet/broker/control/controltest"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/challenge"
	"github.com/signetd/signet/protocol/detcbor"
	"github.com/signetd/signet/protocol/token"
	"github.com/signetd/signet/protocol/verify"
	"github.com/signetd/signet/test/harness"
)

// A tap is a relay that devices believe by a certificate of its own. It ends TLS on both
// sides, passes on what is said, and remembers all of it.
type tap struct {
	f    *fixture
	addr string
	root *x509.Certificate

	mu    sync.Mutex // guards the fields below
	to    string     // the server
	heard []*stream
	open  []net.Conn
}

// A stream is one direction of a connection.
type stream struct {
	fromDevice bool
	mu         sync.Mutex // guards raw
	raw        []byte
}

func (s *stream) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.raw = append(s.raw, b...)
	return len(b), nil
}

// tapped stands between devices and the server at to.
func (f *fixture) tapped(to string) *tap {
	f.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.t.Fatal(err)
	}
	template := x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
	if err != nil {
		f.t.Fatal(err)
	}
	root, err := x509.ParseCertificate(der)
	if err != nil {
		f.t.Fatal(err)
	}
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
	if err != nil {
		f.t.Fatal(err)
	}
	r := &tap{f: f, addr: ln.Addr().String(), root: root, to: to}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			device, err := ln.Accept()
			if err != nil {
				return
			}
			running.Go(func() { r.pass(device) })
		}
	})
	f.t.Cleanup(func() {
		ln.Close()
		r.cut()
		running.Wait()
	})
	return r
}

func (r *tap) pass(device net.Conn) {
	r.mu.Lock()
	to := r.to
	r.mu.Unlock()
	own, err := tls.Dial("tcp", to, r.f.clientTLS())
	if err != nil {
		device.Close()
		return
	}
	up, down := &stream{fromDevice: true}, &stream{}
	r.mu.Lock()
	r.heard, r.open = append(r.heard, up, down), append(r.open, device, own)
	r.mu.Unlock()
	var both sync.WaitGroup
	copying := func(to, from net.Conn, s *stream) {
		_, _ = io.Copy(to, io.TeeReader(from, s))
		to.Close()
		from.Close()
	}
	both.Go(func() { copying(own, device, up) })
	both.Go(func() { copying(device, own, down) })
	both.Wait()
}

// cut ends all connections.
func (r *tap) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, nc := range r.open {
		nc.Close()
	}
	r.open = nil
}

// leadsTo has new connections led to another server.
func (r *tap) leadsTo(server string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.to = server
}

// A loot is what a tap has heard, taken apart.
type loot struct {
	connects [][]byte // passwords of CONNECTs
	requests [][]byte // payloads that devices published
	all      map[string]bool
}

// loot takes apart what was heard: each packet, its payload, and each string of bytes or
// text in that.
func (r *tap) loot() loot {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := loot{all: map[string]bool{}}
	for _, s := range r.heard {
		s.mu.Lock()
		raw := s.raw
		s.mu.Unlock()
		for len(raw) > 1 {
			n, size := binary.Uvarint(raw[1:]) // MQTT's varint is that of package binary
			end := 1 + size + int(n)
			if size <= 0 || end > len(raw) {
				break
			}
			l.packet(raw[0], raw[1+size:end], s.fromDevice)
			raw = raw[end:]
		}
	}
	return l
}

func (l *loot) packet(first byte, body []byte, fromDevice bool) {
	l.keep(body)
	text := func() (s []byte) {
		n := int(binary.BigEndian.Uint16(body))
		s, body = body[2:2+n], body[2+n:]
		return s
	}
	switch first >> 4 {
	case 1: // CONNECT of 3.1.1, which the agent speaks
		text()
		flags := body[1]
		body = body[4:]
		text()
		for bit := byte(0x80); bit >= 0x40; bit >>= 1 {
			if flags&bit == 0 {
				continue
			}
			s := text()
			l.keep(s)
			if bit == 0x40 {
				l.connects = append(l.connects, s)
			}
		}
	case 3: // PUBLISH
		text()
		if first&6 != 0 {
			body = body[2:]
		}
		if fromDevice {
			l.requests = append(l.requests, body)
		}
		l.keep(body)
		l.dig(body)
	}
}

func (l *loot) keep(b []byte) {
	if len(b) > 0 {
		l.all[string(b)] = true
	}
}

// dig keeps what is inside of CBOR.
func (l *loot) dig(raw []byte) {
	var v any
	if detcbor.Unmarshal(raw, &v) == nil {
		l.walk(v)
	}
}

func (l *loot) walk(v any) {
	switch v := v.(type) {
	case []byte:
		l.keep(v)
		l.dig(v)
	case string:
		l.keep([]byte(v))
	case []any:
		for _, x := range v {
			l.walk(x)
		}
	case map[int64]any:
		for _, x := range v {
			l.walk(x)
		}
	case map[any]any:
		for _, x := range v {
			l.walk(x)
		}
	}
}

// pin is what a webhook asks devices for, after their key.
const pin = "the PIN of the door"

// asked makes the client "asked" whose devices are asked for the PIN.
func (f *fixture) asked() {
	f.t.Helper()
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var e struct {
			Trigger string `json:"triggerSource"`
			Request struct {
				Answer string `json:"challengeAnswer"`
			} `json:"request"`
		}
		if err := json.NewDecoder(r.Body).Decode(&e); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		response := map[string]any{"publicChallengeParameters": map[string]string{"ask": "PIN"}, "privateChallengeParameters": map[string]string{"x": "y"}}
		if strings.HasPrefix(e.Trigger, "Verify") {
			response = map[string]any{"answerCorrect": e.Request.Answer == pin}
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"response": response})
	}))
	f.t.Cleanup(web.Close)
	by := broker.By{Actor: broker.ActorLocal}
	_, _, err := controltest.CreateHook(f.t.Context(), f.Control, by, broker.Hook{Pool: f.Pool, Name: "door", URL: web.URL + "/", Timeout: 5 * time.Second})
	if err == nil {
		_, err = controltest.PutFlow(f.t.Context(), f.Control, by, broker.Flow{Pool: f.Pool, Name: "asked", Steps: []string{challenge.Key, "hook:door"}}, true)
	}
	if err == nil {
		_, err = controltest.PutClient(f.t.Context(), f.Control, by, broker.Client{Pool: f.Pool, ID: "asked", Flow: "asked", AccessLife: time.Hour, RefreshLife: 24 * time.Hour}, true)
	}
	if err != nil {
		f.t.Fatal(err)
	}
}

// TestRelayGainsNothing: a relay that a device believes passes on all that the device says
// in its life, tries everything that it has heard at each door of the broker and at a
// backend, and nothing works. The device lives on, and says that it is relayed.
func TestRelayGainsNothing(t *testing.T) {
	f := start(t, nil)
	f.asked()
	two := f.second()
	for name, direct := range map[string]bool{"relayed from the first": false, "relayed later": true} {
		t.Run(name, func(t *testing.T) {
			f.Offset, two.Offset = 0, 0
			inner := *f
			inner.t = t
			relay := inner.tapped(f.secure)
			device := map[bool]string{true: "late", false: "early"}[direct]
			a, link := inner.lives(device, relay, two, direct)
			inner.tries(device, relay.loot())
			if _, err := a.Refresh(t.Context(), link, agent.Ask{}); err != nil {
				t.Errorf("after all that was tried: %v", err)
			}
			if err := a.Run(cancelled(t), nil); err != nil {
				t.Error(err)
			}
		})
	}
}

func cancelled(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

// lives has a device enroll, reconnect, refresh, authenticate, ask for a program's password,
// meet a broker that has forgotten everything, and see its token expire, over the relay.
// If direct, it begins at the broker itself.
func (f *fixture) lives(name string, relay *tap, two *fixture, direct bool) (*agent.Agent, *mqttlink.Link) {
	f.t.Helper()
	var mu sync.Mutex // guards the fields below
	addr, ahead := relay.addr, time.Duration(0)
	if direct {
		addr = f.secure
	}
	a, err := agent.New(f.t.Context(), agent.Config{
		Device: f.Name(f.t, name), Client: "asked", Prover: harness.NewP256(f.t), State: &agent.Memory{},
		Solver: func(context.Context, string, map[string]string) ([]byte, error) { return []byte(pin), nil },
		Clock: func() time.Time {
			mu.Lock()
			defer mu.Unlock()
			return time.Now().Add(ahead)
		},
	})
	if err != nil {
		f.t.Fatal(err)
	}
	links := make(chan *mqttlink.Link, 16)
	ctx, stop := context.WithCancel(f.t.Context())
	dial := func(ctx context.Context, c *agent.Credential) (agent.Connection, error) {
		mu.Lock()
		to := addr
		mu.Unlock()
		l, err := mqttlink.Dial(ctx, mqttlink.Options{Broker: "mqtts://" + to, Trust: mqttlink.Trust{Roots: []*x509.Certificate{f.root, relay.root}}, Credential: c})
		if err != nil {
			return nil, err
		}
		if !a.Enrolled() {
			if _, err := a.Enroll(ctx, l, agent.Admission{Token: f.Token(f.t, 1)}); err != nil {
				f.t.Error(err)
			}
		}
		links <- l
		return l, nil
	}
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx, dial) }()
	online := func(what string) *mqttlink.Link {
		f.t.Helper()
		l := receive(f.t, what, links)
		eventually(f.t, what+": online", func() bool {
			return a.Status().Phase == agent.PhaseOnline && a.Credential() != nil == !a.Status().Relayed
		})
		return l
	}
	l := online("the first connection")
	if direct {
		_ = l.Close()
		l = online("back directly")
		eventually(f.t, "the broker knows it", func() bool { return f.server.Knows(f.Name(f.t, name)) })
		mu.Lock()
		addr = relay.addr
		mu.Unlock()
		_ = l.Close()
		online("the first connection over the relay")
	}
	eventually(f.t, "the device says that it is relayed", func() bool { return a.Status().Relayed })
	relay.cut()
	l = online("back over the relay")
	for _, call := range []func(context.Context, agent.Link, agent.Ask) (*agent.Tokens, error){a.Authenticate, a.Refresh} {
		for _, ask := range []agent.Ask{{}, {Format: new(protocol.FormatJWT)}, {MQTTPassword: true}} {
			if _, err := call(f.t.Context(), l, ask); err != nil {
				f.t.Error(err)
			}
		}
	}
	relay.leadsTo(two.secure)
	relay.cut()
	online("back at a broker that has forgotten all")
	mu.Lock()
	ahead = 2 * time.Hour
	mu.Unlock()
	f.Offset, two.Offset = 2*time.Hour, 2*time.Hour
	relay.cut()
	online("back when the token has expired")
	stop()
	if err := receive(f.t, "the end of the agent", ended); err != nil {
		f.t.Error(err)
	}
	if a.Status().Relayed != true {
		f.t.Error("the device does not say that it is relayed")
	}
	last, err := mqttlink.Dial(f.t.Context(), mqttlink.Options{Broker: "mqtts://" + f.secure, Trust: f.trust()})
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = last.Close() })
	return a, last
}

// tries has the relay use all that it has.
func (f *fixture) tries(name string, l loot) {
	f.t.Helper()
	id, user := f.Name(f.t, name), "demo:"+name
	if len(l.requests) < 10 || len(l.all) < 50 {
		f.t.Fatalf("%d requests and %d strings in all were heard", len(l.requests), len(l.all))
	}
	if len(l.connects) > 0 {
		f.t.Errorf("the device showed the relay %d passwords", len(l.connects))
	}
	if l.all[pin] {
		f.t.Error("the relay heard the PIN")
	}
	f.asTokens(l)
	for heard := range l.all {
		for door, connect := range f.doors() {
			for _, v := range versions {
				if door == "the plain port" && v == 5 || door == "WebSocket" && v == 4 {
					continue // a version differs in nothing that a door knows of
				}
				passwords := [][]byte{[]byte(heard)}
				if door == "the TLS port" {
					passwords = append(passwords, base64url([]byte(heard)))
				}
				for _, password := range passwords {
					c := &client{t: f.t, got: make(chan string, 16), ended: make(chan byte, 2)}
					nc := connect()
					if err := c.over(nc, v, user+"/2", user, password); err == nil {
						f.t.Errorf("%s, version %d: %x was a password", door, v, password)
					}
					nc.Close()
				}
			}
		}
	}
	number := 1 << 20
	for _, web := range []bool{false, true} {
		for _, v := range versions {
			number++
			s := f.stranger(v, map[bool]string{false: f.secure, true: f.web}[web], web, number)
			for _, request := range l.requests {
				ctx, cancel := context.WithTimeout(f.t.Context(), 100*time.Millisecond) // not all have an answer
				_, _ = s.RoundTrip(ctx, request)
				cancel()
			}
			if f.server.PushDevice(id, []byte("psst")) != 0 {
				f.t.Errorf("version %d, web %v: a connection became the device's", v, web)
			}
			if err := s.subscribe("devices/demo/" + name + "/#"); err == nil {
				f.t.Errorf("version %d, web %v: the relay may listen to the device's topics", v, web)
			}
		}
	}
}

// asTokens shows all at a backend and at the operators' door.
func (f *fixture) asTokens(l loot) {
	f.t.Helper()
	ring, err := f.Keys.Ring(f.t.Context(), f.Pool)
	if err != nil {
		f.t.Fatal(err)
	}
	keys, err := verify.NewKeySet(ring.Verifiers...)
	if err != nil {
		f.t.Fatal(err)
	}
	backend, err := verify.New(verify.Config{Issuer: ring.Issuer, Audience: "demo", Algorithms: []token.Alg{token.ES256, token.EdDSA, token.RS256}, Keys: keys, Leeway: 24 * time.Hour})
	if err != nil {
		f.t.Fatal(err)
	}
	operators, err := adminapi.Handler(adminapi.Config{Control: f.Control, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		f.t.Fatal(err)
	}
	for heard := range l.all {
		if c, err := backend.Verify(f.t.Context(), []byte(heard)); err == nil {
			f.t.Errorf("a backend believes %x: %+v", heard, c)
		}
		if c, err := backend.VerifyID(f.t.Context(), []byte(heard)); err == nil {
			f.t.Errorf("a backend believes %x: %+v", heard, c)
		}
		q := httptest.NewRequestWithContext(f.t.Context(), http.MethodGet, "/api/v1/pools", nil)
		q.Header.Set("Authorization", "Bearer "+base64.RawURLEncoding.EncodeToString([]byte(heard)))
		w := httptest.NewRecorder()
		if operators.ServeHTTP(w, q); w.Code == http.StatusOK {
			f.t.Errorf("the operators' API takes %x", heard)
		}
	}
}
