package daemon

import (
	"context"
	"log/slog"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/signetd/signet/broker/problem"
	"github.com/signetd/signet/broker/tally"
)

// A requestCause is why a request over HTTPS met a bound, in a word for metrics.
type requestCause string

const (
	requestLong    requestCause = "length"   // its body is too long
	requestEncoded requestCause = "encoding" // its body is compressed
	requestBodies  requestCause = "bodies"   // maxBodies
	requestTokens  requestCause = "tokens"   // too many bad tokens from one source
)

var requestCauses = [...]requestCause{requestLong, requestEncoded, requestBodies, requestTokens}

// An unserved counts and logs requests over HTTPS that met a bound.
type unserved func(why requestCause, r *http.Request)

func newUnserved(reg prometheus.Registerer, log *slog.Logger) (unserved, error) {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "signet_https_requests_refused_total", Help: "Requests over HTTPS that met a bound, by cause.",
	}, []string{"cause"})
	for _, why := range requestCauses {
		c.WithLabelValues(string(why))
	}
	told := tally.New(log)
	return func(why requestCause, r *http.Request) {
		c.WithLabelValues(string(why)).Inc()
		level := slog.LevelInfo
		if why == requestBodies || why == requestTokens {
			level = slog.LevelWarn
		}
		told.Note(context.Background(), level, string(why), "https request refused", "cause", string(why), "remote", r.RemoteAddr, "path", r.URL.Path)
	}, reg.Register(c)
}

// watch tells of what next refuses because of a bound, which it says by the status.
func (u unserved) watch(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		out := &problem.StatusWriter{ResponseWriter: w}
		next.ServeHTTP(out, r)
		switch out.Status {
		case http.StatusRequestEntityTooLarge:
			u(requestLong, r)
		case http.StatusTooManyRequests:
			u(requestTokens, r)
		}
	})
}
