package daemon

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// known lets requests through whose Host is loopback, the address that they came to, or
// listed. A page in somebody's browser, whose name its owner has resolve to this machine
// (DNS rebinding), has another.
func known(listed []string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isKnown(r, listed) {
			http.Error(w, "this Host is not served here: list it in health.hosts", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func isKnown(r *http.Request, listed []string) bool {
	host := hostOf(r.Host)
	if host == "localhost" || slices.ContainsFunc(listed, func(l string) bool { return strings.EqualFold(l, host) }) {
		return true
	}
	at, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	if at.IsLoopback() {
		return true
	}
	to, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	return ok && to.AddrPort().Addr().Unmap() == at.Unmap()
}

// hostOf is the name or address in a Host header, without its port (RFC 9110, section 7.2).
func hostOf(header string) string {
	host, _, err := net.SplitHostPort(header)
	if err != nil {
		host = strings.TrimSuffix(strings.TrimPrefix(header, "["), "]")
	}
	return strings.TrimSuffix(strings.ToLower(host), ".")
}
