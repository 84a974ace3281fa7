package mqttlink

import (
	"bytes"
	"net"
	"net/url"
	"regexp"
	"testing"
)

// answering is a proxy that answers with these bytes, whatever it is asked.
type answering struct {
	net.Conn
	*bytes.Reader
}

func (a answering) Read(p []byte) (int, error)  { return a.Reader.Read(p) }
func (a answering) Write(p []byte) (int, error) { return len(p), nil }

// FuzzTunnel: nothing but a plain yes is taken for one, not much is read of anything else,
// and no answer ends the agent or reaches a person's terminal.
func FuzzTunnel(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"))
	f.Add([]byte("HTTP/1.1 407 \x1b[31mNo\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"))
	f.Add([]byte("HTTP/1.0 503 \r\n"))
	f.Add([]byte("\x16\x03\x01\x00\x05"))
	proxy := &url.URL{Host: "proxy.example:3128", User: url.UserPassword("lamp", "sesame")}
	yes := regexp.MustCompile(`(?s)\AHTTP/[0-9]\.[0-9] 2[0-9][0-9]`)
	f.Fuzz(func(t *testing.T, raw []byte) {
		from := answering{Reader: bytes.NewReader(raw)}
		err := tunnel(from, proxy, "broker.example:443")
		if err == nil && !yes.Match(raw) {
			t.Errorf("%q was taken for a yes", raw)
		}
		if read := len(raw) - from.Len(); read > maxProxyAnswer {
			t.Errorf("%d bytes were read", read)
		}
		if err != nil && (bytes.Contains([]byte(err.Error()), []byte("sesame")) || bytes.ContainsRune([]byte(err.Error()), 0x1b)) {
			t.Errorf("it says %q", err)
		}
	})
}
