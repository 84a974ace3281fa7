// Package daemon serves a broker: MQTT, HTTPS, health and the machine's own door, from
// their first connection to the last. It is importable, so tests run what signetd
// runs. It opens no store and knows no certificate authority: both are handed over.
package daemon

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/adminapi"
	"github.com/signetd/signet/broker/balancer"
	"github.com/signetd/signet/broker/config"
	"github.com/signetd/signet/broker/control"
	"github.com/signetd/signet/broker/core"
	"github.com/signetd/signet/broker/exchange"
	"github.com/signetd/signet/broker/exchange/wrap"
	"github.com/signetd/signet/broker/hook"
	"github.com/signetd/signet/broker/intake"
	"github.com/signetd/signet/broker/localapi"
	"github.com/signetd/signet/broker/mqttd"
	"github.com/signetd/signet/broker/mqttfront"
	"github.com/signetd/signet/broker/oidc"
	"github.com/signetd/signet/broker/problem"
	"github.com/signetd/signet/broker/tally"
	"github.com/signetd/signet/protocol/exit"
	"golang.org/x/sync/errgroup"
)

// Certificates is what the daemon needs of a certificate authority.
type Certificates interface {
	// GetCertificate gives the server's own certificate, renewed in time.
	GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// Roots is the trust bundle, PEM.
	Roots() []byte
	// Lives tells how long the certificates last that the server's own stands on, and
	// that itself.
	Lives() []Life
}

// A Daemon is a broker that is put together and listens. Run serves.
type Daemon struct {
	Control *control.Plane
	Addrs   Addrs

	cfg     config.Config
	log     *slog.Logger
	told    func() // logs what is summed up
	store   broker.Store
	core    *core.Core
	metrics *prometheus.Registry
	refused *refusals
	certs   Certificates
	mqtt    *mqttd.Server
	mqttLn  net.Listener
	mqttTLS *tls.Config
	sealer  control.Sealer
	https   *http.Server
	httpLn  net.Listener
	health  *http.Server
	healLn  net.Listener
	ctl     *http.Server
	ctlLn   net.Listener
	ready   atomic.Bool
	// handshakes are those of both ports.
	handshakes *intake.Handshakes
}

// Addrs are the addresses that the daemon listens on.
type Addrs struct{ MQTT, HTTPS, Health net.Addr }

// Open puts the broker together of parts, whose Store and Sealer are set, and opens
// its listeners. Close or Run must follow. The store stays its opener's to close, after
// that.
func Open(ctx context.Context, cfg config.Config, parts core.Parts, certs Certificates, log *slog.Logger) (_ *Daemon, err error) {
	log, told := tally.Kept(log)
	d := &Daemon{cfg: cfg, log: log, told: told, store: parts.Store, sealer: parts.Sealer, metrics: prometheus.NewRegistry(), certs: certs}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
		}
	}()
	if d.refused, err = newRefusals(d.metrics, log); err != nil {
		return nil, err
	}
	if err := d.listen(); err != nil {
		return nil, err
	}
	if err := d.assemble(ctx, parts); err != nil {
		return nil, err
	}
	d.warnOfIssuers(ctx)
	return d, d.serveHTTP()
}

// Issuer is the base URL of all issuers: the configured one or, if its port is 0,
// with the port that the system gave.
func (d *Daemon) Issuer() string { return d.cfg.Issuer }

// warnOfIssuers says which pools were made under another issuer: theirs never
// changes, so nobody finds their keys where their tokens say.
func (d *Daemon) warnOfIssuers(ctx context.Context) {
	pools, err := d.store.ListPools(ctx)
	if err != nil {
		return // whoever needs them is told
	}
	for _, p := range pools {
		if p.Issuer != d.cfg.Issuer+"/pools/"+p.Name.String() {
			d.log.WarnContext(ctx, "this pool was made under another issuer, which its tokens go on naming",
				"pool", p.Name.String(), "pool_issuer", p.Issuer, "configured_issuer", d.cfg.Issuer)
		}
	}
}

