package balancer

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pires/go-proxyproto"
)

var (
	loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	distant  = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}
)

// A door listens on loopback behind balancers, and knows whom it refused.
type door struct {
	net.Listener
	mu      sync.Mutex // guards refused
	refused []error
}

func open(t *testing.T, n Networks) *door {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := new(door)
	d.Listener = n.Listen(ln, func(from net.Addr, err error) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.refused = append(d.refused, fmt.Errorf("%s: %w", from, err))
	})
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func (d *door) last() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.refused) == 0 {
		return nil
	}
	return d.refused[len(d.refused)-1]
}

func (d *door) send(t *testing.T, head []byte) net.Conn {
	t.Helper()
	nc, err := net.Dial("tcp", d.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	if _, err := nc.Write(head); err != nil {
		t.Fatal(err)
	}
	return nc
}

func (d *door) accept(t *testing.T) net.Conn {
	t.Helper()
	nc, err := d.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	return nc
}

// header makes one of that version: a connection from a distant source.
func header(t testing.TB, version byte, source string) []byte {
	t.Helper()
	h := proxyproto.HeaderProxyFromAddrs(version, net.TCPAddrFromAddrPort(netip.MustParseAddrPort(source)), &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 8883})
	raw, err := h.Format()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

var local = append(bytes.Clone(proxyproto.SIGV2), 0x20, 0, 0, 0) // a balancer for itself

// TestHeader: a listed balancer's connection has the address that its header tells, and
// begins behind it.
func TestHeader(t *testing.T) {
	d := open(t, Networks{Proxy: loopback})
	for name, c := range map[string]struct {
		head   []byte
		remote string
	}{
		"version 1":      {header(t, 1, "203.0.113.9:4711"), "203.0.113.9:4711"},
		"version 2":      {header(t, 2, "203.0.113.9:4711"), "203.0.113.9:4711"},
		"IPv6":           {header(t, 1, "[2001:db8::9]:4711"), "[2001:db8::9]:4711"},
		"for itself":     {local, ""},
		"of who knows":   {[]byte("PROXY UNKNOWN\r\n"), ""},
		"of a local one": {header(t, 1, "127.0.0.9:1"), "127.0.0.9:1"},
	} {
		client := d.send(t, append(bytes.Clone(c.head), "hello"...))
		server := d.accept(t)
		if c.remote == "" {
			c.remote = client.LocalAddr().String()
		}
		if got := server.RemoteAddr().String(); got != c.remote {
			t.Errorf("%s: from %s, want %s", name, got, c.remote)
		}
		if _, err := io.WriteString(client, " again"); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len("hello again"))
		if _, err := io.ReadFull(server, got); err != nil || string(got) != "hello again" {
			t.Errorf("%s: behind it %q, %v", name, got, err)
		}
		if Vouched(server) {
			t.Errorf("%s: vouched for", name)
		}
	}
	if err := d.last(); err != nil {
		t.Error(err)
	}
}

// TestNoHeader: what a listed balancer sends without a header that can be counted by is
// closed, and told; a look at the port is not.
func TestNoHeader(t *testing.T) {
	d := open(t, Networks{Proxy: loopback})
	unix, err := (&proxyproto.Header{Version: 2, Command: proxyproto.PROXY, TransportProtocol: proxyproto.UnixStream,
		SourceAddr: &net.UnixAddr{Name: "a", Net: "unix"}, DestinationAddr: &net.UnixAddr{Name: "b", Net: "unix"}}).Format()
	if err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = d.Accept() }()
	_ = d.send(t, nil).Close()
	for name, head := range map[string][]byte{
		"TLS": {0x16, 3, 1, 0, 5}, "a broken one": []byte("PROXY TCP4 nonsense\r\n"), "a Unix socket's": unix,
		"endless": append([]byte("PROXY TCP4 "), bytes.Repeat([]byte{'1'}, 300)...), "too long": append(bytes.Clone(proxyproto.SIGV2), 0x21, 0x11, 0xff, 0xff),
	} {
		client := d.send(t, head)
		if _, err := io.Copy(io.Discard, client); err != nil && !strings.Contains(err.Error(), "reset") {
			t.Errorf("%s: %v", name, err)
		}
		for d.last() == nil {
			time.Sleep(time.Millisecond)
		}
		d.mu.Lock()
		if len(d.refused) != 1 || !errors.Is(d.refused[0], ErrHeader) || !strings.HasPrefix(d.refused[0].Error(), client.LocalAddr().String()) {
			t.Errorf("%s: %v", name, d.refused)
		}
		d.refused = nil
		d.mu.Unlock()
	}
}

