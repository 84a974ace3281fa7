package bench

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A peer is a server in a process of its own, plain and over TLS.
type peer struct {
	*child
	plain, secure string   // addresses
	env           []string // one of ours was started with
}

// at gives the address, and how to dial it.
func (p *peer) at(secure bool) (address string, conf *tls.Config) {
	if secure {
		return p.secure, anyServer()
	}
	return p.plain, nil
}

// newMosquitto starts Debian's Mosquitto as fast as it gets: without Nagle's algorithm, which is its
// default and makes a round trip 40 ms, log, statistics, store, permissions or passwords. It skips
// the benchmark where there is none: sh test/setup.sh bench installs it.
func newMosquitto(b *testing.B) *peer {
	b.Helper()
	path, err := exec.LookPath("mosquitto")
	if err != nil {
		if path, err = exec.LookPath("/usr/sbin/mosquitto"); err != nil {
			b.Skip("mosquitto is not installed: sh test/setup.sh bench")
		}
	}
	conf, err := minimalTLS()
	if err != nil {
		b.Fatal(err)
	}
	dir := b.TempDir()
	cert := filepath.Join(dir, "cert.pem")
	der, err := x509.MarshalECPrivateKey(conf.Certificates[0].PrivateKey.(*ecdsa.PrivateKey))
	if err != nil {
		b.Fatal(err)
	}
	both := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: conf.Certificates[0].Certificate[0]}),
		pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})...)
	if err := os.WriteFile(cert, both, 0o600); err != nil {
		b.Fatal(err)
	}
	p := &peer{plain: freePort(b), secure: freePort(b)}
	listener := func(address string) string {
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			b.Fatal(err)
		}
		return fmt.Sprintf("listener %s %s\nmax_connections -1\n", port, host)
	}
	lines := strings.Join([]string{
		"user root", // keeps whose it is: the certificate is his
		"allow_anonymous true", "set_tcp_nodelay true", "persistence false", "sys_interval 0", "log_dest none", "connection_messages false",
		listener(p.plain) + listener(p.secure) + "certfile " + cert + "\nkeyfile " + cert + "\ntls_version tlsv1.3\n",
	}, "\n")
	file := filepath.Join(dir, "mosquitto.conf")
	if err := os.WriteFile(file, []byte(lines), 0o600); err != nil {
		b.Fatal(err)
	}
	p.child = spawn(b, nil, path, "-c", file)
	for _, address := range []string{p.plain, p.secure} {
		listens(b, address)
	}
	return p
}

// listens waits until somebody does at the address.
func listens(b *testing.B, address string) {
	b.Helper()
	eventually(b, address+" does not listen", func() bool {
		nc, err := net.Dial("tcp", address)
		return err == nil && nc.Close() == nil
	})
}
