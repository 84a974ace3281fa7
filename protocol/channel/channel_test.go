package channel_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http/httptest"
	"testing"

	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/channel"
)

// configs makes the two ends' configurations, with a certificate of net/http's tests.
func configs(t *testing.T, version uint16) (server, client *tls.Config) {
	t.Helper()
	web := httptest.NewUnstartedServer(nil)
	web.StartTLS()
	defer web.Close()
	roots := x509.NewCertPool()
	roots.AddCert(web.Certificate())
	return &tls.Config{Certificates: web.TLS.Certificates, MinVersion: version, MaxVersion: version},
		&tls.Config{RootCAs: roots, ServerName: "example.com", MinVersion: version, MaxVersion: version, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
}

// connect gives what each end knows of a new connection.
func connect(t *testing.T, server, client *tls.Config) (s, c tls.ConnectionState) {
	t.Helper()
	a, b := net.Pipe()
	defer a.Close() //nolint:errcheck // a pipe's has none
	defer b.Close() //nolint:errcheck // a pipe's has none
	far, near := tls.Server(a, server), tls.Client(b, client)
	if before := far.ConnectionState(); channel.Name(&before) != nil {
		t.Error("a name before the handshake")
	}
	done := make(chan error, 1)
	go func() {
		_, err := far.Write([]byte{1}) // after the handshake, and a ticket to resume with
		done <- err
	}()
	if _, err := near.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return far.ConnectionState(), near.ConnectionState()
}

// Both ends of a connection give it one name, and no other connection has it, not
// even one that resumes the first.
func TestName(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		server, client := configs(t, version)
		var names [][]byte
		for i := range 3 {
			s, c := connect(t, server, client)
			if s.Version != version || s.DidResume != (i > 0) {
				t.Fatalf("%s, resumed: %v", tls.VersionName(s.Version), s.DidResume)
			}
			name := channel.Name(&s)
			if len(name) != protocol.ChannelLen || !bytes.Equal(name, channel.Name(&c)) {
				t.Errorf("%s: %x at one end, %x at the other", tls.VersionName(version), name, channel.Name(&c))
			}
			for _, other := range names {
				if bytes.Equal(name, other) {
					t.Errorf("%s: a name twice", tls.VersionName(version))
				}
			}
			names = append(names, name)
		}
	}
}

// What could share its secrets with another connection has no name.
func TestNoName(t *testing.T) {
	if channel.Name(nil) != nil || channel.Name(new(tls.ConnectionState)) != nil {
		t.Error("no connection has a name")
	}
	server, client := configs(t, tls.VersionTLS12)
	client.Renegotiation = tls.RenegotiateOnceAsClient
	if _, c := connect(t, server, client); channel.Name(&c) != nil {
		t.Error("a connection that may renegotiate has a name")
	}
}

// What RFC 9431 has signed belongs to the connection alone, too, and is not its name.
func TestChallenge(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		server, client := configs(t, version)
		var all [][]byte
		for range 2 {
			s, c := connect(t, server, client)
			own := channel.Challenge(&s)
			if len(own) != protocol.ChannelLen || !bytes.Equal(own, channel.Challenge(&c)) || bytes.Equal(own, channel.Name(&s)) {
				t.Errorf("%s: %x and %x", tls.VersionName(version), own, channel.Challenge(&c))
			}
			all = append(all, own)
		}
		if bytes.Equal(all[0], all[1]) {
			t.Errorf("%s: two connections export the same, one of them resumed", tls.VersionName(version))
		}
	}
	if channel.Challenge(nil) != nil {
		t.Error("no TLS exports something")
	}
}
