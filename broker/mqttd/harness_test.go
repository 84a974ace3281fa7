package mqttd

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/ident/identtest"
	"github.com/signetd/signet/protocol/topic"
	"github.com/signetd/signet/protocol/topic/topictest"
	"github.com/signetd/signet/test/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// patience bounds every wait of these tests; none measures time.
const patience = 10 * time.Second

var (
	anonA = "anon-" + strings.Repeat("a1", 16)
	anonB = "anon-" + strings.Repeat("b2", 16)
)

// A gate that knows one password: "token-" and the device's name. Without a user
// name a client is anonymous.
type testGate struct {
	mu        sync.Mutex
	grants    map[ident.Device]topic.Permissions
	expires   map[ident.Device]time.Time
	hold      chan struct{} // closed to let Admit go on, when not nil
	held      chan struct{}
	anonymous Standing
}

func (g *testGate) Admit(ctx context.Context, c Connect) (Standing, error) {
	g.mu.Lock()
	hold := g.hold
	g.mu.Unlock()
	if hold != nil {
		g.held <- struct{}{}
		<-hold
	}
	if c.UserName == "" {
		return g.anonymous, nil
	}
	name, _, _ := strings.Cut(c.UserName, "/")
	d, err := ident.ParseDevice(name)
	if err != nil || string(c.Password) != "token-"+d.String() {
		return Standing{}, errors.New("no such token")
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	grant, ok := g.grants[d]
	if !ok {
		grant = topic.Own(d)
		grant.Retain = false // tests that are about it grant it
	}
	return Standing{Device: d, Permissions: grant, Expires: g.expires[d]}, nil
}

// A server under test with its address.
type fixture struct {
	*Server
	t    *testing.T
	gate *testGate
	made Config // of what the Server was
	addr string
	logs *logBuffer
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func start(t *testing.T, change func(*Config, *fixture)) *fixture {
	t.Helper()
	return startOn(t, change, func(ln net.Listener) net.Listener { return ln })
}

func startOn(t *testing.T, change func(*Config, *fixture), wrap func(net.Listener) net.Listener) *fixture {
	t.Helper()
	leaktest.Check(t)
	f := &fixture{t: t, gate: &testGate{grants: map[ident.Device]topic.Permissions{}, expires: map[ident.Device]time.Time{}}, logs: &logBuffer{}}
	cfg := Config{
		Gate: f.gate,
		Respond: func(_ context.Context, q Request) []byte {
			return append([]byte("re:"), q.Payload...)
		},
		Log: slog.New(slog.NewTextHandler(f.logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if change != nil {
		change(&cfg, f)
	}
	var err error
	f.made = cfg
	if f.Server, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.addr = ln.Addr().String()
	served := make(chan error, 1)
	go func() { served <- f.Serve(context.Background(), wrap(ln), nil) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := f.Close(ctx); err != nil && !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
		if err := <-served; err != nil && !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
		if strings.Contains(f.logs.String(), "panic") {
			t.Errorf("a panic was logged:\n%s", f.logs)
		}
	})
	return f
}

func device(t *testing.T, s string) ident.Device {
	t.Helper()
	return identtest.Device(t, s)
}

func filters(t *testing.T, list ...string) (fs []topic.Filter) {
	t.Helper()
	for _, s := range list {
		fs = append(fs, topictest.Filter(t, s))
	}
	return fs
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

// A raw client speaks MQTT byte by byte, so that it can speak it wrongly.
type raw struct {
	t  *testing.T
	nc net.Conn
	r  *bufio.Reader
	v  byte
}

// A connectPacket has the fields of a CONNECT that tests change.
type connectPacket struct {
	version        byte
	id, user, pass string
	will           string
	willRetain     bool
	dirty          bool // clean start not asked for
	expiry         uint32
	method         string
	keepAlive      uint16 // 0: a minute
}

func str(s string) []byte { return append(binary.BigEndian.AppendUint16(nil, uint16(len(s))), s...) }

func frame(first byte, parts ...[]byte) []byte {
	body := bytes.Join(parts, nil)
	out, n := []byte{first}, len(body)
	for {
		b := byte(n & 0x7f)
		if n >>= 7; n == 0 {
			return append(append(out, b), body...)
		}
		out = append(out, b|0x80)
	}
}

func (c connectPacket) bytes() []byte {
	flags := byte(2)
	if c.dirty {
		flags = 0
	}
	var props, payload []byte
	if c.expiry > 0 {
		props = binary.BigEndian.AppendUint32(append(props, 0x11), c.expiry)
	}
	if c.method != "" {
		props = append(append(props, 0x15), str(c.method)...)
	}
	payload = append(payload, str(c.id)...)
	if c.will != "" {
		flags |= 4
		if c.willRetain {
			flags |= 0x20
		}
		if c.version == 5 {
			payload = append(payload, 5, 0x18, 0, 0, 0, 60) // a will delay of a minute
		}
		payload = append(append(payload, str(c.will)...), str("last words")...)
	}
	if c.user != "" {
		flags |= 0xc0
		payload = append(append(payload, str(c.user)...), str(c.pass)...)
	}
	if c.keepAlive == 0 {
		c.keepAlive = 60
	}
	head := binary.BigEndian.AppendUint16(append(str("MQTT"), c.version, flags), c.keepAlive)
	if c.version == 5 {
		head = append(append(head, byte(len(props))), props...)
	}
	return frame(0x10, head, payload)
}

func as(d string, version byte) connectPacket {
	return connectPacket{version: version, id: d, user: d, pass: "token-" + d}
}

func (f *fixture) dial() *raw {
	f.t.Helper()
	nc, err := net.Dial("tcp", f.addr)
	if err != nil {
		f.t.Fatal(err)
	}
	return newRaw(f.t, nc)
}

func newRaw(t *testing.T, nc net.Conn) *raw {
	_ = nc.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { nc.Close() })
	return &raw{t: t, nc: nc, r: bufio.NewReader(nc)}
}

// connect sends a CONNECT and gives the CONNACK's code.
func (f *fixture) connect(c connectPacket) (*raw, byte) {
	f.t.Helper()
	r := f.dial()
	r.v = c.version
	r.send(c.bytes())
	kind, body := r.next()
	if kind != 0x20 || len(body) < 2 {
		f.t.Fatalf("connecting as %q: got packet %#x %x, want a CONNACK", c.id, kind, body)
	}
	return r, body[1]
}

func (f *fixture) mustConnect(c connectPacket) *raw {
	f.t.Helper()
	r, code := f.connect(c)
	if code != 0 {
		f.t.Fatalf("connecting as %q: code %#x", c.id, code)
	}
	return r
}

func (r *raw) send(b []byte) {
	r.t.Helper()
	if _, err := r.nc.Write(b); err != nil {
		r.t.Fatalf("sending: %v", err)
	}
}

func (r *raw) read() (kind byte, body []byte, err error) {
	if kind, err = r.r.ReadByte(); err != nil {
		return 0, nil, err
	}
	n, err := binary.ReadUvarint(r.r)
	if err != nil {
		return 0, nil, err
	}
	body = make([]byte, n)
	_, err = io.ReadFull(r.r, body)
	return kind, body, err
}

func (r *raw) next() (kind byte, body []byte) {
	r.t.Helper()
	kind, body, err := r.read()
	if err != nil {
		r.t.Fatalf("reading a packet: %v", err)
	}
	return kind, body
}

// props is an empty property list where the version has one.
func (r *raw) props() []byte {
	if r.v == 5 {
		return []byte{0}
	}
	return nil
}

func (r *raw) subscribe(filter string) byte {
	r.t.Helper()
	r.send(frame(0x82, []byte{0, 7}, r.props(), str(filter), []byte{0}))
	kind, body := r.next()
	if kind != 0x90 {
		r.t.Fatalf("subscribing to %q: packet %#x %x", filter, kind, body)
	}
	return body[len(body)-1]
}

func (r *raw) mustSubscribe(filters ...string) *raw {
	r.t.Helper()
	for _, f := range filters {
		if code := r.subscribe(f); code != 0 {
			r.t.Fatalf("subscribing to %q: code %#x", f, code)
		}
	}
	return r
}

func (r *raw) publish(flags byte, name, payload string) {
	r.t.Helper()
	var id []byte
	if flags&6 != 0 {
		id = []byte{0, 9}
	}
	r.send(frame(0x30|flags, str(name), id, r.props(), []byte(payload)))
}

// message waits for a PUBLISH of QoS 0.
func (r *raw) message() (name, payload string) {
	r.t.Helper()
	kind, body := r.next()
	if kind>>4 != 3 || len(body) < 2 {
		r.t.Fatalf("got packet %#x %x, want a message", kind, body)
	}
	n := int(binary.BigEndian.Uint16(body))
	name, rest := string(body[2:2+n]), body[2+n:]
	if r.v == 5 { // no property list of these tests is longer than 127 bytes
		rest = rest[1+rest[0]:]
	}
	return name, string(rest)
}

// ping proves that all sent before was handled and that nothing came of it.
func (r *raw) ping() {
	r.t.Helper()
	r.send([]byte{0xc0, 0})
	if kind, body := r.next(); kind != 0xd0 {
		r.t.Fatalf("got packet %#x %x, want nothing but a PINGRESP", kind, body)
	}
}

// ended waits for the end: in version 5 with this reason. A client that is mid-
// write may see a reset, but not before the reason.
func (r *raw) ended(reason Reason) {
	r.t.Helper()
	if r.v == 5 {
		if kind, body := r.next(); kind != 0xe0 || len(body) == 0 || Reason(body[0]) != reason {
			r.t.Fatalf("got packet %#x %x, want a DISCONNECT with reason %#x", kind, body, reason)
		}
	}
	r.closed()
}

func (r *raw) closed() {
	r.t.Helper()
	if kind, body, err := r.read(); err == nil {
		r.t.Fatalf("got packet %#x %x, want the end", kind, body)
	} else if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
		r.t.Fatal("the connection stays open")
	}
}

// selfSigned makes a TLS configuration for both ends.
func selfSigned(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, &tls.Config{RootCAs: roots}
}
