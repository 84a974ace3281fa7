package interop

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/agent/mqttlink"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/challenge"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/token"
)

// A balancer is one of the manual's configurations, in use.
type balancer struct {
	mqtt, https string // host:port
	ca          string // file: who vouches for what answers there
}

// TestBalancers runs the manual's configurations of nginx and HAProxy in front of a real
// signetd, each with the settings that the manual gives and without those that trust the
// balancer. Through each, on MQTT over TLS and over WebSocket, a device enrolls; its connection
// becomes its own, by the exchange, in AUTH packets too, and by the proof at CONNECT, only if TLS ends in signetd or
// the setting trusts who ends it; in RFC 9431's way only if TLS ends in signetd, but for proofs over nonces; and signetd knows the client's own address.
func TestBalancers(t *testing.T) {
	setUp(t)
	programs := build(t, "./broker/cmd/signetd", "./agent/cmd/signet-agent")
	here := "127.0.0.1/32"
	passes := []string{"SIGNET_BALANCER_MQTT_PROXY_PROTOCOL=" + here, "SIGNET_BALANCER_HTTPS_PROXY_PROTOCOL=" + here}
	trusted := []string{"SIGNET_BALANCER_MQTT_ENDS_TLS=" + here, "SIGNET_BALANCER_HTTPS_ENDS_TLS=" + here}
	challenge := "SIGNET_MQTT_ACE_CHALLENGE=true"
	for _, c := range []struct {
		name, file string
		settings   []string
		own        bool   // the connection becomes the device's
		nonces     bool   // a proof over nonces (RFC 9431) counts
		web        string // how signetd knows a client over WebSocket; as any other if empty
	}{
		{"nginx passes TLS through", "nginx.conf, TLS passes through", passes, true, false, ""},
		{"HAProxy passes TLS through", "haproxy.cfg, TLS passes through", append(passes[:2:2], challenge), true, true, ""},
		{"nginx ends TLS, trusted", "nginx.conf, TLS ends here", append(passes[:1:1], trusted...), true, false, "by its address alone"},
		{"nginx ends TLS", "nginx.conf, TLS ends here", passes[:1], false, false, "not at all"},
		{"HAProxy ends TLS, trusted", "haproxy.cfg, TLS ends here", append(passes[:2:2], append(trusted, challenge)...), true, true, ""},
		// Whoever ends TLS may pass on a proof that is bound to nothing: the one setting says so, and needs no other.
		{"HAProxy ends TLS, nonces count", "haproxy.cfg, TLS ends here", append(passes[:2:2], challenge), false, true, ""},
		{"HAProxy ends TLS", "haproxy.cfg, TLS ends here", passes, false, false, ""},
	} {
		t.Run(strings.ReplaceAll(c.name, " ", "-"), func(t *testing.T) {
			s := serveWith(t, programs, append([]string{"SIGNET_LOG_LEVEL=debug", "SIGNET_LOG_FORMAT=json"}, c.settings...)...)
			b := s.behind(t, c.file)
			for way, broker := range map[string]string{"mqtt": "mqtts://" + b.mqtt, "web": "wss://" + b.https + "/mqtt"} {
				d := s.device(t, "lamp-"+way, broker, b.ca)
				if got := d.enrolls(t); got != c.own {
					t.Errorf("%s: by the exchange the connection became the device's: %v", broker, got)
				}
				if got := d.comesBack(t); got != c.own {
					t.Errorf("%s: by its proof the device came in: %v", broker, got)
				}
				if exported, nonces := d.byACE(t, s, broker, b.ca); exported != strings.Contains(c.name, "passes") || nonces != c.nonces {
					t.Errorf("%s: by ace the device came in: %v with what its TLS connection exports, %v with nonces", broker, exported, nonces)
				}
				// The login ends the session of the token before.
				if got := d.bySignet(t, s, broker, b.ca); got != c.own {
					t.Errorf("%s: by AUTH packets of SIGNET the device came in: %v", broker, got)
				}
				sent, seen := s.strangerFrom(t, broker, b.ca)
				known := seen == sent
				if way == "web" && c.web == "by its address alone" {
					known = seen == "127.0.0.1:0"
				} else if way == "web" && c.web == "not at all" {
					known = seen != "" && seen != sent // the balancer's
				}
				if !known {
					t.Errorf("%s: a client at %s was taken to be at %q", broker, sent, seen)
				}
				if c.own {
					agentThrough(t, programs, s, broker, b.ca)
				}
			}
		})
	}
}

// The devices behind a balancer.
type device struct {
	*agent.Agent
	id        string
	key       key
	token     []byte // an access token, of its enrollment
	admission agent.Admission
	dial      func(*agent.Credential) (*mqttlink.Link, error)
	own       string // a topic of its own
}

type key struct{ signer *token.Signer }

