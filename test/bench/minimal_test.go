package bench

import (
	"bufio"
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

// minimalServer is the least that Go can keep TLS connections with: a goroutine
// each that reads and drops what comes. It prints its address.
func minimalServer() error {
	conf, err := minimalTLS()
	if err != nil {
		return err
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", conf)
	if err != nil {
		return err
	}
	if err := os.WriteFile(os.Getenv(minimalEnv), fmt.Appendf(nil, "%s\n", l.Addr()), 0o600); err != nil {
		return err
	}
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		go drop(conn)
	}
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

func drop(conn net.Conn) {
	defer conn.Close() //nolint:errcheck // the peer has gone
	r := bufio.NewReaderSize(conn, 512)
	for {
		if _, err := r.ReadByte(); err != nil {
			return
		}
	}
}

// idle is how many connections are kept.
const idle = 5000

// settle lets a server's garbage be collected: the runtime does so every two
// minutes at the latest, and the scavenger then needs a moment. SIGNET_BENCH_SETTLE sets it.
func settle(t testing.TB) {
	t.Helper()
	d := 5 * time.Second
	if s := os.Getenv("SIGNET_BENCH_SETTLE"); s != "" {
		var err error
		if d, err = time.ParseDuration(s); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(d)
}

// watched is how long idle devices are watched: what a device's keep-alive is.
const watched = time.Minute

// BenchmarkIdleDevice is signetd's resident memory for each device that is online
// over TLS and silent, at 5,000, against a minimal Go server with as many
// connections. Kernel memory is in neither. Beside it the CPU that a device takes when
// it connects and enrolls, and then for each minute that it is online.
func BenchmarkIdleDevice(b *testing.B) {
	if b.N > 1 { // one fleet says it all
		b.Skip("run with -benchtime 1x")
	}
	bare := minimalMemory(b)
	s := newBroker(b)
	s.enroll(b, "first", 1)
	settle(b)
	base, began := s.status(b, "VmRSS"), s.cpu(b)
	s.enroll(b, "lamp", idle)
	b.ReportMetric(float64((s.cpu(b)-began).Microseconds())/idle, "cpu-us/enrollment")
	settle(b)
	each := (s.status(b, "VmRSS") - base) / idle
	began = s.cpu(b)
	time.Sleep(watched) // each pings once
	b.ReportMetric(float64((s.cpu(b)-began).Microseconds())/idle, "cpu-us/minute")
	b.ReportMetric(each, "KiB/device")
	b.ReportMetric(bare, "floor-KiB/conn")
	b.ReportMetric(each/bare, "x-floor")
	b.ReportMetric(base/1024, "idle-MiB")
	b.ReportMetric(0, "ns/op")
}

func minimalMemory(b *testing.B) float64 {
	b.Helper()
	c, addresses := serverChild(b, minimalEnv, 1)
	address := addresses[0]
	conns := make([]net.Conn, idle)
	defer func() {
		for _, conn := range conns {
			if conn != nil {
				_ = conn.Close()
			}
		}
	}()
	base := c.status(b, "VmRSS")
	spread(idle, 8, func(i int) {
		conn, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // our own child
		if err == nil {
			_, err = conn.Write([]byte{0})
		}
		if err != nil {
			b.Error(err)
			return
		}
		conns[i] = conn
	})
	settle(b)
	return (c.status(b, "VmRSS") - base) / idle
}

// serverChild starts one of TestMain's servers, which writes its addresses to the file that
// the variable names.
func serverChild(b *testing.B, variable string, count int, env ...string) (*child, []string) {
	b.Helper()
	file := b.TempDir() + "/address"
	exe, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	c := spawn(b, append(env, variable+"="+file), exe)
	var addresses []string
	eventually(b, "the server does not start", func() bool {
		raw, _ := os.ReadFile(file)
		addresses = strings.Fields(string(raw))
		return len(addresses) == count
	})
	return c, addresses
}