func (d *Daemon) listen() (err error) {
	to := []*net.Listener{&d.mqttLn, &d.httpLn, &d.healLn}
	for i, l := range d.cfg.Listen.All() {
		*to[i], err = net.Listen("tcp", l.Addr)
		switch {
		case errors.Is(err, syscall.EADDRINUSE):
			return exit.With(exit.Conflict, fmt.Errorf("%s: another program listens on %s: end it, or choose another address with %s, %s or %s", l.Key, l.Addr, l.Flag, l.Variable, l.Key))
		case errors.Is(err, syscall.EACCES):
			return fmt.Errorf("%s: not allowed to listen on %s: choose a port above 1023 with %s, or give signetd CAP_NET_BIND_SERVICE", l.Key, l.Addr, l.Flag)
		case err != nil:
			return fmt.Errorf("%s: %w", l.Key, err)
		}
	}
	if d.ctlLn, err = localapi.Listen(d.cfg.Data, d.log); err != nil {
		return err
	}
	d.Addrs = Addrs{d.mqttLn.Addr(), d.httpLn.Addr(), d.healLn.Addr()}
	if base, ok := strings.CutSuffix(d.cfg.Issuer, ":0"); ok {
		d.cfg.Issuer = fmt.Sprintf("%s:%d", base, d.Addrs.HTTPS.(*net.TCPAddr).Port)
	}
	return nil
}

func (d *Daemon) assemble(ctx context.Context, parts core.Parts) (err error) {
	parts.Issuer, parts.HookNetworks, parts.Log = d.cfg.Issuer, d.cfg.Hooks.Allow, d.log
	parts.Metrics, parts.Refusals = d.metrics, wrap.Limit{PerSecond: d.cfg.Limits.Refusals, Burst: d.cfg.Limits.RefusalBurst}
	hooks := d.cfg.Hooks
	parts.HookLimits = hook.Limits{Calls: hooks.Calls, Strangers: hooks.Strangers, PerSource: hooks.PerSource, PerDevice: hooks.PerDevice}
	parts.Pace = exchange.Pace{PerSecond: d.cfg.Limits.DeviceRate, Burst: d.cfg.Limits.DeviceBurst}
	parts.Room = d.room
	d.core, err = core.New(ctx, parts)
	if err != nil {
		return err
	}
	d.Control = d.core.Control
	front := mqttfront.New(d.core.Exchange, d.core.Access, d.log)
	if d.cfg.MQTT.ACEChallenge {
		front.TakeUnbound()
	}
	ended, err := endings(d.metrics)
	if err != nil {
		return err
	}
	slow, err := throttled(d.metrics)
	if err != nil {
		return err
	}
	drops, err := dropped(d.metrics)
	if err != nil {
		return err
	}
	limits, kept := d.cfg.Limits, d.cfg.MQTT
	bounds, err := bounded(d.metrics)
	if err != nil {
		return err
	}
	if d.handshakes, err = handshakes(limits.Handshakes, d.metrics, d.log); err != nil {
		return err
	}
	d.mqtt, err = mqttd.New(mqttd.Config{
		Gate: front, Methods: front.Methods(), Respond: front.Respond, Busy: d.refused.busy(front.Busy), Log: d.log, Refused: d.refused.of("mqtt"), OnEnd: ended, OnThrottle: slow, OnBound: bounds, Handshakes: d.handshakes,
		Limits: limits.Intake(), LongConnects: limits.LongConnects, Requests: mqttd.RequestLimit{PerSecond: limits.Requests, Burst: limits.RequestBurst},
		DeviceRequests: mqttd.RequestLimit{PerSecond: limits.DeviceRequests, Burst: limits.DeviceRequestBurst},
		Origins:        kept.WebOrigins,
		MaxKeepAlive:   time.Duration(kept.MaxKeepAlive) * time.Second, SessionExpiry: time.Duration(kept.SessionExpiry) * time.Second,
		Outlive: true, RefusePublisher: kept.SlowSubscriber == config.RefusePublisher, OnDrop: drops,
		SessionMessages: kept.SessionMessages, SessionBytes: kept.SessionKiB << 10, QueuedMessages: kept.QueuedMessages, QueuedBytes: kept.QueuedMiB << 20,
		RetainedMessages: kept.RetainedMessages, RetainedBytes: kept.RetainedMiB << 20, Sessions: kept.Sessions, Subscriptions: kept.Subscriptions,
	})
	if err != nil {
		return err
	}
	front.Attach(d.mqtt)
	d.recallMQTT(ctx, front)
	d.core.Tail.Tell(front.Recorded)
	return nil
}

