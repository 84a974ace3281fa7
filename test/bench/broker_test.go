package bench

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/agent/mqttlink"
	"github.com/signetd/signet/broker/adminapi"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/test/harness"
)

// A signetd is a broker in a process of its own.
type signetd struct {
	*child
	env, args []string // it was started with
	mqtt      string   // where it listens for MQTT over TLS
	url, ca   string
	trust     mqttlink.Trust
	pool      adminapi.PoolClient
	dev       map[string]string // what dev.env says
}

// newBroker starts signetd serve --dev, without a bound on how often a device logs in:
// few devices stand for many here. Further settings are as in the environment.
func newBroker(t testing.TB, settings ...string) *signetd {
	t.Helper()
	data := filepath.Join(t.TempDir(), "data")
	b := &signetd{dev: map[string]string{}, mqtt: freePort(t), env: append(settings, "SIGNET_LIMITS_DEVICE_RATE=-1")}
	b.args = []string{"serve", "--dev", "--data", data, "--listen-mqtt", b.mqtt, "--listen-https", freePort(t), "--listen-health", freePort(t)}
	b.start(t)
	file := filepath.Join(data, "dev.env")
	eventually(t, "signetd does not start", func() bool {
		raw, err := os.ReadFile(file)
		return err == nil && strings.HasSuffix(string(raw), "\n")
	})
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		k, v, _ := strings.Cut(strings.TrimSpace(line), "=")
		b.dev[k] = v
	}
	b.url, b.ca = b.dev["SIGNET_BROKER"], b.dev["SIGNET_CA"]
	root, err := os.ReadFile(b.ca)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(root)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	b.trust.Roots = []*x509.Certificate{cert}
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	api, err := adminapi.NewClient(b.dev["SIGNET_SERVER"], b.dev["SIGNET_TOKEN"], &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}})
	if err != nil {
		t.Fatal(err)
	}
	b.pool = api.In("demo")
	return b
}

// start starts it, again if it was killed.
func (b *signetd) start(t testing.TB) {
	t.Helper()
	b.child = spawn(t, b.env, program(t, "signetd"), b.args...)
}

func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // only its number is wanted
	return l.Addr().String()
}

// voucher admits n devices.
func (b *signetd) voucher(t testing.TB, n int) agent.Admission {
	t.Helper()
	made, err := b.pool.CreateEnrollmentToken(t.Context(), adminapi.NewEnrollmentToken{Uses: &n})
	if err != nil {
		t.Fatal(err)
	}
	tok, err := protocol.ParseEnrollToken(made.Token)
	if err != nil {
		t.Fatal(err)
	}
	return agent.Admission{Token: &tok}
}

// An online device has enrolled on the connection that it keeps.
type online struct {
	*agent.Agent
	link *mqttlink.Link
}

func (b *signetd) device(t testing.TB, called string, v agent.Admission) (online, error) {
	pool, err := ident.ParsePool("demo")
	if err != nil {
		return online{}, err
	}
	name, err := ident.ParseName(called)
	if err != nil {
		return online{}, err
	}
	a, err := agent.New(t.Context(), agent.Config{Device: ident.Device{Pool: pool, Name: name}, Prover: harness.NewEd25519(t), State: &agent.Memory{}})
	if err != nil {
		return online{}, err
	}
	link, err := mqttlink.Dial(t.Context(), mqttlink.Options{Broker: b.url, Trust: b.trust})
	if err != nil {
		return online{}, err
	}
	_, err = a.Enroll(t.Context(), link, v)
	return online{a, link}, err
}
