package command

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/signetd/signet/broker/boltstore"
	"github.com/signetd/signet/broker/config"
)

// TestCheckConfigIsServesJudge: what check-config refuses, init and serve refuse in the
// same words, and what it takes they take.
func TestCheckConfigIsServesJudge(t *testing.T) {
	made := filepath.Join(t.TempDir(), "made")
	if code, _, errs := signetd(t, nil, "init --data "+made); code != 0 {
		t.Fatal(errs)
	}
	for name, c := range map[string]struct{ text, says string }{
		"address with a zone": {"issuer: https://[fe80::1%25eth0]:8443", "means something on this machine only"},
		"port of the issuer":  {"issuer: https://signet.example:99999", "issuer"},
		"host of the issuer":  {"issuer: https://-a.example", "its host"},
		"empty label":         {"issuer: https://a..example", "its host"},
		"name":                {"names: [a.example, 'https://signet.example', '-b']", `"-b" (number 3) is neither`},
		"any host":            {"health: {hosts: [a.example, '*']}", `health.hosts: "*" (number 2) is neither`},
		"pattern of hosts":    {"health: {hosts: ['*.example']}", `health.hosts: "*.example"`},
		"space in a host":     {"health: {hosts: [a b]}", `health.hosts: "a b"`},
		"port of a host":      {"health: {hosts: ['x:1']}", `health.hosts: "x:1"`},
		"brackets of a host":  {"health: {hosts: ['[2001:db8::1]']}", "health.hosts"},
		"bits of a host":      {"balancer: {mqtt_proxy_protocol: [10.0.0.5/24]}", "balancer.mqtt_proxy_protocol: network 10.0.0.5/24 has bits of a host set: 10.0.0.0/24 is meant, or 10.0.0.5/32"},
		"hooks' network":      {"hooks: {allow: [10.0.0.5/24]}", "hooks.allow: network 10.0.0.5/24 has bits"},
		"IPv4 in IPv6":        {"hooks: {allow: ['::ffff:10.0.0.0/120']}", "write it as IPv4"},
		"unspecified":         {"names: [0.0.0.0]", "neither a DNS name nor an address"},
		"many names":          {"names: [" + strings.Repeat("a, ", 120) + "b]", "at most 100"},
		"one port":            {"listen: {mqtt: ':8443'}", "only one of them can have the port"},
		"folder of the key":   {"key_file: " + filepath.Join(made, "none", "k"), "no folder"},
		"key is away":         {"data: " + made + "\nkey_file: " + filepath.Join(made, "k"), "which is not there"},
		"key is no key":       {"key_file: " + filepath.Join(made, "ca", "root.pem"), "root.pem"},
	} {
		file := filepath.Join(t.TempDir(), "signetd.yaml")
		if !strings.Contains(c.text, "data:") {
			c.text += "\ndata: " + filepath.Join(t.TempDir(), "data")
		}
		if err := os.WriteFile(file, []byte(c.text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		code, out, errs := signetd(t, nil, "check-config --config "+file)
		want := 2
		if name == "key is away" {
			want = 4
		}
		if code != want || out != "" || !strings.Contains(errs, c.says) {
			t.Errorf("%s: check-config: %d %s%s", name, code, out, errs)
		}
		for _, command := range []string{"init", "serve"} {
			if command == "serve" && strings.Contains(name, "key") && name != "key is away" {
				continue // it asks for init first, which has refused
			}
			if command == "init" && name == "key is away" {
				continue
			}
			if code, _, also := signetd(t, nil, command+" --config "+file); code == 0 || !strings.Contains(name, "key") && also != errs {
				t.Errorf("%s: check-config says %s%s says %d %s", name, errs, command, code, also)
			}
		}
	}
}

// TestIssuersHostIsInTheCertificate: whatever names are set, who follows the issuer's URL
// finds it in the certificate; an address of IPv6 and a name with _ are hosts as others.
func TestIssuersHostIsInTheCertificate(t *testing.T) {
	for _, c := range []struct{ host, name, names string }{
		{"[::1]", "::1", ""}, {"[::1]", "::1", "names: [other.example]"}, {"signet_broker", "signet_broker", "names: [other.example]"}, {"Signet.example", "signet.example", "names: [other.example]"},
	} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addr := ln.Addr().String()
		_, port, _ := net.SplitHostPort(addr)
		ln.Close()
		dir := t.TempDir()
		file := filepath.Join(dir, "signetd.yaml")
		text := "data: " + filepath.Join(dir, "data") + "\nissuer: https://" + c.host + ":" + port + "\nlisten: {https: '" + addr + "', mqtt: '127.0.0.1:0', health: '127.0.0.1:0'}\n" + c.names + "\n"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, command := range []string{"check-config", "init"} {
			if code, _, errs := signetd(t, nil, command+" --config "+file); code != 0 {
				t.Fatalf("%s: %s: %s", c.host, command, errs)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan int, 1)
		var log bytes.Buffer
		go func() { ended <- Main(ctx, nil, []string{"serve", "--config", file}, &log, &log) }()
		pem, err := os.ReadFile(filepath.Join(dir, "data", "ca", "root.pem"))
		if err != nil {
			t.Fatal(err)
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(pem)
		err = os.ErrDeadlineExceeded
		for range 400 {
			var conn *tls.Conn
			if conn, err = tls.Dial("tcp", addr, &tls.Config{RootCAs: roots, ServerName: c.name}); err == nil {
				conn.Close()
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
		cancel()
		if code := <-ended; code != 0 || err != nil {
			t.Errorf("%s: %d, %v\n%s", c.host, code, err, &log)
		}
	}
}

// TestCheckConfigJudgesTheStore: what is damaged, older than its folder knows or no store
// at all is told by check-config in serve's words, and stays as it is.
func TestCheckConfigJudgesTheStore(t *testing.T) {
	made := filepath.Join(t.TempDir(), "made")
	if code, _, errs := signetd(t, nil, "init --data "+made); code != 0 {
		t.Fatal(errs)
	}
	store := filepath.Join(made, config.StoreFile)
	old, err := os.ReadFile(store)
	if err != nil {
		t.Fatal(err)
	}
	if code, _, errs := signetd(t, nil, "operator create another --data "+made); code != 0 {
		t.Fatal(errs)
	}
	now, err := os.ReadFile(store)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		data  string
		store []byte
		says  string // nothing: it is taken
	}{
		"the store":          {made, now, ""},
		"an older copy":      {made, old, "restore --in-place"},
		"another's bytes":    {made, bytes.Repeat([]byte("random"), 20_000), "not a sound store"},
		"an emptied one":     {made, []byte{}, "is an older copy"},
		"a file as a folder": {file, now, "want a folder"},
		"below a file":       {filepath.Join(file, "data"), now, "want a folder"},
		"not there yet":      {filepath.Join(t.TempDir(), "data"), now, ""},
	} {
		if err := os.WriteFile(store, c.store, 0o600); err != nil {
			t.Fatal(err)
		}
		code, out, errs := signetd(t, nil, "check-config --data "+c.data)
		if left, err := os.ReadFile(store); err != nil || !bytes.Equal(left, c.store) {
			t.Errorf("%s: check-config changed the store: %v", name, err)
		}
		if c.says == "" {
			if code != 0 || out != "configuration ok\n" || errs != "" {
				t.Errorf("%s: %d %s%s", name, code, out, errs)
			}
			continue
		}
		if code == 0 || out != "" || !strings.Contains(errs, c.says) {
			t.Errorf("%s: %d %s%s", name, code, out, errs)
		}
		if served, _, also := signetd(t, nil, "serve --data "+c.data); served != code || also != errs {
			t.Errorf("%s: check-config says %d %s serve %d %s", name, code, errs, served, also)
		}
	}
	if err := os.WriteFile(store, now, 0o600); err != nil {
		t.Fatal(err)
	}
	held, err := boltstore.Open(t.Context(), store, boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	code, out, errs := signetd(t, nil, "check-config --data "+made)
	if code != 0 || out != "configuration ok\n" || !strings.Contains(errs, "not looked at") || !strings.Contains(errs, "held by process") {
		t.Errorf("in use: %d %s%s", code, out, errs)
	}
}
