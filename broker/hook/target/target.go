// Package target says where hooks may be: which URLs an operator may register and which
// addresses a call may dial. Both are checked, because a name may resolve to anything,
// and to something else the next time.
//
// It resolves no name and opens no connection.
package target

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/signetd/signet/broker"
)

// MaxURL is how many bytes a hook's URL has at most.
const MaxURL = 2048

// ErrBlocked is wrapped when an address may not be dialled.
var ErrBlocked = errors.New("hook address not allowed")

// A Policy says where hooks may be. The zero value allows public addresses by
// https and nothing else. It never changes and may be shared.
type Policy struct{ allow []netip.Prefix }

// New makes a Policy that also allows addresses in allow, and there plain http too.
func New(allow []netip.Prefix) Policy { return Policy{slices.Clone(allow)} }

// CheckAddr refuses, with ErrBlocked, an address that is neither public nor allowed.
func (p Policy) CheckAddr(ip netip.Addr) error {
	ip = ip.Unmap().WithZone("")
	if p.allowed(ip) || public(ip) {
		return nil
	}
	return fmt.Errorf("%w: %s is not public; add its network to hooks.allow if it is meant", ErrBlocked, ip)
}

func (p Policy) allowed(ip netip.Addr) bool {
	return slices.ContainsFunc(p.allow, func(n netip.Prefix) bool { return n.Contains(ip) })
}

// public reports whether an address belongs to somebody on the Internet: it is none of the
// special-purpose ones (RFC 6890 and IANA's registries), and none that has an
// IPv4 address inside (NAT64, 6to4, Teredo, ISATAP), which would be dialled in the end.
func public(ip netip.Addr) bool {
	if !ip.IsGlobalUnicast() || ip.IsPrivate() {
		return false
	}
	if ip.Is6() {
		if b := ip.As16(); b[0]>>5 != 1 || b[8]&^2 == 0 && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe { // 2000::/3; ISATAP (RFC 5214)
			return false
		}
	}
	for _, s := range []string{
		"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15",
		"198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4",
		"168.63.129.16/32", // a cloud's metadata, although in a public range
		"2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20",
	} {
		if netip.MustParsePrefix(s).Contains(ip) { // constants
			return false
		}
	}
	return true
}

// CheckURL refuses, with broker.ErrInvalid, a URL that could never be called:
// anything but https://host/path with a host that may be public, or plain http to
// an allowed address (or to localhost, if loopback is allowed).
func (p Policy) CheckURL(raw string) error {
	u, err := url.Parse(raw)
	if err != nil || len(raw) > MaxURL || u.Hostname() == "" || u.User != nil || u.Fragment != "" || !port(u.Port()) {
		return fmt.Errorf("%w: hook URL: want https://host/path of at most %d bytes, without user and fragment", broker.ErrInvalid, MaxURL)
	}
	host := strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
	plain, err := p.checkHost(host)
	if err != nil {
		return fmt.Errorf("%w: hook URL: %w", broker.ErrInvalid, err)
	}
	if u.Scheme == "https" || u.Scheme == "http" && plain {
		return nil
	}
	return fmt.Errorf("%w: hook URL: scheme %q, want https (plain http only to an address in hooks.allow)", broker.ErrInvalid, u.Scheme)
}

func port(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return s == "" || err == nil && n > 0
}

// checkHost refuses hosts that can never be called, and reports whether plain http may be
// spoken with this one.
func (p Policy) checkHost(host string) (plain bool, err error) {
	if ip, err := netip.ParseAddr(host); err == nil {
		if ip.Zone() != "" {
			return false, fmt.Errorf("%w: %s has a zone", ErrBlocked, host)
		}
		return p.allowed(ip.Unmap()), p.CheckAddr(ip)
	}
	for i := range len(host) {
		if c := host[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '.' && c != '_' {
			return false, fmt.Errorf("host %q is no DNS name; write international names in their xn-- form", host)
		}
	}
	last := host[strings.LastIndexByte(host, '.')+1:]
	if last == "" || last[0] >= '0' && last[0] <= '9' { // 2130706433, 0x7f.1, 0177.0.0.1: some resolvers take them for addresses
		return false, fmt.Errorf("host %q is neither a DNS name nor an address in its usual form", host)
	}
	if last != "localhost" {
		return false, nil
	}
	if p.allowed(netip.AddrFrom4([4]byte{127, 0, 0, 1})) || p.allowed(netip.IPv6Loopback()) {
		return true, nil
	}
	return false, fmt.Errorf("%w: %s is this machine; add 127.0.0.0/8 to hooks.allow if it is meant", ErrBlocked, host)
}
