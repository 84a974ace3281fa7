package command

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"

	"sync/atomic"
	"testing"
	"time"

	"github.com/signetd/signet/agent/mqttlink/mqtttest"
	"github.com/signetd/signet/firmware-sim/firmwaretest"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/ident"
)

// A broker is a real MQTT server over TLS in front of firmwaretest's.
type broker struct {
	*firmwaretest.Broker
	mqtt     *mqtttest.Server
	url      string
	root     *x509.Certificate
	rootKey  *ecdsa.PrivateKey
	serving  atomic.Pointer[tls.Certificate]
	disabled atomic.Bool
}

func newBroker(t *testing.T) *broker {
	t.Helper()
	fake, err := firmwaretest.NewBroker()
	if err != nil {
		t.Fatal(err)
	}
	b := &broker{Broker: fake}
	fake.Refuse = func(ident.Name) error {
		if b.disabled.Load() {
			return protocol.CodeDisabled
		}
		return nil
	}
	b.rootKey, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"}, NotBefore: now.AddDate(-1, 0, 0), NotAfter: now.AddDate(20, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	b.root = sign(t, tmpl, tmpl, &b.rootKey.PublicKey, b.rootKey)
	b.present(t, now.Add(-time.Hour), now.Add(24*time.Hour), true)
	b.listen(t)
	return b
}

func sign(t *testing.T, tmpl, parent *x509.Certificate, pub *ecdsa.PublicKey, by *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, pub, by)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// present gives the broker another certificate, with or without the root behind it.
func (b *broker) present(t *testing.T, from, to time.Time, withRoot bool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	leaf := sign(t, &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: from, NotAfter: to, DNSNames: []string{"localhost"},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, b.root, &key.PublicKey, b.rootKey)
	chain := [][]byte{leaf.Raw}
	if withRoot {
		chain = append(chain, b.root.Raw)
	}
	b.serving.Store(&tls.Certificate{Certificate: chain, PrivateKey: key})
}

func (b *broker) listen(t *testing.T) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b.url = "mqtts://localhost:" + strings.TrimPrefix(ln.Addr().String(), "127.0.0.1:")
	ln = tls.NewListener(ln, b.serverConfig())
	link, err := b.Dial(nil)(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	mqtt := &mqtttest.Server{Admit: func(user, _ string) bool { return user == "" || !b.disabled.Load() }}
	mqtt.Received = func(topic string, payload []byte) {
		own, ok := strings.CutSuffix(topic, "/rq")
		if !ok {
			return
		}
		if reply, err := link.RoundTrip(context.Background(), payload); err == nil {
			_ = mqtt.Publish(own+"/rs", reply, false, 0)
		}
	}
	b.mqtt = mqtt
	mqtt.Serve(ln)
	t.Cleanup(mqtt.Close)
}

func (b *broker) serverConfig() *tls.Config {
	return &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return b.serving.Load(), nil }}
}

// secretFile writes a file that only its owner reads.
func secretFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// ca writes the root's file.
func (b *broker) ca(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "root.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: b.root.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func (b *broker) fingerprint() string {
	sum := sha256.Sum256(b.root.Raw)
	return hex.EncodeToString(sum[:])
}

// A machine runs the program with a clock and environment of its own.
type machine struct {
	t     *testing.T
	env   map[string]string
	shift atomic.Int64 // of its clock, in nanoseconds
	in    string       // its standard input
	said  bytes.Buffer // all that the program ever printed
}

func (m *machine) run(args ...string) (code int, out, errs string) {
	return m.runFor(m.t.Context(), args...)
}

func (m *machine) runFor(ctx context.Context, args ...string) (code int, out, errs string) {
	m.t.Helper()
	var o, e bytes.Buffer
	p := &program{
		in: strings.NewReader(m.in), out: &o, err: &e, getenv: func(k string) string { return m.env[k] },
		now: func() time.Time { return time.Now().Add(time.Duration(m.shift.Load())) },
	}
	code = p.main(ctx, args)
	m.said.WriteString(o.String() + e.String())
	return code, o.String(), e.String()
}

// must runs what has to go well.
func (m *machine) must(args ...string) string {
	m.t.Helper()
	code, out, errs := m.run(args...)
	if code != 0 {
		m.t.Fatalf("%v: code %d\n%s%s", args, code, out, errs)
	}
	if errs != "" && !strings.Contains(errs, "going on without") && !strings.Contains(errs, "starting over") {
		m.t.Errorf("%v: all is well, and yet: %s", args, errs)
	}
	return out
}

// fails runs what has to fail, with a text and a hint on standard error.
func (m *machine) fails(code int, text, hint string, args ...string) string {
	m.t.Helper()
	got, out, errs := m.run(args...)
	if got != code || !strings.Contains(errs, text) || !strings.Contains(errs, "hint: "+hint) {
		m.t.Errorf("%v: code %d, want %d with %q and hint %q\n%s%s", args, got, code, text, hint, out, errs)
	}
	return out
}

// socketOf is where the agent of a folder listens.
func (m *machine) socketOf(dir string) string {
	return (&program{getenv: func(k string) string { return m.env[k] }}).usualSocket(dir)
}

// start runs the agent until stop is called, and waits until it is there.
func (m *machine) start(socket string, args ...string) (stop func()) {
	m.t.Helper()
	return m.startUntil("online", socket, args...)
}

// startUntil runs the agent until stop is called, and waits for its status to say a word.
func (m *machine) startUntil(word, socket string, args ...string) (stop func()) {
	m.t.Helper()
	ctx, cancel := context.WithCancel(m.t.Context())
	done := make(chan string, 1)
	go func() {
		code, out, errs := m.runFor(ctx, append([]string{"run"}, args...)...)
		if code != 0 {
			m.t.Errorf("run ended with %d: %s%s", code, out, errs)
		}
		done <- errs
	}()
	other := &machine{t: m.t, env: m.env}
	for range 400 {
		if _, out, _ := other.run("status", "--socket", socket); strings.Contains(out, word) {
			return func() { cancel(); <-done }
		}
		time.Sleep(10 * time.Millisecond)
	}
	cancel()
	m.t.Fatalf("the agent does not say %q: %s", word, <-done)
	return nil
}

// folder gives a path short enough for a socket.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sa")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "d")
}
