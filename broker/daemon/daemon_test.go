package daemon_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/boltstore"
	"github.com/signetd/signet/broker/config"
	"github.com/signetd/signet/broker/control"
	"github.com/signetd/signet/broker/core"
	"github.com/signetd/signet/broker/daemon"
	"github.com/signetd/signet/broker/problem"
	"github.com/signetd/signet/protocol/ident/identtest"
)

// selfSigned is a certificate authority of one certificate.
type selfSigned struct {
	cert  tls.Certificate
	lives []daemon.Life
}

func (s *selfSigned) Lives() []daemon.Life { return s.lives }

func newSelfSigned(t *testing.T) *selfSigned {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0), DNSNames: []string{"localhost"},
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &selfSigned{cert: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}}
}

func (s *selfSigned) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return &s.cert, nil
}

func (s *selfSigned) Roots() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.cert.Certificate[0]})
}

// A lines is a log that several goroutines write.
type lines struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// A site is a data folder with who serves it.
type site struct {
	cfg   config.Config
	store *boltstore.Store // of the last open
	certs *selfSigned
	log   *lines
	level slog.Level // of what is logged
}

func newSite(t *testing.T) *site {
	t.Helper()
	cfg := config.Default()
	cfg.Data, cfg.Issuer, cfg.Version = t.TempDir(), "https://localhost:0", "test"
	cfg.Listen = config.Listen{MQTT: "127.0.0.1:0", HTTPS: "127.0.0.1:0", Health: "127.0.0.1:0"}
	if err := os.Mkdir(filepath.Join(cfg.Data, config.CAFolder), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(cfg.Data, config.CAFolder, "root.pem"), []byte("a root"), 0o600); err != nil {
		t.Fatal(err)
	}
	return &site{cfg: cfg, certs: newSelfSigned(t), log: &lines{}}
}

// hold opens the data folder.
func (s *site) hold(t *testing.T) (core.Parts, error) {
	t.Helper()
	key, err := s.cfg.OpenKey()
	if err != nil {
		return core.Parts{}, err
	}
	if s.store, err = boltstore.Open(t.Context(), s.cfg.StorePath(), boltstore.Options{}); err != nil {
		return core.Parts{}, err
	}
	return core.Parts{Store: s.store, Sealer: key}, nil
}

// open opens a broker that close ends.
func (s *site) open(t *testing.T) (*daemon.Daemon, error) {
	t.Helper()
	parts, err := s.hold(t)
	if err != nil {
		return nil, err
	}
	d, err := daemon.Open(t.Context(), s.cfg, parts, s.certs, slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: s.level})))
	if err != nil {
		return nil, errors.Join(err, s.store.Close())
	}
	return d, nil
}

// close ends a broker, and another time.
func (s *site) close(d *daemon.Daemon) error {
	return errors.Join(d.Close(), d.Close(), s.store.Close())
}

// serve runs a broker; stop ends it and gives what Run gave.
func (s *site) serve(t *testing.T) (d *daemon.Daemon, stop func() error) {
	t.Helper()
	d, err := s.open(t)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done, store := make(chan error, 1), s.store
	go func() { done <- d.Run(ctx) }()
	stop = sync.OnceValue(func() error {
		cancel()
		return errors.Join(<-done, store.Close())
	})
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("run: %v", err)
		}
	})
	return d, stop
}

func (s *site) client() *http.Client {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(s.certs.Roots())
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots}}}
}

func get(t *testing.T, c *http.Client, method, url string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(raw)
}

// ready waits until the broker says that it serves.
func ready(t *testing.T, d *daemon.Daemon) {
	t.Helper()
	for {
		if res, _ := get(t, http.DefaultClient, "GET", "http://"+d.Addrs.Health.String()+"/readyz"); res.StatusCode == http.StatusOK {
			return
		}
	}
}

