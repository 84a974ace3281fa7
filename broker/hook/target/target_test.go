package target_test

import (
	"errors"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/hook/target"
)

// blocked gives the URLs that no hook may have unless its network is allowed (T-24).
func blocked(t testing.TB) []string {
	t.Helper()
	raw, err := os.ReadFile("testdata/blocked.txt")
	if err != nil {
		t.Fatal(err)
	}
	urls := []string{""}
	for line := range strings.Lines(string(raw)) {
		if line = strings.TrimSuffix(line, "\n"); !strings.HasPrefix(line, "# ") {
			urls = append(urls, line)
		}
	}
	return urls
}

func TestBlockedURLs(t *testing.T) {
	for _, raw := range blocked(t) {
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
	for _, raw := range blocked(f) {
		f.Add(raw)
	}
	f.Add("https://hooks.example/")
	f.Fuzz(func(t *testing.T, raw string) {
		if err := (target.Policy{}).CheckURL(raw); err != nil && !errors.Is(err, broker.ErrInvalid) {
			t.Errorf("%q: %v is no ErrInvalid", raw, err)
		}
	})
}