func (k key) Kind() string                       { return challenge.Key }
func (k key) PublicKey() []byte                  { return k.signer.Key().MarshalCOSE() }
func (k key) Prove(input []byte) ([]byte, error) { return k.signer.Sign(input) }

func (s *served) device(t *testing.T, name, broker, ca string) *device {
	t.Helper()
	chip, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := token.NewSigner(chip)
	if err != nil {
		t.Fatal(err)
	}
	id, err := ident.ParseDevice("demo:" + name)
	if err != nil {
		t.Fatal(err)
	}
	a, err := agent.New(t.Context(), agent.Config{Device: id, Prover: key{signer}, State: new(agent.Memory)})
	if err != nil {
		t.Fatal(err)
	}
	enrollment, err := protocol.ParseEnrollToken(s.env["SIGNET_ENROLLMENT"])
	if err != nil {
		t.Fatal(err)
	}
	trust := mqttlink.Trust{Roots: certificates(t, ca)}
	return &device{a, id.String(), key{signer}, nil, agent.Admission{Token: &enrollment}, func(c *agent.Credential) (*mqttlink.Link, error) {
		return mqttlink.Dial(t.Context(), mqttlink.Options{Broker: broker, Trust: trust, Credential: c})
	}, "devices/demo/" + name + "/#"}
}

// enrolls reports whether the connection on which the device enrolled became its own.
func (d *device) enrolls(t *testing.T) bool {
	t.Helper()
	l, err := d.dial(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // done with it
	g, err := d.Enroll(t.Context(), l, d.admission)
	if err != nil {
		t.Fatal(err)
	}
	d.token = g.Access
	return l.Subscribe(t.Context(), d.own, 1, func(string, []byte) {}) == nil
}

// comesBack reports whether the device may connect with the proof of its key. It has none to
// show to a broker that did not hear it there.
func (d *device) comesBack(t *testing.T) bool {
	t.Helper()
	l, err := d.dial(d.Credential())
	if errors.Is(err, agent.ErrCredential) {
		return false
	}
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // done with it
	return l.Subscribe(t.Context(), d.own, 1, func(string, []byte) {}) == nil
}

// strangerFrom connects and sends what is no message, over WebSocket what is not even a packet,
// so that each is the first of its kind and logged at once; it gives its own address, and the one
// that signetd logs.
func (s *served) strangerFrom(t *testing.T, broker, ca string) (sent, seen string) {
	t.Helper()
	nc, conn := s.dial(t, broker, ca)
	sent = nc.LocalAddr().String()
	id := "anon-" + strings.Repeat("0f", 16)
	topic := "signet/v1/" + id + "/rq"
	if _, err := io.WriteString(conn, "\x10\x31\x00\x04MQTT\x04\x02\x00\x3c\x00\x25"+id); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
	from := s.log.len()
	bad, told := fmt.Sprintf("\x30%c\x00%c%s!", 2+len(topic)+1, len(topic), topic), regexp.MustCompile(`undecodable message.*"remote":"([^"]*)"`)
	if strings.HasPrefix(broker, "wss") {
		bad, told = "\x00\x00", regexp.MustCompile(`mqtt packet refused.*"remote":"([^"]*)"`)
	}
	if _, err := io.WriteString(conn, bad); err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		if m := told.FindStringSubmatch(s.log.from(from)); m != nil {
			return sent, m[1]
		}
		time.Sleep(5 * time.Millisecond)
	}
	return sent, ""
}

