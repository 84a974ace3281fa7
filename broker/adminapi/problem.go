package adminapi

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/ident"
)

// A Problem is an error answer (RFC 9457). It never repeats what was sent, which
// may hold a secret.
type Problem struct {
	Type      string          `json:"type" doc:"A page that explains this kind of problem"`
	Title     string          `json:"title"`
	Status    int             `json:"status"`
	Detail    string          `json:"detail,omitempty" doc:"What is wrong in this case"`
	Errors    []ProblemDetail `json:"errors,omitempty" nullable:"false" doc:"What is wrong where in the request"`
	RequestID string          `json:"requestId,omitempty" doc:"Also in the header X-Request-Id and in the broker's log"`
}

// A ProblemDetail says what is wrong in one place of the request.
type ProblemDetail struct {
	Location string `json:"location,omitempty" example:"body.name"`
	Message  string `json:"message"`
}

// invalidRequest is the detail of a problem whose errors say it all.
const invalidRequest = "validation failed"

// Error gives the detail and the places; a place in the body by its own name.
func (p *Problem) Error() string {
	var parts []string
	if p.Detail != "" && (p.Detail != invalidRequest || len(p.Errors) == 0) {
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
func (p *Problem) ContentType(string) string { return "application/problem+json" }

// A kind is one sort of problem: its status, the anchor that explains it on the
// docs page, and the sentence there.
type kind struct {
	status      int
	name, about string
}

// kinds are all sorts of problems that the API answers with.
func kinds() []kind {
	return []kind{
		{http.StatusBadRequest, "bad-request", "The request is not what the API reads: not JSON, or a member twice."},
		{http.StatusUnauthorized, "unauthorized", "No valid operator's token. Send one as Authorization: Bearer sgnt_...; it may have expired."},
		{http.StatusNotFound, "not-found", "There is nothing of that name."},
		{http.StatusMethodNotAllowed, "method-not-allowed", "The path exists, not with this method. The header Allow names those that do."},
		{http.StatusRequestTimeout, "timeout", "The request's body came too slowly."},
		{http.StatusConflict, "conflict", "What is stored forbids the change; the detail says what to do first."},
		{http.StatusRequestEntityTooLarge, "too-large", "The request's body is above 64 KiB."},
		{http.StatusUnsupportedMediaType, "media-type", "The body is not application/json."},
		{http.StatusUnprocessableEntity, "invalid", "A value breaks a rule; detail and errors say which."},
		{http.StatusTooManyRequests, "too-many", "Too many requests with bad tokens came from this address. The header Retry-After says when to come again."},
		{http.StatusInternalServerError, "internal", "The broker failed. Its log has the cause under the request's id."},
		{http.StatusInsufficientStorage, "full", "The broker has no room to write. Nothing was changed; make room on its disk and send the request again."},
	}
}

// newProblem makes a problem of a status.
func newProblem(status int, detail string) *Problem {
	p := &Problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: detail}
	for _, k := range kinds() {
		if k.status == status {
			p.Type = docsPath + "#" + k.name
		}
	}
	return p
}

// problemOf decides what the outside learns of an error of the directory.
func problemOf(err error) *Problem {
	var p *Problem
	switch {
	case errors.As(err, &p):
		return p
	case errors.Is(err, broker.ErrNotFound):
		return newProblem(http.StatusNotFound, err.Error())
	case errors.Is(err, broker.ErrExists), errors.Is(err, broker.ErrConflict), errors.Is(err, broker.ErrKeyBound):
		return newProblem(http.StatusConflict, err.Error())
	case errors.Is(err, broker.ErrInvalid), errors.Is(err, ident.ErrInvalid), errors.Is(err, ErrDuration):
		return newProblem(http.StatusUnprocessableEntity, strings.TrimPrefix(err.Error(), broker.ErrInvalid.Error()+": "))
	case errors.Is(err, broker.ErrFull):
		return newProblem(http.StatusInsufficientStorage, "the broker's disk, or what it may use of it, is full; nothing was changed: make room, then send it again")
	}
	return newProblem(http.StatusInternalServerError, "the broker failed; its log has the cause")
}

// reportProblems is a huma transformer: it turns huma's errors into problems that
// hold no value of the request, and writes the request's id into every problem.
func reportProblems(ctx huma.Context, _ string, v any) (any, error) {
	var p *Problem
	switch e := v.(type) {
	case *huma.ErrorModel:
		p = newProblem(e.Status, e.Detail)
		for _, d := range e.Errors {
			p.Errors = append(p.Errors, ProblemDetail{Location: d.Location, Message: d.Message})
		}
	case *Problem:
		p = e
	default:
		return v, nil
	}
	p.RequestID = callOf(ctx.Context()).id
	return p, nil
}

// writeProblem answers outside of huma.
func writeProblem(ctx context.Context, w http.ResponseWriter, p *Problem) {
	p.RequestID = callOf(ctx).id
	w.Header().Set("Content-Type", p.ContentType(""))
	w.WriteHeader(p.Status)
	if err := json.NewEncoder(w).Encode(p); err != nil {
		slog.DebugContext(ctx, "problem not sent", "err", err)
	}
}
