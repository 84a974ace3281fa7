package daemon

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// TestRequestsThatMeetBoundsAreSeen: each is counted by its cause and logged, in sums; what is
// served is not.
func TestRequestsThatMeetBoundsAreSeen(t *testing.T) {
	var said bytes.Buffer
	reg := prometheus.NewRegistry()
	told, err := newUnserved(reg, slog.New(slog.NewTextHandler(&said, nil)))
	if err != nil {
		t.Fatal(err)
	}
	status := http.StatusOK
	answer := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Error(err) // what streams must go through
		}
	})
	api := told.watch(answer)
	for cause, of := range map[string]int{"": 200, "length": 413, "tokens": 429} {
		for range 3 {
			status = of
			api.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/api/x", nil))
		}
		if cause != "" && figure(t, reg, "signet_https_requests_refused_total", cause) != 3 {
			t.Errorf("%s: not counted thrice", cause)
		}
	}
	wait, began := make(chan struct{}), make(chan struct{}, maxBodies)
	slow := whole(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { began <- struct{}{}; <-wait }), told)
	post := func(coding string) int {
		w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/api/x", strings.NewReader("x"))
		r.Header.Set("Content-Encoding", coding)
		slow.ServeHTTP(w, r)
		return w.Code
	}
	if got := post("gzip"); got != 415 || figure(t, reg, "signet_https_requests_refused_total", "encoding") != 1 {
		t.Errorf("compressed: %d, or not counted", got)
	}
	done := make(chan int)
	for range maxBodies {
		go func() { done <- post("") }()
	}
	for range maxBodies {
		<-began
	}
	if got := post(""); got != 503 || figure(t, reg, "signet_https_requests_refused_total", "bodies") != 1 {
		t.Errorf("one body too many: %d, or not counted", got)
	}
	close(wait)
	for range maxBodies {
		<-done
	}
	if n := strings.Count(said.String(), "\n"); n != 4 {
		t.Errorf("%d lines, want one of each: %s", n, &said)
	}
}