// TestHeaderThatDoesNotCome: it holds nobody up, neither a balancer's nor others; and it is
// waited for for a while only.
func TestHeaderThatDoesNotCome(t *testing.T) {
	d := open(t, Networks{Proxy: loopback})
	for range 50 {
		d.send(t, []byte("PRO"))
	}
	d.send(t, header(t, 1, "203.0.113.9:4711"))
	if got := d.accept(t).RemoteAddr().String(); got != "203.0.113.9:4711" {
		t.Errorf("from %s", got)
	}
	if err := errors.Join(d.Close(), d.last()); err != nil {
		t.Errorf("the end: %v", err)
	}
	if _, err := d.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after the end: %v", err)
	}
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		defer client.Close()
		go func() {
			for _, b := range header(t, 2, "203.0.113.9:4711") {
				time.Sleep(time.Second)
				if _, err := client.Write([]byte{b}); err != nil {
					return
				}
			}
		}()
		began := time.Now()
		if _, err := readHeader(server); err == nil || time.Since(began) != headerTime {
			t.Errorf("a byte a second: %v after %v", err, time.Since(began))
		}
		_ = server.Close()
		time.Sleep(2 * time.Second) // the sender finds out
		synctest.Wait()
	})
}

// TestOthersHaveNoHeader: one who is not listed is nobody's client but his own, whatever he
// sends.
func TestOthersHaveNoHeader(t *testing.T) {
	for name, n := range map[string]Networks{"no balancer": {}, "one elsewhere": {Proxy: distant}, "one that ends TLS": {EndsTLS: loopback}} {
		d, head := open(t, n), header(t, 1, "203.0.113.9:4711")
		client := d.send(t, head)
		server := d.accept(t)
		got := make([]byte, len(head))
		if _, err := io.ReadFull(server, got); err != nil || !bytes.Equal(got, head) || server.RemoteAddr().String() != client.LocalAddr().String() {
			t.Errorf("%s: %q from %s, %v", name, got, server.RemoteAddr(), err)
		}
	}
}

// wrapped is a connection in another's clothes.
type wrapped struct{ net.Conn }

func (w wrapped) NetConn() net.Conn { return w.Conn }

// TestVouched: who ends TLS is known by the address of the balancer itself, never by what
// a header says.
func TestVouched(t *testing.T) {
	for name, c := range map[string]struct {
		networks      Networks
		head          []byte
		vouched, many bool
	}{
		"nobody":                        {Networks{}, nil, false, false},
		"without headers":               {Networks{EndsTLS: loopback}, nil, true, false},
		"HTTP, without headers":         {Networks{EndsTLS: loopback, HTTP: true}, nil, true, true},
		"with headers":                  {Networks{Proxy: loopback, EndsTLS: loopback}, header(t, 2, "203.0.113.9:1"), true, false},
		"HTTP, with headers":            {Networks{Proxy: loopback, EndsTLS: loopback, HTTP: true}, header(t, 2, "203.0.113.9:1"), true, false},
		"headers of another":            {Networks{Proxy: distant, EndsTLS: loopback, HTTP: true}, nil, true, true},
		"a client who says he is one":   {Networks{Proxy: loopback, EndsTLS: distant}, header(t, 2, "198.51.100.1:1"), false, false},
		"one elsewhere":                 {Networks{EndsTLS: distant, HTTP: true}, nil, false, false},
		"one elsewhere, and no headers": {Networks{Proxy: distant, EndsTLS: distant}, nil, false, false},
	} {
		d := open(t, c.networks)
		d.send(t, append(bytes.Clone(c.head), 1))
		nc := d.accept(t)
		b := find(nc)
		if Vouched(wrapped{nc}) != c.vouched || (b != nil && b.Many()) != c.many || VouchedRequest(ConnContext(t.Context(), wrapped{nc})) != c.vouched {
			t.Errorf("%s: vouched %v, many %v", name, Vouched(nc), b != nil && b.Many())
		}
	}
}

