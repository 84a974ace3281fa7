package remote_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/signetd/signet/protocol/token"
	"github.com/signetd/signet/protocol/verify"
	"github.com/signetd/signet/protocol/verify/remote"
)

// documents is a network that has two documents and says where it was asked to go.
type documents struct {
	discovery, jwks []byte
	hosts           []string
}

func (d *documents) RoundTrip(r *http.Request) (*http.Response, error) {
	d.hosts = append(d.hosts, r.URL.Scheme+"://"+r.URL.Host)
	body := d.jwks
	if strings.HasSuffix(r.URL.Path, "openid-configuration") {
		body = d.discovery
	}
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Cache-Control": {string(d.jwks)}}, Body: io.NopCloser(bytes.NewReader(body)), Request: r}, nil
}

// FuzzDocuments: whatever the two documents are, the source goes over https only
// and gives keys or a typed error.
func FuzzDocuments(f *testing.F) {
	const issuer = "https://signet.example/pools/demo"
	k := newKey(f, 0)
	f.Add([]byte(`{"issuer":"`+issuer+`","jwks_uri":"`+issuer+`/.well-known/jwks.json"}`), token.MarshalJWKS([]*token.Key{k}))
	f.Add([]byte(`{"issuer":"`+issuer+`","jwks_uri":"http://169.254.169.254/"}`), []byte(`{"keys":[]}`))
	f.Add([]byte(`{"issuer":"x"}`), []byte("max-age=1"))
	f.Fuzz(func(t *testing.T, discovery, jwks []byte) {
		net := &documents{discovery: discovery, jwks: jwks}
		s, err := remote.New(remote.Config{Issuer: issuer, Client: &http.Client{Transport: net}})
		if err != nil {
			t.Fatal(err)
		}
		got, err := s.Key(t.Context(), k.COSEKID())
		if err != nil && !errors.Is(err, remote.ErrUnavailable) && !errors.Is(err, verify.ErrUnknownKey) {
			t.Fatalf("untyped error %v", err)
		}
		if err == nil && !bytes.Equal(got.COSEKID(), k.COSEKID()) {
			t.Fatalf("another key: %x", got.COSEKID())
		}
		for _, h := range net.hosts {
			if !strings.HasPrefix(h, "https://") {
				t.Fatalf("went to %s", h)
			}
		}
	})
}

// endless is a document that does not stop, and counts what was read of it.
type endless struct{ read atomic.Int64 }

func (e *endless) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(e), Request: r}, nil
}

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	if e.read.Add(int64(len(p))) > 64<<20 {
		return 0, io.ErrUnexpectedEOF // whoever reads so much has no bound
	}
	return len(p), nil
}

// TestEndlessDocument: an issuer cannot fill the memory of those who believe it.
func TestEndlessDocument(t *testing.T) {
	e := &endless{}
	s, err := remote.New(remote.Config{Issuer: "https://signet.example/pools/demo", Client: &http.Client{Transport: e}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Key(t.Context(), []byte("x")); !errors.Is(err, remote.ErrUnavailable) {
		t.Errorf("%v, want ErrUnavailable", err)
	}
	if n := e.read.Load(); n > 1<<20 {
		t.Errorf("%d bytes read", n)
	}
}