// dial connects to a broker as any client does, and gives the TLS connection too.
func (s *served) dial(t *testing.T, broker, ca string) (secure *tls.Conn, conn net.Conn) {
	t.Helper()
	roots := x509.NewCertPool()
	for _, c := range certificates(t, ca) {
		roots.AddCert(c)
	}
	scheme, rest, _ := strings.Cut(broker, "://")
	host, path, _ := strings.Cut(rest, "/")
	conf := &tls.Config{RootCAs: roots, ServerName: "localhost"}
	nc, err := tls.Dial("tcp", host, conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	conn = nc
	if scheme == "wss" {
		client := &http.Client{Transport: &http.Transport{DialTLSContext: func(context.Context, string, string) (net.Conn, error) { return nc, nil }}}
		// As a dashboard's page does it, of any origin.
		ws, _, err := websocket.Dial(t.Context(), "https://"+host+"/"+path, &websocket.DialOptions{
			HTTPClient: client, Subprotocols: []string{"mqtt"}, HTTPHeader: http.Header{"Origin": {"https://dashboard.example"}, "X-Forwarded-For": {"192.0.2.66"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		conn = websocket.NetConn(t.Context(), ws, websocket.MessageBinary)
	}
	return nc, conn
}

// agentThrough has the real agent enroll and check its way.
func agentThrough(t *testing.T, programs string, s *served, broker, ca string, environ ...string) {
	t.Helper()
	home := t.TempDir()
	run := func(environ []string, args ...string) (string, error) {
		c := exec.CommandContext(t.Context(), filepath.Join(programs, "signet-agent"), append(args, "--state", filepath.Join(home, "d"))...)
		c.Env = append([]string{"HOME=" + home}, environ...)
		out, err := c.CombinedOutput()
		return string(out), err
	}
	if out, err := run(environ, "enroll", "--broker", broker, "--ca", ca, "--pool", "demo", "--name", fmt.Sprint("agent-", time.Now().UnixNano()), "--token", s.env["SIGNET_ENROLLMENT"]); err != nil {
		t.Fatalf("%s: enroll: %v\n%s", broker, err, out)
	}
	out, err := run(environ, "check")
	if err != nil || !strings.Contains(out, "login  ok") || strings.Contains(out, "proxy  to go through: 127.0.0.1:") != (len(environ) > 0) {
		t.Errorf("%s: check: %v\n%s", broker, err, out)
	}
	if len(environ) > 0 {
		if out, err := run([]string{strings.Replace(environ[0], "@", "x@", 1)}, "check"); err == nil || !strings.Contains(out, "proxy  failed: ") {
			t.Errorf("%s: check with another password for the proxy: %v\n%s", broker, err, out)
		}
	}
}

// behind runs the balancer that the manual's block is the configuration of.
func (s *served) behind(t *testing.T, block string) balancer {
	t.Helper()
	dir := t.TempDir()
	own := newCertificate(t, dir)
	b := balancer{mqtt: freePort(t), https: freePort(t), ca: own.ca}
	if strings.Contains(block, "passes through") {
		b.ca = s.env["SIGNET_CA"]
	}
	mqttPort, httpsPort := b.mqtt[strings.LastIndex(b.mqtt, ":")+1:], b.https[strings.LastIndex(b.https, ":")+1:]
	b.mqtt, b.https = "localhost:"+mqttPort, "localhost:"+httpsPort
	text := manualBlock(t, block)
	text = replace(t, text, "10.0.0.7:8883", s.mqtt)
	text = replace(t, text, "10.0.0.7:8443", s.https)
	for _, p := range []struct{ from, to string }{
		{"/etc/ssl/signet.example.pem", own.both}, {"/etc/ssl/signet-root.pem", s.env["SIGNET_CA"]}, {"signet.example", "localhost"},
		{"listen 8883", "listen 127.0.0.1:" + mqttPort}, {"listen 443", "listen 127.0.0.1:" + httpsPort},
		{"bind :8883", "bind 127.0.0.1:" + mqttPort}, {"bind :443", "bind 127.0.0.1:" + httpsPort},
	} {
		text = strings.ReplaceAll(text, p.from, p.to)
	}
	file := filepath.Join(dir, "balancer.conf")
	command := []string{"haproxy", "-db", "-f", file}
	if strings.HasPrefix(block, "nginx") {
		text = strings.Replace(text, "http {", "http {\n    access_log off;", 1)
		command = []string{"nginx", "-c", file, "-e", "stderr", "-g", "daemon off; pid " + filepath.Join(dir, "pid") + "; user root;"}
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, nil, command[0], command[1:]...)
	for _, addr := range []string{b.mqtt, b.https} {
		listens(t, addr)
	}
	return b
}

// manualBlock gives the code block of docs/signetd.md whose first line is that comment.
func manualBlock(t *testing.T, first string) string {
	t.Helper()
	raw, err := os.ReadFile("../../docs/signetd.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(raw), "\n# "+first+"\n")
	if !ok {
		t.Fatalf("docs/signetd.md has no block that begins with %q", first)
	}
	text, _, _ := strings.Cut(rest, "\n```")
	return text + "\n"
}

func replace(t *testing.T, text, from, to string) string {
	t.Helper()
	if !strings.Contains(text, from) {
		t.Fatalf("no %q in\n%s", from, text)
	}
	return strings.ReplaceAll(text, from, to)
}

// listens waits until somebody does.
func listens(t *testing.T, addr string) {
	t.Helper()
	for range 1000 {
		nc, err := net.Dial("tcp", addr)
		if err == nil {
			_ = nc.Close()
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("nobody listens on %s", addr)
}

// A certificate of this machine's, with its key.
type certificate struct{ ca, both string } // files

func newCertificate(t *testing.T, dir string) certificate {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), DNSNames: []string{"localhost"},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	c := certificate{filepath.Join(dir, "balancer-ca.pem"), filepath.Join(dir, "balancer.pem")}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := errors.Join(
		os.WriteFile(c.ca, cert, 0o600),
		os.WriteFile(c.both, append(cert, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})...), 0o600),
	); err != nil {
		t.Fatal(err)
	}
	return c
}

func certificates(t *testing.T, file string) []*x509.Certificate {
	t.Helper()
	rest, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var all []*x509.Certificate
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return all
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
}