func TestServesAndEnds(t *testing.T) {
	s := newSite(t)
	d, stop := s.serve(t)
	ready(t, d)
	for path, want := range map[string]string{"/livez": "ok\n", "/readyz": "ok\n", "/metrics": "# HELP signet_mqtt_connections "} {
		if res, body := get(t, http.DefaultClient, "GET", "http://"+d.Addrs.Health.String()+path); res.StatusCode != 200 || !strings.Contains(body, want) {
			t.Errorf("%s: got %d %s", path, res.StatusCode, body)
		}
	}
	if strings.HasSuffix(d.Issuer(), ":0") || !strings.HasPrefix(d.Issuer(), "https://localhost:") {
		t.Fatalf("issuer %s", d.Issuer())
	}
	pool := identtest.Pool(t, "demo")
	p, err := d.Control.CreatePool(t.Context(), broker.By{Actor: broker.ActorLocal}, pool)
	if err != nil || p.Issuer != d.Issuer()+"/pools/demo" {
		t.Fatalf("got %s, %v", p.Issuer, err)
	}
	web := s.client()
	for _, c := range []struct {
		method, path string
		status       int
	}{
		{"GET", "/pools/demo/.well-known/jwks.json", 200}, {"GET", "/ca/roots.pem", 200}, {"GET", "/api/docs", 200},
		{"GET", "/nothing", 404}, {"GET", "/", 404}, {"GET", "/pools/none/.well-known/jwks.json", 404}, {"POST", "/ca/roots.pem", 405},
		{"POST", "/pools/demo/.well-known/jwks.json", 405}, {"GET", "/api/v1/pools", 401}, {"GET", "/api/v1/nothing", 401},
	} {
		res, body := get(t, web, c.method, d.Issuer()+c.path)
		if res.StatusCode != c.status {
			t.Errorf("%s %s: got %d %s", c.method, c.path, res.StatusCode, body)
		}
		var p problem.Problem
		if c.status >= 400 && (json.Unmarshal([]byte(body), &p) != nil || p.Status != c.status ||
			p.RequestID == "" || p.RequestID != res.Header.Get("X-Request-Id")) {
			t.Errorf("%s %s: no problem document: %s", c.method, c.path, body)
		}
	}
	if err := stop(); err != nil {
		t.Errorf("run ended with %v", err)
	}
	if _, err := net.Dial("tcp", d.Addrs.HTTPS.String()); err == nil {
		t.Error("something listens still")
	}
	if said := s.log.String(); !strings.Contains(said, "msg=stopping because=") || !strings.Contains(said, "msg=stopped") {
		t.Errorf("it does not say that it stops, and why: %s", said)
	}
}

