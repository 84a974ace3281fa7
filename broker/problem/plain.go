package problem

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strings"
)

// RequestID is the header that names a request in answers and in the log.
const RequestID = "X-Request-Id"

// Name gives a request an id, 16 hexadecimal digits, and says it in its answer.
func Name(w http.ResponseWriter) string {
	var id [8]byte
	rand.Read(id[:])
	name := hex.EncodeToString(id[:])
	w.Header().Set(RequestID, name)
	return name
}

const maxPlain = 2048 // bytes of a plain error that become a problem

// Plain gives handlers that answer errors in plain text (http.ServeMux, http.Error)
// or as bare problem documents the form of all others: problem documents with a type
// and the request's id. Errors in any other form pass through.
func Plain(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		Name(w)
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
			detail = "no such path; what there is: " + DocsPath + " and /pools/{pool}/.well-known/openid-configuration"
		}
		if out.caught == http.StatusMethodNotAllowed {
			detail = "not with " + r.Method
		}
		New(out.caught, detail).Write(w)
	})
}

// A plainCatcher holds back errors in plain text and bare problems.
type plainCatcher struct {
	http.ResponseWriter
	caught int // status held back
	text   bytes.Buffer
}

func (p *plainCatcher) WriteHeader(status int) {
	form, _, _ := strings.Cut(p.Header().Get("Content-Type"), ";")
	if status >= 400 && (form == "text/plain" || form == MediaType) {
		p.caught = status
		p.Header().Del("Content-Length")
		return
	}
	p.ResponseWriter.WriteHeader(status)
}

func (p *plainCatcher) Write(b []byte) (int, error) {
	if p.caught == 0 {
		return p.ResponseWriter.Write(b)
	}
	p.text.Write(b[:min(len(b), maxPlain-p.text.Len())])
	return len(b), nil
}

// Unwrap lets http.ResponseController through.
func (p *plainCatcher) Unwrap() http.ResponseWriter { return p.ResponseWriter }
