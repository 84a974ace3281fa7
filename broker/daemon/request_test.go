package daemon_test

import (
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/signetd/signet/broker/config"
)

// status reads the status of the answer on a connection.
func status(t *testing.T, nc net.Conn) string {
	t.Helper()
	if err := nc.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, len("HTTP/1.1 200"))
	if _, err := io.ReadFull(nc, line); err != nil {
		return err.Error()
	}
	return string(line[9:])
}

// TestHeadersAreBounded: 8 KiB of a header are read, at each HTTP door, and no more.
func TestHeadersAreBounded(t *testing.T) {
	d, trust := serve(t, nil)
	for size, want := range map[int]string{7 << 10: "200", 9 << 10: "431", 40 << 10: "431"} {
		head := "GET /livez HTTP/1.1\r\nHost: localhost\r\n"
		for i := 0; len(head) < size; i++ {
			head += fmt.Sprintf("X%d: 1\r\n", i)
		}
		plain, err := net.Dial("tcp", d.Addrs.Health.String())
		if err != nil {
			t.Fatal(err)
		}
		defer plain.Close()
		secure, err := tls.Dial("tcp", d.Addrs.HTTPS.String(), &tls.Config{RootCAs: trust})
		if err != nil {
			t.Fatal(err)
		}
		defer secure.Close()
		_, _ = io.WriteString(plain, head+"\r\n") // it may be refused before all of it is written
		_, _ = io.WriteString(secure, strings.Replace(head, "/livez", "/ca/roots.pem", 1)+"\r\n")
		for door, nc := range map[string]net.Conn{"health": plain, "https": secure} {
			if got := status(t, nc); got != want {
				t.Errorf("%s, a header of %d bytes: got %s, want %s", door, size, got, want)
			}
		}
	}
}

// TestHeadersThatNeverEnd: connections with headers that do not become whole hold 2 MiB
// together and no more, whatever their number; the longest waiting make room, an honest
// request is answered meanwhile, and the operator sees it.
func TestHeadersThatNeverEnd(t *testing.T) {
	s := newSite(t)
	s.cfg.Limits = config.Limits{PerSource: -1}
	d, _ := s.serve(t)
	head := "GET / HTTP/1.1\r\nHost: localhost\r\nX: " + strings.Repeat("x", 7<<10)
	const conns = 400 // of 7 KiB each: 0.7 MiB too many
	var open sync.WaitGroup
	ended := make(chan struct{}, conns)
	for range conns {
		nc, err := s.dialFrom("", d.Addrs.HTTPS)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		if _, err := io.WriteString(nc, head); err != nil {
			t.Fatal(err)
		}
		open.Go(func() {
			_, _ = io.Copy(io.Discard, nc)
			ended <- struct{}{}
		})
	}
	for range 100 {
		select {
		case <-ended:
		case <-time.After(patience):
			t.Fatal("they are all held")
		}
	}
	if res, _ := get(t, s.client(), "GET", "https://localhost:"+fmt.Sprint(d.Addrs.HTTPS.(*net.TCPAddr).Port)+"/ca/roots.pem"); res.StatusCode != http.StatusOK {
		t.Errorf("an honest request: %d", res.StatusCode)
	}
	if n := s.metric(t, d.Addrs.Health, `signet_connections_refused_total{cause="header",listener="https"}`); n == "0" || n == "nowhere" {
		t.Errorf("%s counted", n)
	}
}

// TestUnwantedBodiesHoldNothing: a body that nobody wants is not waited for, long before
// the time for bodies is over.
func TestUnwantedBodiesHoldNothing(t *testing.T) {
	d, trust := serve(t, func(c *config.Config) { c.HTTPTimeout = 10 * patience })
	for name, head := range map[string]string{
		"no token":  "POST /api/v1/pools HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 60000\r\n\r\n{",
		"bad token": "PUT /api/v1/pools/x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sgnt_x\r\nTransfer-Encoding: chunked\r\n\r\n",
		"public":    "GET /ca/roots.pem HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n",
		"nowhere":   "POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			nc, err := tls.Dial("tcp", d.Addrs.HTTPS.String(), &tls.Config{RootCAs: trust})
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			if _, err := io.WriteString(nc, head); err != nil {
				t.Fatal(err)
			}
			if got := status(t, nc); len(got) != 3 {
				t.Errorf("no answer: %s", got)
			}
			closes(t, nc)
		})
	}
}

// TestCompressedBodiesAreRefused: what two megabytes of zeros become is refused before it
// is anything, at every path. It is so little that it leaves with its header at once: of one
// that comes later the client may not hear why it was not waited for.
func TestCompressedBodiesAreRefused(t *testing.T) {
	s := newSite(t)
	d, _ := s.serve(t)
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	if _, err := z.Write(make([]byte, 2<<20)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/api/v1/pools", "/api/v1/apply", "/pools/demo/x", "/mqtt", "/x"} {
		for _, coding := range []string{"gzip", "deflate", "gzip, gzip"} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://localhost:"+fmt.Sprint(d.Addrs.HTTPS.(*net.TCPAddr).Port)+path, bytes.NewReader(bomb.Bytes()))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Encoding", coding)
			res, err := s.client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = res.Body.Close()
			if res.StatusCode != http.StatusUnsupportedMediaType || res.Header.Get("Content-Type") != "application/problem+json" {
				t.Errorf("%s, %s: %d %s", path, coding, res.StatusCode, res.Header.Get("Content-Type"))
			}
		}
	}
}
