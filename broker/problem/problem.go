// Package problem is how every HTTP door of the broker says no: one problem document
// (RFC 9457), its kinds, what the outside learns of an error, and the id under which
// the log knows the request. It repeats no value of a request, which may hold a
// secret, and writes no log.
package problem

import (
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"strings"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/ident"
)

// MediaType is that of a problem document in JSON (RFC 9457, section 6.1).
const MediaType = "application/problem+json"

// DocsPath is the page that explains the kinds of problems; each has an anchor there.
const DocsPath = "/api/docs"

// Invalid is the detail of a problem whose errors say it all.
const Invalid = "validation failed"

// internal says that the cause is not for the outside.
const internal = "the broker failed; its log has the cause"

// A Problem is an error answer (RFC 9457). It never repeats what was sent, which
// may hold a secret.
type Problem struct {
	Type      string  `json:"type" doc:"A page that explains this kind of problem"`
	Title     string  `json:"title"`
	Status    int     `json:"status"`
	Detail    string  `json:"detail,omitempty" doc:"What is wrong in this case"`
	Errors    []Place `json:"errors,omitempty" nullable:"false" doc:"What is wrong where in the request"`
	Forcible  bool    `json:"forcible,omitempty" doc:"The same request with force does it all the same"`
	RequestID string  `json:"requestId,omitempty" doc:"Also in the header X-Request-Id and in the broker's log"`
}

// A Place says what is wrong in one place of the request.
type Place struct {
	Location string `json:"location,omitempty" example:"body.name"`
	Message  string `json:"message"`
}

// A Kind is one sort of problem: its status, the anchor that explains it on the docs
// page, and the sentence there.
type Kind struct {
	Status      int
	Name, About string
}

// Kinds are all sorts of problems that the broker answers with.
func Kinds() []Kind {
	return []Kind{
		{http.StatusBadRequest, "bad-request", "The request is not what the API reads: not JSON, or a member twice."},
		{http.StatusUnauthorized, "unauthorized", "No valid operator's token. Send one as Authorization: Bearer sgnt_...; it may have expired."},
		{http.StatusForbidden, "forbidden", "Who asks is known, and may not do this."},
		{http.StatusNotFound, "not-found", "There is nothing of that name."},
		{http.StatusMethodNotAllowed, "method-not-allowed", "The path exists, not with this method. The header Allow names those that do."},
		{http.StatusRequestTimeout, "timeout", "The request's body came too slowly."},
		{http.StatusConflict, "conflict", "What is stored forbids the change; the detail says what to do first."},
		{http.StatusPreconditionFailed, "stale", "What is stored is not what If-Match names: somebody changed it meanwhile. Read it again, and change that."},
		{http.StatusRequestEntityTooLarge, "too-large", "The request's body is above 64 KiB or, to apply settings, above 1 MiB."},
		{http.StatusUnsupportedMediaType, "media-type", "The body is not application/json."},
		{http.StatusUnprocessableEntity, "invalid", "A value breaks a rule; detail and errors say which."},
		{http.StatusTooManyRequests, "too-many", "Too many requests with bad tokens came from this address. The header Retry-After says when to come again."},
		{http.StatusInternalServerError, "internal", "The broker failed. Its log has the cause under the request's id."},
		{http.StatusServiceUnavailable, "unavailable", "The broker cannot answer this now. Send the request again in a while."},
		{http.StatusInsufficientStorage, "full", "The broker has no room to write. Nothing was changed; make room on its disk and send the request again."},
	}
}

// New makes a problem of a status.
func New(status int, detail string) *Problem {
	p := &Problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: detail}
	for _, k := range Kinds() {
		if k.Status == status {
			p.Type = DocsPath + "#" + k.Name
		}
	}
	return p
}

// Internal is the problem of a failure whose cause the log has.
func Internal() *Problem { return New(http.StatusInternalServerError, internal) }

// Of decides what the outside learns of an error of the domain.
func Of(err error) *Problem {
	var p *Problem
	switch {
	case errors.As(err, &p):
		return p
	case errors.Is(err, broker.ErrStale):
		return New(http.StatusPreconditionFailed, err.Error())
	case errors.Is(err, broker.ErrNotFound):
		return New(http.StatusNotFound, err.Error())
	case errors.Is(err, broker.ErrInUse):
		out := New(http.StatusConflict, err.Error())
		out.Forcible = true
		return out
	case errors.Is(err, broker.ErrExists), errors.Is(err, broker.ErrConflict), errors.Is(err, broker.ErrKeyBound):
		return New(http.StatusConflict, err.Error())
	case errors.Is(err, broker.ErrInvalid), errors.Is(err, ident.ErrInvalid):
		return New(http.StatusUnprocessableEntity, strings.TrimPrefix(err.Error(), broker.ErrInvalid.Error()+": "))
	case errors.Is(err, broker.ErrFull):
		return New(http.StatusInsufficientStorage, "the broker's disk, or what it may use of it, is full; nothing was changed: make room, then send it again")
	}
	return Internal()
}

// Error gives the detail and the places; a place in the body by its own name.
func (p *Problem) Error() string {
	var parts []string
	if p.Detail != "" && (p.Detail != Invalid || len(p.Errors) == 0) {
		parts = append(parts, p.Detail)
	}
	for _, d := range p.Errors {
		parts = append(parts, strings.TrimPrefix(strings.TrimPrefix(d.Location, "body.")+": ", ": ")+d.Message)
	}
	if parts == nil {
		return p.Title
	}
	return strings.Join(parts, "; ")
}

// GetStatus gives the HTTP status; huma asks for it.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType gives the problem's own media type; huma asks for it.
func (p *Problem) ContentType(string) string { return MediaType }

// Write answers with p, for nobody to keep, under the id that Name gave the request.
// A client that went away hears nothing of it.
func (p *Problem) Write(w http.ResponseWriter) {
	p.RequestID = w.Header().Get(RequestID)
	w.Header().Set("Content-Type", MediaType)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p)
}

// Parse reads the problem that an answer of this status and Content-Type carries, and
// gives nil if it carries none.
func Parse(status int, contentType string, body []byte) *Problem {
	var p Problem
	media, _, err := mime.ParseMediaType(contentType)
	if err != nil || media != MediaType || json.Unmarshal(body, &p) != nil || p.Status != status {
		return nil
	}
	return &p
}
