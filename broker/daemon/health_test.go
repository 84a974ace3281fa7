package daemon

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

func TestProfilesAreForThisMachine(t *testing.T) {
	d := &Daemon{metrics: prometheus.NewRegistry()}
	h := d.healthHandler()
	for remote, want := range map[string]int{
		"127.0.0.1:9": 200, "[::1]:9": 200, "[::ffff:127.0.0.1]:9": 200, "192.0.2.1:9": 403, "[2001:db8::1]:9": 403, "": 403,
	} {
		for _, path := range []string{"/debug/pprof/", "/debug/pprof/goroutine?debug=1"} {
			req := httptest.NewRequest(http.MethodGet, path, nil)
			req.RemoteAddr = remote
			w := httptest.NewRecorder()
			h.ServeHTTP(w, req)
			if w.Code != want {
				t.Errorf("%s from %q: got %d, want %d", path, remote, w.Code, want)
			}
		}
	}
	req := httptest.NewRequest(http.MethodGet, "/livez", nil)
	w := httptest.NewRecorder()
	if h.ServeHTTP(w, req); w.Code != 200 {
		t.Errorf("livez from elsewhere: got %d", w.Code)
	}
	req = httptest.NewRequest(http.MethodGet, "/readyz", nil)
	w = httptest.NewRecorder()
	if h.ServeHTTP(w, req); w.Code != 503 {
		t.Errorf("readyz of one that does not serve: got %d", w.Code)
	}
}
