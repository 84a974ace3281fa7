package remote_test

import (
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/signetd/signet/protocol/verify/remote"
)

// spaces is a document of nothing but spaces.
type spaces struct{ left int64 }

func (s *spaces) Read(p []byte) (int, error) {
	if s.left == 0 {
		return 0, io.EOF
	}
	n := min(int64(len(p)), s.left)
	for i := range n {
		p[i] = ' '
	}
	s.left -= n
	return int(n), nil
}

// unpacked counts what the transport unpacks of answers, for whoever reads it.
type unpacked struct {
	http.RoundTripper
	read atomic.Int64
	was  atomic.Bool // unpacked by the transport
}

func (u *unpacked) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := u.RoundTripper.RoundTrip(r)
	if err == nil {
		u.was.Store(resp.Uncompressed)
		resp.Body = counted{resp.Body, &u.read}
	}
	return resp, err
}

type counted struct {
	io.ReadCloser
	n *atomic.Int64
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// TestBomb: a document that unpacks to 64 MiB, as the transport does by itself, is given up
// at the bound on documents.
func TestBomb(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		_, _ = io.Copy(z, &spaces{left: 64 << 20})
		_ = z.Close()
	}))
	t.Cleanup(s.Close)
	c := s.Client()
	u := &unpacked{RoundTripper: c.Transport}
	c.Transport = u
	source, err := remote.New(remote.Config{Issuer: s.URL + "/pools/demo", Client: c})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := source.Key(t.Context(), []byte("x")); !errors.Is(err, remote.ErrUnavailable) {
		t.Errorf("%v, want ErrUnavailable", err)
	}
	if n := u.read.Load(); !u.was.Load() || n == 0 || n > 1<<20 {
		t.Errorf("unpacked by the transport: %v; %d bytes read", u.was.Load(), n)
	}
}
