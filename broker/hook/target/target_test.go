package target_test

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/hook/target"
)

// blocked are URLs that no hook may have unless its network is allowed (T-24).
func blocked() []string {
	return []string{
		// loopback, in every form
		"https://127.0.0.1/", "https://127.1.2.3/", "https://127.0.0.1./", "https://[::1]/", "https://[::ffff:127.0.0.1]/",
		"https://[::ffff:7f00:1]/", "https://[::127.0.0.1]/", "https://[0:0:0:0:0:0:0:1]/", "https://localhost/", "https://LOCALHOST./", "https://a.localhost/",
		// decimal, octal, hexadecimal and short
		"https://2130706433/", "https://017700000001/", "https://0x7f000001/", "https://0x7f.1/", "https://0177.0.0.1/", "https://127.1/", "https://0/",
		// private, link-local, metadata, shared
		"https://10.0.0.1/", "https://172.16.0.1/", "https://192.168.0.1/", "https://169.254.169.254/latest/meta-data/", "https://[::ffff:169.254.169.254]/",
		"https://[fe80::1]/", "https://[fe80::1%25eth0]/", "https://[fd00:ec2::254]/", "https://100.100.100.200/", "https://192.0.0.192/", "https://168.63.129.16/",
		// unspecified, multicast, broadcast, reserved, documentation
		"https://0.0.0.0/", "https://[::]/", "https://0.1.2.3/", "https://224.0.0.1/", "https://[ff02::1]/", "https://255.255.255.255/", "https://240.0.0.1/",
		"https://198.18.0.1/", "https://192.0.2.1/", "https://198.51.100.1/", "https://203.0.113.1/", "https://[2001:db8::1]/", "https://[3fff::1]/",
		// an IPv4 address inside: NAT64, 6to4, Teredo, ISATAP
		"https://[64:ff9b::7f00:1]/", "https://[64:ff9b:1::a00:1]/", "https://[2002:7f00:1::]/", "https://[2001:0:7f00:1::]/", "https://[2a00::5efe:7f00:1]/", "https://[2a00::200:5efe:7f00:1]/",
		"https://192.88.99.1/", "https://[fec0::1]/", "https://[100::1]/", "https://[4000::1]/",
		// names that are not what they look like
		"https://user@hooks.example/", "https://hooks.example@127.0.0.1/", "https://user:pw@127.0.0.1/", `https://hooks.example\@127.0.0.1/`, "https://hooks.example%2f@127.0.0.1/",
		"https://127.0.0.1#@hooks.example/", "https://hooks.example/#x", "https://１２７.0.0.1/", "https://127.0.0.1%00.hooks.example/", "https://hooks.example:0/", "https://hooks.example:99999/", "https://[::1%25lo]/",
		// other schemes, or none
		"http://hooks.example/", "http://93.184.215.14/", "ftp://hooks.example/", "file:///etc/passwd", "gopher://hooks.example/", "unix:///run/x.sock", "javascript:alert(1)",
		"https:hooks.example/", "https:///hooks", "//hooks.example/", "/hooks", "hooks.example", "", "https://", "https://[::1/",
	}
}

func TestBlockedURLs(t *testing.T) {
	for _, raw := range blocked() {
		if err := (target.Policy{}).CheckURL(raw); !errors.Is(err, broker.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", raw, err)
		}
	}
}

func TestPublicURLs(t *testing.T) {
	for _, raw := range []string{
		"https://hooks.example/", "https://hooks.example", "https://HOOKS.example:8443/a?b=c", "https://hooks.example./", "HTTPS://xn--bcher-kva.example/",
		"https://93.184.215.14/", "https://[2606:4700::6810:84e5]/", "https://localhost.example/", "https://under_score.example/", "https://1.hooks.example/",
	} {
		if err := (target.Policy{}).CheckURL(raw); err != nil {
			t.Errorf("%s: %v", raw, err)
		}
	}
}

// TestAllowList: what is in the list is allowed, by plain http too; the rest is as without it.
func TestAllowList(t *testing.T) {
	p := target.New([]netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("::1/128")})
	for _, raw := range []string{"https://10.1.2.3/", "http://10.1.2.3:8080/", "http://[::ffff:10.1.2.3]/", "http://[::1]/", "http://localhost:9000/", "https://hooks.example/"} {
		if err := p.CheckURL(raw); err != nil {
			t.Errorf("%s: %v, want it allowed", raw, err)
		}
	}
	for _, raw := range []string{
		"https://10.2.0.1/", "http://10.2.0.1/", "https://127.0.0.1/", "http://127.0.0.1/", "http://hooks.example/", "http://93.184.215.14/", "https://169.254.169.254/", "https://[::2]/",
		"https://user@10.1.2.3/", "ftp://10.1.2.3/", "https://167838211/",
	} {
		if err := p.CheckURL(raw); !errors.Is(err, broker.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", raw, err)
		}
	}
}

// TestAddresses: the table's addresses are refused when they are dialled, too.
func TestAddresses(t *testing.T) {
	allow := target.New([]netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")})
	for _, c := range []struct {
		ip            string
		plain, listed bool
	}{
		{"93.184.215.14", true, true}, {"2606:4700::6810:84e5", true, true}, {"10.1.2.3", false, true}, {"::ffff:10.1.2.3", false, true},
		{"10.2.0.1", false, false}, {"::ffff:10.2.0.1", false, false}, {"127.0.0.1", false, false}, {"169.254.169.254", false, false}, {"::", false, false}, {"fe80::1%eth0", false, false},
		{"64:ff9b::a01:203", false, false}, {"2002:a01:203::", false, false}, {"::10.1.2.3", false, false},
	} {
		ip := netip.MustParseAddr(c.ip)
		if err := (target.Policy{}).CheckAddr(ip); (err == nil) != c.plain || err != nil && !errors.Is(err, target.ErrBlocked) {
			t.Errorf("%s: %v, want allowed: %v", ip, err, c.plain)
		}
		if err := allow.CheckAddr(ip); (err == nil) != c.listed {
			t.Errorf("%s with an allow-list: %v, want allowed: %v", ip, err, c.listed)
		}
	}
	if err := (target.Policy{}).CheckAddr(netip.Addr{}); !errors.Is(err, target.ErrBlocked) {
		t.Errorf("no address: %v", err)
	}
}

func FuzzCheckURL(f *testing.F) {
	for _, raw := range blocked() {
		f.Add(raw)
	}
	f.Add("https://hooks.example/")
	f.Fuzz(func(t *testing.T, raw string) {
		if err := (target.Policy{}).CheckURL(raw); err != nil && !errors.Is(err, broker.ErrInvalid) {
			t.Errorf("%q: %v is no ErrInvalid", raw, err)
		}
	})
}
