package hook

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/auth"
	"github.com/signetd/signet/broker/hook/target"
	"github.com/signetd/signet/protocol/ident"
)

type clear struct{}

func (clear) Open(broker.Purpose, []byte) ([]byte, error) {
	return []byte("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), nil
}

type none struct{}

func (none) Hook(context.Context, ident.Pool, string) (*broker.Hook, error) {
	return nil, broker.ErrNotFound
}

var errDialled = errors.New("would have been dialled")

// dials are the addresses that a Caller would have connected to.
type dials struct {
	mu   sync.Mutex // guards seen
	seen []string
}

// watched gives a Caller that resolves names by dns and connects to nothing.
func watched(dns *net.Resolver, allow ...netip.Prefix) (*Caller, *dials) {
	c, d := New(Config{Store: none{}, Secrets: clear{}, Allow: allow, Now: time.Now}), new(dials)
	c.dialer.Resolver = dns
	c.dialer.Control = func(network, address string, raw syscall.RawConn) error {
		if err := c.control(network, address, raw); err != nil {
			return err
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		d.seen = append(d.seen, address)
		return errDialled
	}
	return c, d
}

func (d *dials) since() (seen []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	seen, d.seen = d.seen, nil
	return seen
}

func verify(t *testing.T, c *Caller, url string) error {
	t.Helper()
	ok, err := c.Verify(t.Context(), broker.Hook{Name: url, URL: url, Timeout: 5 * time.Second}, auth.HookCall{ID: "1"}, "x")
	if ok || err == nil {
		t.Errorf("%s: got %v, %v, although nothing was connected", url, ok, err)
	}
	return err
}

// TestNoBlockedURLIsDialled: a hook that got into the store by whatever way is
// checked again when it is called (T-24).
func TestNoBlockedURLIsDialled(t *testing.T) {
	raw, err := os.ReadFile("target/testdata/blocked.txt")
	if err != nil {
		t.Fatal(err)
	}
	// Whoever is asked for a name says that it is this machine.
	c, d := watched(resolver(func(string, uint16) []netip.Addr { return []netip.Addr{netip.MustParseAddr("127.0.0.1")} }))
	n := 0
	for line := range strings.Lines(string(raw)) {
		if strings.HasPrefix(line, "# ") {
			continue
		}
		n++
		if err := verify(t, c, strings.TrimSuffix(line, "\n")); !errors.Is(err, broker.ErrInvalid) {
			t.Errorf("%s: %v", line, err)
		}
	}
	if seen := d.since(); len(seen) > 0 || n < 40 {
		t.Errorf("of %d URLs these were dialled: %v", n, seen)
	}
}

// TestNamesAreCheckedWhenDialled: a name is judged by each address that it resolves to.
func TestNamesAreCheckedWhenDialled(t *testing.T) {
	for _, ip := range []string{
		"127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.0.1", "169.254.169.254", "100.100.100.200", "0.0.0.0", "168.63.129.16", "224.0.0.1", "255.255.255.255", "198.18.0.1",
		"::1", "::", "fe80::1", "fd00:ec2::254", "::ffff:127.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "2001:0:7f00:1::", "ff02::1", "2a00::5efe:7f00:1",
	} {
		c, d := watched(resolver(func(string, uint16) []netip.Addr { return []netip.Addr{netip.MustParseAddr(ip)} }))
		if err := verify(t, c, "https://hooks.example./"); !errors.Is(err, target.ErrBlocked) {
			t.Errorf("%s: %v, want ErrBlocked", ip, err)
		}
		if seen := d.since(); len(seen) > 0 {
			t.Errorf("%s was dialled: %v", ip, seen)
		}
	}
	for _, ip := range []string{"93.184.215.14", "2606:4700::6810:84e5"} {
		c, d := watched(resolver(func(string, uint16) []netip.Addr { return []netip.Addr{netip.MustParseAddr(ip)} }))
		if err := verify(t, c, "https://hooks.example./"); !errors.Is(err, errDialled) || len(d.since()) != 1 {
			t.Errorf("%s is public: %v", ip, err)
		}
	}
}

// TestRebinding: a name that is public when it is first asked for and this machine
// afterwards, or both at once, never leads here.
func TestRebinding(t *testing.T) {
	public, here := netip.MustParseAddr("93.184.215.14"), netip.MustParseAddr("127.0.0.1")
	var mu sync.Mutex
	asked := 0
	c, d := watched(resolver(func(_ string, kind uint16) []netip.Addr {
		mu.Lock()
		defer mu.Unlock()
		if kind != typeA {
			return nil
		}
		if asked++; asked == 1 {
			return []netip.Addr{public}
		}
		return []netip.Addr{here, public}
	}))
	for i := range 20 { // each a hook of its own: failing ones are left alone
		if err := verify(t, c, fmt.Sprint("https://hooks.example./", i)); err == nil {
			t.Fatal("nothing was refused")
		}
	}
	seen := d.since()
	for _, address := range seen {
		if address != "93.184.215.14:443" {
			t.Errorf("%s was dialled", address)
		}
	}
	if len(seen) == 0 || asked < 20 {
		t.Errorf("asked %d times, dialled %v", asked, seen)
	}
}

// TestAllowedNetworksAreDialled: what the list allows, and of the rest nothing.
func TestAllowedNetworksAreDialled(t *testing.T) {
	inside, outside := netip.MustParseAddr("10.1.0.1"), netip.MustParseAddr("10.2.0.1")
	for ip, want := range map[netip.Addr]error{inside: errDialled, outside: target.ErrBlocked} {
		c, d := watched(resolver(func(string, uint16) []netip.Addr { return []netip.Addr{ip} }), netip.MustParsePrefix("10.1.0.0/16"))
		if err := verify(t, c, "https://hooks.internal./"); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", ip, err, want)
		}
		for _, address := range d.since() {
			if !strings.HasPrefix(address, "10.1.") {
				t.Errorf("%s was dialled", address)
			}
		}
	}
}

// DNS types (RFC 1035, 3.2.2; RFC 3596).
const (
	typeA    = 1
	typeAAAA = 28
)

// resolver asks answers in place of a DNS server.
func resolver(answers func(name string, kind uint16) []netip.Addr) *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		go func() {
			defer server.Close()
			for serveDNS(server, answers) == nil {
			}
		}()
		return client, nil
	}}
}

// serveDNS answers one question over a stream (RFC 1035, 4.2.2).
func serveDNS(conn net.Conn, answers func(string, uint16) []netip.Addr) error {
	size := make([]byte, 2)
	if _, err := io.ReadFull(conn, size); err != nil {
		return err
	}
	query := make([]byte, binary.BigEndian.Uint16(size))
	if _, err := io.ReadFull(conn, query); err != nil {
		return err
	}
	var labels []string
	at := 12
	for query[at] != 0 {
		labels = append(labels, string(query[at+1:at+1+int(query[at])]))
		at += 1 + int(query[at])
	}
	kind := binary.BigEndian.Uint16(query[at+1:])
	question := query[12 : at+5]
	reply := append([]byte{query[0], query[1], 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0}, question...)
	for _, ip := range answers(strings.Join(labels, "."), kind) {
		if ip.Is4() != (kind == typeA) {
			continue
		}
		reply[7]++
		reply = append(reply, 0xc0, 12, 0, byte(kind), 0, 1, 0, 0, 0, 0, 0, byte(len(ip.AsSlice())))
		reply = append(reply, ip.AsSlice()...)
	}
	_, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...))
	return err
}
