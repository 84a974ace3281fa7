package bench

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

const minimalEnv = "SIGNET_BENCH_MINIMAL"

// minimalServer is the least that Go can serve connections with, plain and over TLS: a goroutine
// each that gives back what comes.
func minimalServer() error {
	return serveBoth(minimalEnv, func(ln net.Listener, conf *tls.Config) error {
		if conf != nil {
			ln = tls.NewListener(ln, conf)
		}
		for {
			conn, err := ln.Accept()
			if err != nil {
				return err
			}
			go giveBack(conn)
		}
	})
}

// addressesEnv is where a server listens, plain and over TLS; unset: where there is room.
const addressesEnv = "SIGNET_BENCH_ADDRESSES"

// serveBoth serves on two listeners, plain and over TLS, and writes their addresses to the file
// that a variable names.
func serveBoth(variable string, serve func(net.Listener, *tls.Config) error) error {
	secure, err := minimalTLS()
	if err != nil {
		return err
	}
	at := strings.Fields(os.Getenv(addressesEnv))
	if len(at) == 0 {
		at = []string{"127.0.0.1:0", "127.0.0.1:0"}
	}
	var addresses []byte
	failed := make(chan error)
	for i, conf := range []*tls.Config{nil, secure} {
		ln, err := net.Listen("tcp", at[i])
		if err != nil {
			return err
		}
		addresses = fmt.Appendf(addresses, "%s\n", ln.Addr())
		go func() { failed <- serve(ln, conf) }()
	}
	if err := os.WriteFile(os.Getenv(variable), addresses, 0o600); err != nil {
		return err
	}
	return <-failed
}

// minimalTLS is a server's configuration with a certificate of its own.
func minimalTLS() (*tls.Config, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	cert := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"}}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, nil
}

func giveBack(conn net.Conn) {
	defer conn.Close() //nolint:errcheck // the peer has gone
	p := make([]byte, 512)
	for {
		n, err := conn.Read(p)
		if err == nil {
			_, err = conn.Write(p[:n])
		}
		if err != nil {
			return
		}
	}
}

// settle lets a server's garbage be collected: the runtime does so every two
// minutes at the latest, and the scavenger then needs a moment; the MQTT server does it two to four
// seconds after a storm, and on a busy machine that takes a while, too. SIGNET_BENCH_SETTLE sets it.
func settle(t testing.TB) {
	t.Helper()
	d := 8 * time.Second
	if s := os.Getenv("SIGNET_BENCH_SETTLE"); s != "" {
		var err error
		if d, err = time.ParseDuration(s); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(d)
}

// serverChild starts one of TestMain's servers, which writes its addresses to the file that
// the variable names.
func serverChild(b *testing.B, variable string, env ...string) *peer {
	b.Helper()
	file := b.TempDir() + "/address"
	p := &peer{env: append(env, variable+"="+file)}
	p.start(b)
	eventually(b, "the server does not start", func() bool {
		raw, _ := os.ReadFile(file)
		at := strings.Fields(string(raw))
		if len(at) != 2 {
			return false
		}
		p.plain, p.secure = at[0], at[1]
		return true
	})
	return p
}

// start starts the child, at the same addresses again if it was killed.
func (p *peer) start(b *testing.B) {
	b.Helper()
	exe, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	p.child = spawn(b, append(p.env, addressesEnv+"="+p.plain+" "+p.secure), exe)
}