// TestForwarded: a client's address is taken from the balancer alone that ends TLS, and from
// the end of what it says.
func TestForwarded(t *testing.T) {
	for name, c := range map[string]struct {
		conn  *Conn
		lines []string
		want  string
	}{
		"the balancer":              {&Conn{vouched: true, many: true}, []string{"203.0.113.9"}, "203.0.113.9:0"},
		"with a port":               {&Conn{vouched: true, many: true}, []string{"203.0.113.9:77"}, "203.0.113.9:77"},
		"IPv6":                      {&Conn{vouched: true, many: true}, []string{"2001:db8::9"}, "[2001:db8::9]:0"},
		"IPv6 in brackets":          {&Conn{vouched: true, many: true}, []string{"[2001:db8::9]"}, "[2001:db8::9]:0"},
		"what the client put there": {&Conn{vouched: true, many: true}, []string{"192.0.2.66, 203.0.113.9"}, "203.0.113.9:0"},
		"in a line of its own":      {&Conn{vouched: true, many: true}, []string{"192.0.2.66", "203.0.113.9"}, "203.0.113.9:0"},
		"nonsense":                  {&Conn{vouched: true, many: true}, []string{"203.0.113.9, unknown"}, "192.0.2.1:1234"},
		"nothing":                   {&Conn{vouched: true, many: true}, nil, "192.0.2.1:1234"},
		"one with PROXY headers":    {&Conn{vouched: true}, []string{"203.0.113.9"}, "192.0.2.1:1234"},
		"anybody":                   {nil, []string{"203.0.113.9"}, "192.0.2.1:1234"},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		if c.conn != nil {
			r = r.WithContext(ConnContext(t.Context(), c.conn))
		}
		r.Header["X-Forwarded-For"] = c.lines
		got := ""
		Forwarded(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.RemoteAddr })).ServeHTTP(httptest.NewRecorder(), r)
		if got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// recorded is a connection that has these bytes to read.
type recorded struct {
	net.Conn
	*bytes.Reader
}

func (c recorded) Read(p []byte) (int, error)      { return c.Reader.Read(p) }
func (c recorded) SetReadDeadline(time.Time) error { return nil }
func (c recorded) RemoteAddr() net.Addr            { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

// FuzzHeader: whatever comes, a header that is taken names a source that can be counted, and
// not a byte behind it is lost.
func FuzzHeader(f *testing.F) {
	f.Add([]byte("PROXY TCP4 203.0.113.9 192.0.2.1 4711 8883\r\n\x16\x03\x01"))
	f.Add([]byte("PROXY UNKNOWN\r\nrest"))
	f.Add(header(f, 2, "203.0.113.9:4711"))
	f.Add(append(header(f, 2, "[2001:db8::9]:4711"), "rest"...))
	f.Add(local)
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, err := readHeader(recorded{Reader: bytes.NewReader(raw)})
		if err != nil {
			return
		}
		if _, err := netip.ParseAddrPort(c.RemoteAddr().String()); err != nil {
			t.Errorf("%q: from %v", raw, c.RemoteAddr())
		}
		rest, err := io.ReadAll(c)
		if err != nil || !bytes.HasSuffix(raw, rest) || len(raw)-len(rest) < len("PROXY UNKNOWN\r\n") || len(raw)-len(rest) > 16+4096 {
			t.Errorf("%q: behind it %q, %v", raw, rest, err)
		}
	})
}

// FuzzForwarded: whatever a client adds to X-Forwarded-For, the last is the balancer's.
func FuzzForwarded(f *testing.F) {
	f.Add("203.0.113.9")
	f.Add("[::1]:80, unknown")
	f.Add("fe80::1%eth0")
	f.Fuzz(func(t *testing.T, sent string) {
		if got, ok := lastForwarded([]string{sent, "x", sent + ", 192.0.2.9"}); !ok || got.String() != "192.0.2.9:0" {
			t.Errorf("%q: %v, %v", sent, got, ok)
		}
		if got, ok := lastForwarded([]string{sent}); ok && (!got.Addr().IsValid() || got.Addr().Zone() != "") {
			t.Errorf("%q: %v", sent, got)
		}
	})
}

// TestUnread: who reads the connection below begins with what came together with the header.
func TestUnread(t *testing.T) {
	d := open(t, Networks{Proxy: loopback})
	client := d.send(t, append(header(t, 1, "203.0.113.9:4711"), "hello"...))
	server, ok := d.accept(t).(*Conn)
	if !ok {
		t.Fatal("no Conn")
	}
	if _, err := io.ReadFull(server, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if got := string(server.Unread()); got != "ello" {
		t.Errorf("unread is %q", got)
	}
	if got := server.Unread(); len(got) > 0 {
		t.Errorf("and again %q", got)
	}
	if _, err := io.WriteString(client, "again"); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 5)
	if _, err := io.ReadFull(server.NetConn(), got); err != nil || string(got) != "again" {
		t.Errorf("then %q, %v", got, err)
	}
}
