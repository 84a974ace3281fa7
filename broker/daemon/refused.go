package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/adminapi"
	"github.com/signetd/signet/broker/balancer"
	"github.com/signetd/signet/broker/intake"
	"github.com/signetd/signet/broker/mqttd"
	"github.com/signetd/signet/broker/tally"
)

// A refusals counts and logs the connections that were not served.
type refusals struct {
	counter  *prometheus.CounterVec
	requests *prometheus.CounterVec
	log      *tally.Log
}

func newRefusals(reg prometheus.Registerer, log *slog.Logger) (*refusals, error) {
	r := &refusals{
		counter: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "signet_connections_refused_total", Help: "Connections that were not served, by listener and cause.",
		}, []string{"listener", "cause"}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "signet_mqtt_requests_unread_total", Help: "Devices' messages answered busy without being looked at, by cause.",
		}, []string{"cause"}),
		log: tally.New(log),
	}
	for _, cause := range mqttd.Overloads {
		r.requests.WithLabelValues(string(cause))
	}
	for _, cause := range intake.Causes {
		for _, listener := range []string{"mqtt", "https"} {
			r.counter.WithLabelValues(listener, string(cause)) // so that a first one is a rise
		}
	}
	return r, errors.Join(reg.Register(r.counter), reg.Register(r.requests))
}

// busy counts the requests that are not looked at.
func (r *refusals) busy(reply func(mqttd.Request, time.Duration) []byte) func(mqttd.Request, mqttd.Overload, time.Duration) []byte {
	return func(q mqttd.Request, why mqttd.Overload, retry time.Duration) []byte {
		r.requests.WithLabelValues(string(why)).Inc()
		return reply(q, retry)
	}
}

// of gives the listener's part of it.
func (r *refusals) of(listener string) intake.Refused {
	return func(cause intake.Cause, remote string, err error) {
		listener := listener
		if cause == intake.CauseWebSocket || cause == intake.CauseOrigin {
			listener = "https" // where the MQTT server's clients come by WebSocket
		}
		r.counter.WithLabelValues(listener, string(cause)).Inc()
		r.log.Note(context.Background(), level(cause), listener+" "+string(cause), "connection refused",
			"listener", listener, "cause", string(cause), "remote", remote, "err", atMost(err, 512))
	}
}

// atMost is what err says, of at most n characters, for it may have what a stranger chose in it.
func atMost(err error, n int) string {
	said := []rune(err.Error())
	if len(said) <= n {
		return string(said)
	}
	return string(said[:n]) + " ..."
}

// level is that of what an operator has to do something about, or not.
func level(c intake.Cause) slog.Level {
	switch c {
	case intake.CauseFull, intake.CauseSource, intake.CauseRate, intake.CausePool, intake.CauseLong, intake.CauseHandshakes, intake.CauseHeader, intake.CauseProxy, intake.CauseOrigin:
		return slog.LevelWarn
	}
	return slog.LevelInfo
}

// behind listens behind a listener's balancers.
func behind(n balancer.Networks, ln net.Listener, refused intake.Refused) net.Listener {
	return n.Listen(ln, func(from net.Addr, err error) {
		cause := intake.CauseProxy
		if errors.Is(err, balancer.ErrReading) {
			cause = intake.CauseFull
		}
		refused(cause, from.String(), err)
	})
}

// noWebSocket tells of a WebSocket that is asked for where there is none.
func noWebSocket(next http.Handler, refused intake.Refused) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
			refused(intake.CauseWebSocket, r.RemoteAddr, fmt.Errorf("there is none at %.100q: MQTT is spoken at /mqtt", r.URL.Path))
		}
		next.ServeHTTP(w, r)
	})
}

// forbidden counts operators' requests that they may not make, and has them summed up in the
// journal as the operator's, who is known by his token.
func (d *Daemon) forbidden() (func(string, adminapi.Forbidden), error) {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "signet_operator_refused_total", Help: "Requests of operators that were answered 403, by what the operator lacks.",
	}, []string{"cause"})
	for _, why := range []adminapi.Forbidden{adminapi.ForbiddenScope, adminapi.ForbiddenPool} {
		c.WithLabelValues(string(why))
	}
	return func(operator string, why adminapi.Forbidden) {
		c.WithLabelValues(string(why)).Inc()
		d.core.Events.Add(broker.OperatorActor(operator), broker.Event{What: "forbidden-" + broker.What(why), Count: 1})
	}, d.metrics.Register(c)
}
