package adminapi

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/control"
	"github.com/signetd/signet/broker/problem"
	"github.com/signetd/signet/broker/tally"
)

// A call is what is known of a request besides its content.
type call struct {
	id       string
	actor    broker.Actor    // who asks, once that is known
	operator broker.Operator // what who asks may do; nameless when that is not an operator
	reason   string          // why, as who asks says
	refused  Forbidden       // why who asks may not; empty: it may, as far as is known
}

// reasonHeader says why a request is made, for the audit trail.
const reasonHeader = "X-Signet-Reason"

type callKey struct{}

// callOf gives the request's call, or an empty one.
func callOf(ctx context.Context) *call {
	if c, ok := ctx.Value(callKey{}).(*call); ok {
		return c
	}
	return &call{}
}

// byOf says who asked, and by which request, for what the request writes.
func byOf(ctx context.Context) broker.By {
	c := callOf(ctx)
	return broker.By{Actor: c.actor, Request: c.id, Reason: c.reason}
}

// A guard stands before every route: it names the request, lets in who has an
// operator's token, bounds the body, and logs: what operators do line by line, strangers'
// requests in sums. A route that nobody thought of is refused like all others. What the
// operator may do is authorize's to say, which knows the route.
type guard struct {
	next     http.Handler
	cfg      Config
	throttle *throttle
	told     *tally.Log // of what strangers can bring about
}

func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r, c := identify(w, r)
	out := &problem.StatusWriter{ResponseWriter: w}
	out.Header().Set("X-Content-Type-Options", "nosniff")
	out.Header().Set("Cache-Control", "no-store")
	defer g.finish(out, r, c)
	if !open(r) {
		if p := g.admit(r, c); p != nil {
			if p.Status == http.StatusUnauthorized {
				g.turnAway(out, r, p)
				return
			}
			p.Write(out)
			return
		}
		if p := readReason(r, c); p != nil {
			p.Write(out)
			return
		}
	}
	limit := int64(maxBody)
	if r.URL.Path == applyPath {
		limit = maxApply
	}
	r.Body = http.MaxBytesReader(out, r.Body, limit)
	g.next.ServeHTTP(out, r)
}

// turnAway answers a request without a good token: what is wrong or, to an address
// that sent too many bad ones, when to come again.
func (g *guard) turnAway(w http.ResponseWriter, r *http.Request, p *problem.Problem) {
	if r.Header.Get("Authorization") != "" {
		if wait := g.throttle.bad(r.RemoteAddr, g.cfg.Now()); wait > 0 {
			seconds := int64((wait + time.Second - 1) / time.Second)
			w.Header().Set("Retry-After", strconv.FormatInt(seconds, 10))
			problem.New(http.StatusTooManyRequests, "too many requests with bad tokens from this address").Write(w)
			return
		}
	}
	w.Header().Set("WWW-Authenticate", `Bearer realm="signet"`)
	p.Write(w)
}

// open reports whether the request needs no token.
func open(r *http.Request) bool {
	return (r.Method == http.MethodGet || r.Method == http.MethodHead) && (r.URL.Path == specPath || r.URL.Path == problem.DocsPath)
}

// admit finds out who asks, by the token; a problem means no.
func (g *guard) admit(r *http.Request, c *call) *problem.Problem {
	if g.cfg.Local {
		c.actor, c.operator = broker.ActorLocal, broker.Operator{Scope: broker.OperatorAdmin}
		return nil
	}
	values := r.Header.Values("Authorization")
	if len(values) != 1 {
		return problem.New(http.StatusUnauthorized, "send an operator's token: Authorization: Bearer sgnt_...")
	}
	scheme, secret, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return problem.New(http.StatusUnauthorized, "the Authorization header is not Bearer")
	}
	operator, err := g.cfg.Control.Authenticate(r.Context(), secret)
	if errors.Is(err, control.ErrUnauthorized) {
		return problem.New(http.StatusUnauthorized, "this token is not valid, or no longer")
	}
	if err != nil {
		g.told.Note(r.Context(), slog.LevelError, "look-up", "operator look-up failed", "request", c.id, "err", err)
		return problem.Internal()
	}
	c.actor, c.operator = broker.OperatorActor(operator.Name), operator
	return nil
}

// readReason takes the reason that the request gives, if any.
func readReason(r *http.Request, c *call) *problem.Problem {
	c.reason = strings.Join(r.Header.Values(reasonHeader), " ")
	by := broker.By{Actor: broker.ActorBroker, Reason: c.reason}
	if err := by.Validate(); err != nil {
		c.reason = ""
		return problem.New(http.StatusBadRequest, reasonHeader+": "+err.Error())
	}
	return nil
}

// finish logs the request, and answers one whose handler panicked.
func (g *guard) finish(w *problem.StatusWriter, r *http.Request, c *call) {
	if v := recover(); v != nil {
		g.told.Note(r.Context(), slog.LevelError, "panic", "operators' API: handler panicked", "request", c.id, "path", r.URL.Path, "panic", v)
		if w.Status == 0 {
			problem.Internal().Write(w)
		}
	}
	attrs := []any{"request", c.id, "actor", string(c.actor), "method", r.Method, "path", r.URL.Path, "status", w.Status, "from", r.RemoteAddr}
	if c.actor == "" { // a stranger
		g.told.Note(r.Context(), slog.LevelInfo, strconv.Itoa(w.Status), "operators' API", attrs...)
		return
	}
	if c.refused != "" && g.cfg.Forbidden != nil {
		g.cfg.Forbidden(c.operator.Name, c.refused)
	}
	g.cfg.Log.InfoContext(r.Context(), "operators' API", attrs...)
}
