package daemon

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/signetd/signet/broker/config"
)

func TestProfilesAreForThisMachine(t *testing.T) {
	d := &Daemon{metrics: prometheus.NewRegistry(), cfg: config.Config{Health: config.Health{Profiles: true}}}
	h := d.healthHandler()
	for remote, want := range map[string]int{
		"127.0.0.1:9": 200, "[::1]:9": 200, "[::ffff:127.0.0.1]:9": 200, "192.0.2.1:9": 403, "[2001:db8::1]:9": 403, "": 403,
	} {
		for _, path := range []string{"/debug/pprof/", "/debug/pprof/goroutine?debug=1"} {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, from(remote, path))
			if w.Code != want {
				t.Errorf("%s from %q: got %d, want %d", path, remote, w.Code, want)
			}
		}
	}
	d.cfg.Health.Profiles = false
	w := httptest.NewRecorder()
	if d.healthHandler().ServeHTTP(w, from("127.0.0.1:9", "/debug/pprof/")); w.Code != 404 {
		t.Errorf("profiles that nobody asked for: got %d", w.Code)
	}
	req := httptest.NewRequest(http.MethodGet, "/livez", nil)
	w = httptest.NewRecorder()
	if h.ServeHTTP(w, req); w.Code != 200 {
		t.Errorf("livez from elsewhere: got %d", w.Code)
	}
	req = httptest.NewRequest(http.MethodGet, "/readyz", nil)
	w = httptest.NewRecorder()
	if h.ServeHTTP(w, req); w.Code != 503 {
		t.Errorf("readyz of one that does not serve: got %d", w.Code)
	}
}

func from(remote, path string) *http.Request {
	req := httptest.NewRequest(http.MethodGet, path, nil)
	req.RemoteAddr = remote
	return req
}

// TestHostsAreKnown: a page whose name was made to mean this machine reads nothing here.
func TestHostsAreKnown(t *testing.T) {
	served := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	h := known([]string{"Metrics.example", "192.0.2.7"}, served)
	to := &net.TCPAddr{IP: net.ParseIP("198.51.100.1"), Port: 9464}
	for host, want := range map[string]int{
		"localhost": 200, "localhost:9464": 200, "LOCALHOST.": 200, "127.0.0.1:9464": 200, "127.9.9.9": 200, "[::1]:9464": 200, "[::1]": 200, "[::ffff:127.0.0.1]:1": 200,
		"198.51.100.1:9464": 200, "metrics.example": 200, "METRICS.example:9464": 200, "192.0.2.7:80": 200,
		"": 421, "evil.example": 421, "evil.example:9464": 421, "127.0.0.1.evil.example": 421, "localhost.evil.example:9464": 421,
		"192.0.2.8": 421, "metrics.example.evil": 421, "[::2]:9464": 421, "0.0.0.0:9464": 421, "127.1": 421, "2130706433": 421,
	} {
		req := httptest.NewRequest(http.MethodGet, "/metrics", nil)
		req = req.WithContext(context.WithValue(req.Context(), http.LocalAddrContextKey, to))
		req.Host = host
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, req); w.Code != want {
			t.Errorf("Host %q: got %d, want %d", host, w.Code, want)
		}
	}
}
