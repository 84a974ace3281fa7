package balancer

import (
	"net/http"
	"net/netip"
	"strings"
)

// Forwarded gives requests the address of their client, as a balancer that ends TLS and
// sends no PROXY header tells it: the last in X-Forwarded-For, which that balancer put
// there itself. What stands before it, anybody may have written.
func Forwarded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c := of(r.Context()); c != nil && c.many {
			if from, ok := lastForwarded(r.Header.Values("X-Forwarded-For")); ok {
				r.RemoteAddr = from.String()
			}
		}
		next.ServeHTTP(w, r)
	})
}

// lastForwarded reads the last address of X-Forwarded-For. Most balancers leave its port away.
func lastForwarded(lines []string) (netip.AddrPort, bool) {
	if len(lines) == 0 {
		return netip.AddrPort{}, false
	}
	last := lines[len(lines)-1]
	last = strings.TrimSpace(last[strings.LastIndex(last, ",")+1:])
	if ip, err := netip.ParseAddr(strings.Trim(last, "[]")); err == nil {
		return netip.AddrPortFrom(ip.WithZone(""), 0), true
	}
	at, err := netip.ParseAddrPort(last)
	return netip.AddrPortFrom(at.Addr().WithZone(""), at.Port()), err == nil
}
