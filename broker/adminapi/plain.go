package adminapi

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
)

const maxPlain = 2048 // bytes of a plain error that become a problem

// Problems gives handlers that answer errors in plain text (http.ServeMux,
// http.Error) or as bare problem documents the same errors as this API: problem
// documents with a type and the request's id. Errors in any other form pass through.
func Problems(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r, c := identify(r)
		w.Header().Set(requestIDHeader, c.id)
		out := &plainCatcher{ResponseWriter: w}
		next.ServeHTTP(out, r)
		if out.caught == 0 {
			return
		}
		detail := strings.TrimSpace(out.text.String())
		var bare Problem
		if json.Unmarshal(out.text.Bytes(), &bare) == nil {
			detail = bare.Detail
		}
		if detail == http.StatusText(out.caught) || strings.HasPrefix(detail, "404 ") {
			detail = "no such path; what there is: " + docsPath + " and /pools/{pool}/.well-known/openid-configuration"
		}
		if out.caught == http.StatusMethodNotAllowed {
			detail = "not with " + r.Method
		}
		writeProblem(r.Context(), w, newProblem(out.caught, detail))
	})
}

// A plainCatcher holds back errors in plain text and bare problems.
type plainCatcher struct {
	http.ResponseWriter
	caught int // status held back
	text   bytes.Buffer
}

// WriteHeader implements http.ResponseWriter.
func (p *plainCatcher) WriteHeader(status int) {
	form, _, _ := strings.Cut(p.Header().Get("Content-Type"), ";")
	if status >= 400 && (form == "text/plain" || form == "application/problem+json") {
		p.caught = status
		p.Header().Del("Content-Length")
		return
	}
	p.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (p *plainCatcher) Write(b []byte) (int, error) {
	if p.caught == 0 {
		return p.ResponseWriter.Write(b)
	}
	p.text.Write(b[:min(len(b), maxPlain-p.text.Len())])
	return len(b), nil
}

// Unwrap lets http.ResponseController through.
func (p *plainCatcher) Unwrap() http.ResponseWriter { return p.ResponseWriter }
