package flood

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/signetd/signet/agent/mqttlink"
	"github.com/signetd/signet/certs"
)

// A rollover is devices that log in all the time while the broker's certificates are replaced.
type rollover struct {
	*site
	devices []*device
	logins  []atomic.Int64 // of each device, that succeeded
}

// TestRollover rehearses the end of a root: the next one is made elsewhere, devices are given
// both, the broker goes over to it while it runs, the last one is taken away. No login fails on
// the way, and then the last intermediate is worth nothing.
func TestRollover(t *testing.T) {
	s := open(t, t.TempDir(), "SIGNET_LIMITS_DEVICE_RATE=-1")
	r := &rollover{site: s, devices: s.enroll(5), logins: make([]atomic.Int64, 5)}
	last := filepath.Join(t.TempDir(), "last") // what a thief has
	if err := os.CopyFS(last, os.DirFS(filepath.Join(s.data, "ca"))); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"root.key", "intermediate.key"} {
		if err := os.Chmod(filepath.Join(last, key), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	first := s.trust.Roots[0]
	ctx, stop := context.WithCancel(t.Context())
	var working sync.WaitGroup
	for i, d := range r.devices {
		working.Go(func() {
			for ctx.Err() == nil {
				if err := d.login(t.Context()); err != nil {
					t.Errorf("a login fails: %v", err)
					return
				}
				r.logins[i].Add(1)
				time.Sleep(20 * time.Millisecond)
			}
		})
	}
	defer working.Wait()
	defer stop()
	r.allLogIn()

	was := r.shown()[1]
	r.renew() // under the same root: nobody has to know
	r.until("another intermediate", func() bool { return !r.shown()[1].Equal(was) })
	r.allLogIn()

	next := filepath.Join(t.TempDir(), "next")
	if err := certs.Create(next, certs.Options{Name: "Next"}); err != nil {
		t.Fatal(err)
	}
	newRoot := readPEM(t, filepath.Join(next, certs.RootFile))
	r.replaceRoots(append(readPEM(t, s.root), newRoot...))
	r.until("both roots", func() bool { return len(r.bundle()) == 2 })
	for _, d := range r.devices { // one after the other
		d.trust.Store(&mqttlink.Trust{Roots: r.bundle()})
	}
	r.allLogIn()
	r.renew("--ca-intermediate", filepath.Join(next, certs.IntermediateFile), "--ca-intermediate-key", filepath.Join(next, certs.IntermediateKeyFile))
	r.until("the next root", func() bool { return r.shown()[2].Equal(parse(t, newRoot)[0]) })
	r.allLogIn()
	if err := os.Remove(filepath.Join(s.data, "ca", certs.RootKeyFile)); err != nil { // the last root's
		t.Fatal(err)
	}
	r.replaceRoots(newRoot)
	r.until("one root", func() bool { return len(r.bundle()) == 1 })
	for _, d := range r.devices {
		d.trust.Store(&mqttlink.Trust{Roots: r.bundle()})
	}
	r.allLogIn()
	stop()
	working.Wait()

	// Who has the last intermediate's key is nobody now.
	thief, err := certs.Open(last, certs.Config{TrustDomain: "localhost"})
	if err != nil {
		t.Fatal(err)
	}
	defer thief.Close()
	forged, err := thief.NewServerCertificate(t.Context(), certs.ServerNames{DNS: []string{"localhost"}}, 0)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{GetCertificate: forged.GetCertificate, MinVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			_ = c.(*tls.Conn).Handshake()
			_ = c.Close()
		}
	}()
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	trust := *r.devices[0].trust.Load()
	if _, err := mqttlink.Dial(t.Context(), mqttlink.Options{Broker: "mqtts://localhost:" + port, Trust: trust}); !errors.Is(err, mqttlink.ErrCertificate) {
		t.Errorf("the last intermediate's server: %v, want ErrCertificate", err)
	}
	r.devices[0].trust.Store(&mqttlink.Trust{Roots: []*x509.Certificate{first}})
	if err := r.devices[0].login(t.Context()); !errors.Is(err, mqttlink.ErrCertificate) {
		t.Errorf("who believes the last root alone: %v, want ErrCertificate", err)
	}
	for i := range r.logins {
		t.Logf("device %d: %d logins", i, r.logins[i].Load())
	}
}

// allLogIn waits until each device has begun and ended a login from now on.
func (r *rollover) allLogIn() {
	for i := range r.logins {
		from := r.logins[i].Load()
		r.until("logins", func() bool { return r.logins[i].Load() >= from+2 || r.t.Failed() })
	}
}

func (r *rollover) until(what string, ok func() bool) {
	r.t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			r.t.Fatalf("never: %s", what)
		}
	}
}

// renew types signetd ca renew.
func (r *rollover) renew(flags ...string) {
	r.t.Helper()
	c := exec.CommandContext(r.t.Context(), r.program, append([]string{"ca", "renew", "--data", r.data}, flags...)...)
	c.Env = []string{"SIGNET_ISSUER=https://localhost:8443"}
	if out, err := c.CombinedOutput(); err != nil {
		r.t.Fatalf("ca renew: %v\n%s", err, out)
	}
}

// replaceRoots puts another bundle into the folder, at once.
func (r *rollover) replaceRoots(bundle []byte) {
	r.t.Helper()
	next := r.root + ".new"
	if err := errors.Join(os.WriteFile(next, bundle, 0o644), os.Rename(next, r.root)); err != nil {
		r.t.Fatal(err)
	}
}

// bundle is what the broker gives those who ask whom to believe.
func (r *rollover) bundle() []*x509.Certificate {
	r.t.Helper()
	way := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
	res, err := way.Get("https://" + r.addrs.HTTPS + "/ca/roots.pem")
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return parse(r.t, raw)
}

// shown is the chain that the broker shows: its own, the intermediate, the root.
func (r *rollover) shown() []*x509.Certificate {
	r.t.Helper()
	nc, err := tls.Dial("tcp", r.addrs.MQTT, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		r.t.Fatal(err)
	}
	defer nc.Close()
	return nc.ConnectionState().PeerCertificates
}

func readPEM(t *testing.T, path string) []byte {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func parse(t testing.TB, raw []byte) (all []*x509.Certificate) {
	t.Helper()
	for {
		var block *pem.Block
		if block, raw = pem.Decode(raw); block == nil {
			return all
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
}
