package problem_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/problem"
	"github.com/signetd/signet/protocol/ident"
)

func TestPlainErrorsBecomeProblems(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /file", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "fine") })
	mux.HandleFunc("GET /pool", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no such pool", http.StatusNotFound) })
	mux.HandleFunc("GET /bare", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(404)
		io.WriteString(w, `{"title":"Not Found","status":404,"detail":"no such thing"}`)
	})
	mux.HandleFunc("GET /own", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(400)
		io.WriteString(w, `{"error":"invalid_request"}`)
	})
	h := problem.Plain(mux)
	for _, c := range []struct {
		method, path string
		status       int
		says         string
	}{
		{"GET", "/nothing", 404, "/api/docs"}, {"POST", "/file", 405, "not with POST"},
		{"GET", "/pool", 404, "no such pool"}, {"GET", "/bare", 404, "no such thing"}, {"GET", "/own", 400, `{"error":"invalid_request"}`}, {"GET", "/file", 200, "fine"},
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(c.method, c.path, nil))
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.says) || w.Header().Get("X-Request-Id") == "" {
			t.Errorf("%s %s: got %d %s", c.method, c.path, w.Code, w.Body)
		}
		if c.path == "/own" || c.status == 200 {
			continue
		}
		var p problem.Problem
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || p.Status != c.status || p.RequestID != w.Header().Get("X-Request-Id") ||
			w.Header().Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s %s: no problem document: %s", c.method, c.path, w.Body)
		}
	}
}

// TestOf: each error of the domain has its status, and what has none tells nothing.
func TestOf(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		detail string
	}{
		{fmt.Errorf("pool x: %w", broker.ErrNotFound), http.StatusNotFound, "pool x: not found"},
		{fmt.Errorf("create x: %w", broker.ErrExists), http.StatusConflict, "create x: already exists"},
		{fmt.Errorf("x: %w", broker.ErrConflict), http.StatusConflict, "x: " + broker.ErrConflict.Error()},
		{fmt.Errorf("x: %w", broker.ErrKeyBound), http.StatusConflict, "x: " + broker.ErrKeyBound.Error()},
		{fmt.Errorf("%w: name is empty", broker.ErrInvalid), http.StatusUnprocessableEntity, "name is empty"},
		{fmt.Errorf("name: %w", ident.ErrInvalid), http.StatusUnprocessableEntity, "name: " + ident.ErrInvalid.Error()},
		{fmt.Errorf("put: %w: /var/lib/signet.db", broker.ErrFull), http.StatusInsufficientStorage, "the broker's disk, or what it may use of it, is full; nothing was changed: make room, then send it again"},
		{errors.New("secret in /var/lib"), http.StatusInternalServerError, "the broker failed; its log has the cause"},
		{fmt.Errorf("outer: %w", problem.New(http.StatusGone, "went")), http.StatusGone, "went"},
	} {
		if p := problem.Of(c.err); p.Status != c.status || p.Detail != c.detail || p.Title == "" {
			t.Errorf("%v: got %d %q", c.err, p.Status, p.Detail)
		}
	}
}

// TestKindsAreExplained: every status that Of and the doors answer with has an anchor
// on the docs page, once.
func TestKindsAreExplained(t *testing.T) {
	seen := map[string]bool{}
	for _, k := range problem.Kinds() {
		if p := problem.New(k.Status, ""); p.Type != problem.DocsPath+"#"+k.Name || k.About == "" || seen[k.Name] {
			t.Errorf("%d: %s, %q", k.Status, p.Type, k.About)
		}
		seen[k.Name] = true
	}
	if p := problem.New(http.StatusTeapot, "short"); p.Type != "about:blank" || p.Title != "I'm a teapot" {
		t.Errorf("an unexplained status: %+v", p)
	}
}

// TestBothEnds: what Write sends is what Parse reads, and Parse takes nothing else.
func TestBothEnds(t *testing.T) {
	w := httptest.NewRecorder()
	id := problem.Name(w)
	sent := problem.New(http.StatusConflict, "taken")
	sent.Errors = []problem.Place{{Location: "body.name", Message: "is taken"}}
	sent.Write(w)
	if w.Header().Get("Cache-Control") != "no-store" || len(id) != 16 {
		t.Errorf("id %q, %v", id, w.Header())
	}
	got := problem.Parse(w.Code, w.Header().Get("Content-Type"), w.Body.Bytes())
	if got == nil || got.RequestID != id || got.Error() != "taken; name: is taken" {
		t.Fatalf("got %+v", got)
	}
	for _, c := range []struct {
		status     int
		kind, body string
	}{{404, problem.MediaType, w.Body.String()}, {409, "application/json", w.Body.String()}, {409, problem.MediaType, "{"}, {409, "", w.Body.String()}} {
		if p := problem.Parse(c.status, c.kind, []byte(c.body)); p != nil {
			t.Errorf("%d %q: %+v", c.status, c.kind, p)
		}
	}
}