func (d *Daemon) serveHTTP() error {
	forbidden, err := d.forbidden()
	if err != nil {
		return err
	}
	connections := d.connections()
	api, err := adminapi.Handler(adminapi.Config{Control: d.Control, Connections: connections, Log: d.log, Version: d.cfg.Version, Certificates: d.certificates, Warnings: d.warnings, Forbidden: forbidden})
	if err != nil {
		return err
	}
	refused, before := d.refused.of("https"), d.cfg.Balancer
	unserved, err := newUnserved(d.metrics, d.log)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/api/", unserved.watch(api))
	mux.Handle("/mqtt", d.mqtt.Handler())
	public := http.NewServeMux()
	public.Handle("/pools/", oidc.Handler(d.core.Keys))
	public.HandleFunc("GET /ca/roots.pem", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/pem-certificate-chain")
		_, _ = w.Write(d.certs.Roots()) // a client that went away
	})
	mux.Handle("/", noWebSocket(problem.Plain(public), refused))
	in, err := intake.New(d.cfg.Limits.HTTPSIntake())
	if err != nil {
		return err
	}
	if err := d.measure(in); err != nil {
		return err
	}
	unread := &heads{most: maxUnread, requests: d.cfg.Limits.HTTPSIntake().Conns, refused: refused}
	conf := &tls.Config{GetCertificate: d.certs.GetCertificate, MinVersion: tls.VersionTLS12}
	d.mqttLn, d.mqttTLS = behind(before.MQTT(), d.mqttLn, d.refused.of("mqtt")), d.handshakes.InTurn(conf)
	web := conf.Clone()
	web.NextProtos = []string{"h2", "http/1.1"} // the latter for WebSocket too: net/http offers none over HTTP/2 (RFC 8441)
	web.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if c := headOf(hello.Conn); c != nil {
			c.settle() // a handshake's bytes are no header's
		}
		return nil, nil
	}
	d.httpLn = tls.NewListener(unread.listen(in.Listen(behind(before.HTTPS(), d.httpLn, refused), refused)), d.handshakes.InTurn(web))
	errLog := httpLog(d.log)
	d.https = d.bounded(counted(whole(balancer.Forwarded(mux), unserved)), errLog)
	d.https.HTTP2, d.https.ConnState = http2(), connState(refused)
	d.https.ConnContext = func(ctx context.Context, nc net.Conn) context.Context {
		return balancer.ConnContext(withHead(ctx, nc), nc)
	}
	local, err := adminapi.Handler(adminapi.Config{Control: d.Control, Connections: connections, Log: d.log, Version: d.cfg.Version, Certificates: d.certificates, Warnings: d.warnings, Local: true})
	if err != nil {
		return err
	}
	d.ctl = &http.Server{Handler: localapi.Handler(local, d.store, d.log), ReadHeaderTimeout: 10 * time.Second, ErrorLog: errLog}
	d.metrics.MustRegister(d.expiries()...)
	d.health = d.bounded(known(d.cfg.Health.Hosts, d.healthHandler()), errLog)
	return nil
}