// TestEndsInSpiteOfIdlers: connections that never say anything do not keep it.
func TestEndsInSpiteOfIdlers(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	d, stop := s.serve(t)
	ready(t, d)
	for _, addr := range []net.Addr{d.Addrs.MQTT, d.Addrs.HTTPS, d.Addrs.Health} {
		idle, err := net.Dial("tcp", addr.String())
		if err != nil {
			t.Fatal(err)
		}
		defer idle.Close()
	}
	half, err := tls.Dial("tcp", d.Addrs.HTTPS.String(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer half.Close()
	if _, err := io.WriteString(half, "POST /api/v1/pools HTTP/1.1\r\nHost: localhost\r\nContent-Le"); err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil {
		t.Errorf("run ended with %v", err)
	}
}

func TestStartsAgain(t *testing.T) {
	s := newSite(t)
	d, stop := s.serve(t)
	_, secret, err := d.Control.CreateOperator(t.Context(), broker.By{Actor: broker.ActorLocal}, control.NewOperator{Name: "ada", Life: time.Hour, Scope: broker.OperatorAdmin})
	if err != nil {
		t.Fatal(err)
	}
	pool := identtest.Pool(t, "demo")
	if _, err := d.Control.CreatePool(t.Context(), broker.By{Actor: broker.ActorLocal}, pool); err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	// What kill -9 leaves behind.
	stale, err := net.Listen("unix", filepath.Join(s.cfg.Data, "control.sock"))
	if err != nil {
		t.Fatal(err)
	}
	stale.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := stale.Close(); err != nil {
		t.Fatal(err)
	}
	s.cfg.Issuer = "https://moved.example"
	d, _ = s.serve(t)
	if o, err := d.Control.Authenticate(t.Context(), secret); err != nil || o.Name != "ada" {
		t.Errorf("got %v, %v", o.Name, err)
	}
	if !strings.Contains(s.log.String(), "under another issuer") || !strings.Contains(s.log.String(), "https://moved.example") {
		t.Errorf("no word of the issuer's change: %s", s.log)
	}
}

func TestNotReadyBeforeItRuns(t *testing.T) {
	s := newSite(t)
	d, err := s.open(t)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.close(d); err != nil {
		t.Errorf("close twice: %v", err)
	}
}

func TestAddressInUse(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for key, set := range map[string]func(*config.Listen){
		"listen.mqtt":   func(l *config.Listen) { l.MQTT = taken.Addr().String() },
		"listen.https":  func(l *config.Listen) { l.HTTPS = taken.Addr().String() },
		"listen.health": func(l *config.Listen) { l.Health = taken.Addr().String() },
	} {
		s := newSite(t)
		free := s.cfg.Listen
		set(&s.cfg.Listen)
		_, err := s.open(t)
		flag := "--" + strings.ReplaceAll(key, ".", "-")
		if err == nil || !strings.Contains(err.Error(), key+": another program listens on "+taken.Addr().String()) || !strings.Contains(err.Error(), flag) {
			t.Errorf("%s: got %v", key, err)
		}
		s.cfg.Listen = free
		d, err := s.open(t) // nothing is held from the time before
		if err != nil {
			t.Fatalf("%s: then: %v", key, err)
		}
		if err := s.close(d); err != nil {
			t.Error(err)
		}
	}
}

func TestOneProcessAFolder(t *testing.T) {
	s := newSite(t)
	s.serve(t)
	var held *boltstore.HeldError
	if _, err := s.open(t); !errors.As(err, &held) || held.PID != os.Getpid() {
		t.Errorf("got %v", err)
	}
}

func TestKeyFile(t *testing.T) {
	s := newSite(t)
	d, err := s.open(t)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.close(d); err != nil {
		t.Fatal(err)
	}
	inside := filepath.Join(s.cfg.Data, config.KeyFile)
	raw, err := os.ReadFile(inside)
	if err != nil {
		t.Fatal(err)
	}
	outside := filepath.Join(t.TempDir(), config.KeyFile)
	if err := os.Rename(inside, outside); err != nil {
		t.Fatal(err)
	}
	try := func(what, says string) {
		t.Helper()
		d, err := s.open(t)
		if err == nil {
			err = s.close(d)
		}
		if says == "" && err != nil || says != "" && (err == nil || !strings.Contains(err.Error(), says)) {
			t.Errorf("%s: got %v, want %q", what, err, says)
		}
		if _, err := os.Stat(inside); err == nil {
			t.Errorf("%s: a new key was made beside an old store", what)
		}
	}
	try("key gone", config.ErrKeyMissing.Error())
	s.cfg.KeyFile = outside
	try("key elsewhere", "")
	if err := os.Chmod(outside, 0o640); err != nil {
		t.Fatal(err)
	}
	try("key for a group", "chmod 600")
	s.cfg.KeyFile = filepath.Join(filepath.Dir(outside), "other")
	if err := os.WriteFile(s.cfg.KeyFile, make([]byte, len(raw)), 0o600); err != nil {
		t.Fatal(err)
	}
	try("another key", "cannot open a sealed secret")
	if err := os.WriteFile(s.cfg.KeyFile, raw[:5], 0o600); err != nil {
		t.Fatal(err)
	}
	try("short key", "5 bytes, want 32")

	t.Run("systemd credential", func(t *testing.T) {
		c, err := config.Default().Load("", map[string]string{
			"CREDENTIALS_DIRECTORY": filepath.Dir(outside), "SIGNET_DATA": s.cfg.Data, "SIGNET_ISSUER": "https://localhost:0",
			"SIGNET_LISTEN_MQTT": "127.0.0.1:0", "SIGNET_LISTEN_HTTPS": "127.0.0.1:0", "SIGNET_LISTEN_HEALTH": "127.0.0.1:0",
		})
		if err != nil {
			t.Fatal(err)
		}
		s.cfg = c
		try("credential", "") // its group's right is an ACL's
		if err := os.Chmod(outside, 0o644); err != nil {
			t.Fatal(err)
		}
		try("credential for everybody", "may be read by others")
	})
}