// bounded makes a server whose clients may be strangers: none holds a connection that
// it does nothing with.
func (d *Daemon) bounded(h http.Handler, errLog *log.Logger) *http.Server {
	t := d.cfg.HTTPTimeout
	return &http.Server{
		Handler: h, ReadHeaderTimeout: min(t, headerTime), ReadTimeout: t, WriteTimeout: 2 * t, // from the request's first byte to the answer's last
		IdleTimeout: 2 * t,
		// net/http allows 4 KiB more than this.
		MaxHeaderBytes: maxHeader - 4096, ErrorLog: errLog,
	}
}

// Run serves until ctx ends, then closes.
func (d *Daemon) Run(ctx context.Context) error {
	g, inner := errgroup.WithContext(ctx)
	g.Go(func() error { return d.mqtt.Serve(inner, d.mqttLn, d.mqttTLS) })
	g.Go(func() error { return serve(d.https, d.httpLn) })
	g.Go(func() error { return serve(d.health, d.healLn) })
	g.Go(func() error { return serve(d.ctl, d.ctlLn) })
	g.Go(func() error { return d.watchLives(inner) })
	g.Go(func() error { return d.watchRoom(inner) })
	beside := make(chan struct{})
	g.Go(func() error {
		defer close(beside)
		d.core.Run(inner)
		return nil
	})
	g.Go(func() error {
		<-inner.Done()
		d.log.InfoContext(ctx, "stopping", "because", context.Cause(inner).Error(), "connections", d.mqtt.Count())
		d.ready.Store(false)
		<-beside // it writes to the store, which is closed after Run
		return d.Close()
	})
	d.ready.Store(true)
	if b := d.cfg.Balancer; len(b.MQTTEndsTLS)+len(b.HTTPSEndsTLS) > 0 {
		d.log.WarnContext(ctx, "balancers are trusted to end the TLS of devices", "mqtt", b.MQTTEndsTLS, "https", b.HTTPSEndsTLS)
	}
	if d.cfg.MQTT.ACEChallenge {
		d.log.WarnContext(ctx, "a proof over nonces (RFC 9431) counts at CONNECT, by mqtt.ace_challenge: whoever a device takes for the broker can pass it on and connect as the device")
	}
	d.log.InfoContext(ctx, "serving", "mqtt", d.Addrs.MQTT.String(), "https", d.Addrs.HTTPS.String(), "health", d.Addrs.Health.String())
	err := g.Wait()
	d.told()
	d.log.InfoContext(ctx, "stopped")
	if ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, mqttd.ErrClosed) || errors.Is(err, net.ErrClosed)) {
		return nil
	}
	return err
}

func serve(s *http.Server, ln net.Listener) error {
	if err := s.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// shutdownTime is how long connections get to end by themselves.
const shutdownTime = 5 * time.Second

// Close ends everything. It may be called more than once. What
// does not end by itself in time is cut off.
func (d *Daemon) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTime)
	defer cancel()
	var g errgroup.Group
	if d.mqtt != nil {
		g.Go(func() error {
			err := d.mqtt.Close(ctx)
			if errors.Is(err, mqttd.ErrClosed) {
				return nil // before
			}
			if kept := d.keepMQTT(); kept != nil {
				d.log.ErrorContext(ctx, "mqtt sessions and retained messages are lost", "err", kept)
			}
			return err
		})
	}
	for _, s := range []*http.Server{d.https, d.health, d.ctl} {
		if s == nil {
			continue
		}
		g.Go(func() error {
			if s.Shutdown(ctx) == nil {
				return nil
			}
			return s.Close()
		})
	}
	err := g.Wait()
	for _, ln := range []net.Listener{d.mqttLn, d.httpLn, d.healLn, d.ctlLn} {
		if ln != nil {
			_ = ln.Close() // a second close of one that served
		}
	}
	if d.core != nil {
		d.core.Close()
	}
	return err
}
