// Package mqttd is Signet's own MQTT server: MQTT 3.1.1 and 5, for devices, and for strangers
// who are to become some. It decides alone who may connect, publish, subscribe and be delivered
// what, and ends connections when their time or their device does.
//
// It knows nothing of tokens, exchanges or stores: a Gate admits, a Responder answers. Sessions
// belong to a device and a client id, and live in memory. It never logs a packet, and gives no
// stranger memory beyond what his packet at hand takes.
//
// Locks are taken in this order: a connection's turn, the registry's, a session's, its
// connection's; none of them while a stream's is held.
package mqttd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/signetd/signet/broker/budget"
	"github.com/signetd/signet/broker/intake"
	"github.com/signetd/signet/broker/mqttd/deadline"
	"github.com/signetd/signet/broker/mqttd/message"
	"github.com/signetd/signet/broker/mqttd/retained"
	"github.com/signetd/signet/broker/mqttd/stream"
	"github.com/signetd/signet/broker/mqttd/subscription"
	"github.com/signetd/signet/broker/tally"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/topic"
)

// Limits that are not worth a setting; the figures are chosen, not derived.
const (
	maxAnonymousPacket = maxRequest + 512 // bytes after the fixed header, before authentication, and of any SUBSCRIBE: a request and its topic
	maxOverhead        = 512              // bytes of a message that waits, beyond its packet's
	maxConnect         = 8 << 10          // bytes of a CONNECT after its fixed header: a password, names and a will
	maxConnectAlone    = 1 << 10          // of one without a password, which is anybody's
	maxRequest         = 16 << 10         // bytes of a request to the Responder
	maxJobsPerConn     = 4                // requests of one connection queued or in work
	maxSubscriptions   = 128              // filters of one connection
	maxFilters         = 32               // of one SUBSCRIBE or UNSUBSCRIBE
	maxInflight        = 64               // unacknowledged messages to one connection, and from it
	maxAliases         = 16               // topic aliases of one connection, each way
	maxBacklog         = 96 << 10         // bytes that may wait in a connection's stream, beside two packets
	handshakeStorm     = 1000             // TLS handshakes after which, once they end, memory is given back
	backlogMark        = 32 << 10         // of them, beyond which messages wait in the session
	maxAway            = 8                // sessions of one device that have no connection

	maxRetainedOfDevice      = 100 // messages that one device may have retained
	maxRetainedBytesOfDevice = 1 << 20

	maxLongConnectsInAll = (8 << 20) / maxConnect // CONNECTs beyond maxConnectAlone being read at once
	hangUpGrace          = 300 * time.Millisecond
)

// Errors of this package. Those that a Gate may wrap say so.
var (
	ErrClosed       = errors.New("mqttd: server closed")
	ErrNotConnected = errors.New("mqttd: not connected")
	ErrOtherDevice  = errors.New("mqttd: the connection belongs to another device")
	ErrEnded        = errors.New("mqttd: the device was ended while it was being admitted")
	ErrBusy         = errors.New("mqttd: busy") // from a Gate: the client hears "server unavailable"
)

// A Connect is what a client says of itself when it connects.
type Connect struct {
	ClientID string // may be empty: an authenticated client is then given one
	UserName string
	Password []byte // a secret
	Will     string // topic of its last will, empty without one
	Remote   net.Addr
	Channel  []byte // as in Request
	Vouched  bool   // as in Request
	// TLS is the client's TLS connection; nil unless that ends in this process. Who asks clients
	// for certificates (Serve's tls.Config) finds what was verified of them here.
	TLS *tls.ConnectionState
	// Device is whose the connection is already; only with a Method, when the client authenticates
	// again.
	Device ident.Device
}

// A Standing is what a connection may do, and for how long.
type Standing struct {
	Device      ident.Device      // zero while anonymous
	Permissions topic.Permissions // of no effect while anonymous
	Expires     time.Time         // the connection ends then; zero: anonymous ones after Config.AnonymousFor, others never
	// What this rests on. The Server keeps it for Review, and makes nothing of it but as Judge and Restore say.
	Subject   ident.UUID
	Session   ident.UUID
	DeviceRev uint64
	Began     time.Time
	Client    string
	Key       string
	Password  bool
}

// A Judge says what a device's session comes to after something about the device
// changed; false ends it. The device stays the same. What it gives with false is what may wait in a session
// without a connection: nothing, if that names no device. If it names no Session, the login by which that was begun is
// worth nothing any more, and a will that waits, or will, is forgotten, because whoever else has the login may have left
// it. It is called with locks held: it must be quick, and must not call the Server.
type Judge func(Standing) (Standing, bool)

// A Gate decides on connections. Admit must not keep c.Password. Any error
// refuses the connection; the client learns no more than "not authorized", or
// "unavailable" when the error wraps ErrBusy. An anonymous client gets a zero
// Session or an error. The user name is the Gate's to check; the client id is checked by the
// Server, against the Session's device.
type Gate interface {
	Admit(ctx context.Context, c Connect) (Standing, error)
}

// A Request is what a client published on its own request topic.
type Request struct {
	ClientID string
	Remote   net.Addr
	Device   ident.Device // whose the connection was when it came; zero: no device's
	Channel  []byte       // names its TLS connection (package channel); nil unless that ends in this process
	Vouched  bool         // its TLS ends in a balancer that the operator vouches for (package balancer)
	Payload  []byte
}

// A Responder answers requests, by many goroutines at once; it must return when ctx
// ends. A nil reply is not sent. It may call Upgrade: the reply is on its way after that.
type Responder func(ctx context.Context, r Request) (reply []byte)

// A Reason is the MQTT 5 reason code with which the server ends a connection
// (section 3.14.2.1). An MQTT 3.1.1 client sees a closed connection.
type Reason byte

// Reasons.
const (
	ReasonMalformed      Reason = 0x81
	ReasonProtocol       Reason = 0x82
	ReasonDenied         Reason = 0x87 // it failed to authenticate again; MQTT 3.1.1 has no other word for a message that was refused
	ReasonBusy           Reason = 0x89 // it made room for others
	ReasonShutdown       Reason = 0x8b
	ReasonMethod         Reason = 0x8c // an AUTH of another method than its CONNECT's
	ReasonKeepAlive      Reason = 0x8d // nothing came in time, or only a part
	ReasonTakenOver      Reason = 0x8e
	ReasonTopic          Reason = 0x90
	ReasonReceiveMaximum Reason = 0x93
	ReasonAlias          Reason = 0x94
	ReasonTooLarge       Reason = 0x95
	ReasonQuota          Reason = 0x97 // more than its share: of filters, or of its device's or pool's connections
	ReasonAdministrative Reason = 0x98 // the device was disabled, or its sessions revoked
	ReasonPayload        Reason = 0x99
	ReasonRetain         Reason = 0x9a // CONNACK said that nothing is retained
	ReasonExpired        Reason = 0xa0 // "maximum connect time": the token's, or an anonymous connection's
)

// Config is what a Server is made of. Zero durations and counts mean the default.
type Config struct {
	Gate    Gate      // required
	Respond Responder // required
	// Busy gives the reply to a request that is not looked at, and is to be repeated after a
	// while; nil: none is sent. It must be cheap.
	Busy func(r Request, why Overload, retry time.Duration) (reply []byte)
	Log  *slog.Logger
	// Methods are those of enhanced authentication, by name. A client that names another one is
	// refused.
	Methods map[string]Method

	// OnEnd is told of each connection that the server ends, and why; nil: nobody is.
	OnEnd func(Reason)
	// OnDrop is told of messages that were not delivered, and why; nil: nobody is.
	OnDrop func(why Drop, messages int)
	// OnBound is told of each meeting with a bound that nothing else here tells of; nil: nobody is.
	OnBound func(Bound)
	// OnThrottle is told of each packet of a stranger that is held up; nil: nobody is.
	OnThrottle func()
	// Handshakes is told of sources that devices have come from; nil: nobody is.
	Handshakes *intake.Handshakes

	Requests       RequestLimit   // of strangers at one source; 500 a second, 5,000 at once
	DeviceRequests RequestLimit   // of one device, on all of its connections; 100 a second, 1,000 at once
	Limits         intake.Limits  // on connections
	Refused        intake.Refused // told of connections that are not served; nil: nobody is
	Origins        []string       // of pages that may open WebSockets, as browsers say them (RFC 6454, section 6.2); none: any
	LongConnects   int            // longer than 1 KiB, being read at once of one source; 16, negative: no bound
	MaxPacket      int            // bytes of an authenticated client's packet; 64 KiB, at least 16.5 KiB
	ConnectTimeout time.Duration  // from accept to an admitted CONNECT, TLS handshake included; 10 s
	AuthTimeout    time.Duration  // of an enhanced authentication, at CONNECT in ConnectTimeout's place; 30 s
	PacketTimeout  time.Duration  // from a packet's first byte to its last; 30 s
	WriteTimeout   time.Duration  // for a client that doesn't read; 10 s
	AnonymousFor   time.Duration  // life of a connection that doesn't authenticate; 5 min
	MaxKeepAlive   time.Duration  // that MQTT 5 clients must promise at least to be heard of within; 0: as they like
	SessionExpiry  time.Duration  // for which a session may outlive its connection; 24 h, negative: none does

	Outlive bool // sessions outlive Close, for Save

	// What may wait for clients. At a bound of its own a client that does not keep up is ended
	// and its session dropped, or with RefusePublisher the message refused to its publisher.
	RefusePublisher  bool
	SessionMessages  int // of one session; 1,000, and four times that of all of one device
	SessionBytes     int // 1 MiB, and likewise
	QueuedMessages   int // of all sessions; 1,000,000, of which one pool may have nine tenths
	QueuedBytes      int // 256 MiB
	RetainedMessages int // of all devices; 100,000
	RetainedBytes    int // 64 MiB
	Sessions         int // beyond so many none outlives its connection; 100,000
	Subscriptions    int // of all sessions; 1,000,000

	Workers int // Responder calls at once; 256
	Queue   int // devices' requests waiting for a worker, and as many of strangers; 4,096
}

func (c Config) withDefaults() (Config, error) {
	if c.Gate == nil || c.Respond == nil {
		return c, errors.New("mqttd: a Gate and a Responder are needed")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	if c.Busy == nil {
		c.Busy = func(Request, Overload, time.Duration) []byte { return nil }
	}
	if c.OnEnd == nil {
		c.OnEnd = func(Reason) {}
	}
	if c.OnDrop == nil {
		c.OnDrop = func(Drop, int) {}
	}
	if c.OnBound == nil {
		c.OnBound = func(Bound) {}
	}
	if c.LongConnects == 0 {
		c.LongConnects = 16
	}
	if c.OnThrottle == nil {
		c.OnThrottle = func() {}
	}
	if c.Refused == nil {
		c.Refused = func(intake.Cause, string, error) {}
	}
	for _, d := range []struct {
		v    *int
		def  int
		name string
	}{
		{&c.MaxPacket, 64 << 10, "MaxPacket"}, {&c.Workers, 256, "Workers"}, {&c.Queue, 4096, "Queue"},
		{&c.SessionMessages, 1000, "SessionMessages"}, {&c.SessionBytes, 1 << 20, "SessionBytes"},
		{&c.QueuedMessages, 1_000_000, "QueuedMessages"}, {&c.QueuedBytes, 256 << 20, "QueuedBytes"},
		{&c.RetainedMessages, 100_000, "RetainedMessages"}, {&c.RetainedBytes, 64 << 20, "RetainedBytes"},
		{&c.Sessions, 100_000, "Sessions"}, {&c.Subscriptions, 1_000_000, "Subscriptions"},
	} {
		if *d.v == 0 {
			*d.v = d.def
		}
		if *d.v < 0 {
			return c, fmt.Errorf("mqttd: %s is negative", d.name)
		}
	}
	for _, d := range []struct {
		v   *time.Duration
		def time.Duration
	}{{&c.ConnectTimeout, 10 * time.Second}, {&c.AuthTimeout, 30 * time.Second}, {&c.PacketTimeout, 30 * time.Second}, {&c.WriteTimeout, 10 * time.Second}, {&c.AnonymousFor, 5 * time.Minute}} {
		if *d.v <= 0 {
			*d.v = d.def
		}
	}
	switch {
	case c.SessionExpiry == 0:
		c.SessionExpiry = 24 * time.Hour
	case c.SessionExpiry < 0:
		c.SessionExpiry = 0
	case c.SessionExpiry > never*time.Second:
		return c, fmt.Errorf("mqttd: SessionExpiry is %v, at most %v can be said", c.SessionExpiry, never*time.Second)
	}
	if c.MaxKeepAlive < 0 || c.MaxKeepAlive > 0xffff*time.Second {
		return c, fmt.Errorf("mqttd: MaxKeepAlive is %v, want at most %v", c.MaxKeepAlive, 0xffff*time.Second)
	}
	if c.SessionBytes < c.MaxPacket+maxOverhead {
		return c, fmt.Errorf("mqttd: SessionBytes is %d, want at least %d: else the largest message has no room, and ends whoever it is for", c.SessionBytes, c.MaxPacket+maxOverhead)
	}
	if c.MaxPacket < maxAnonymousPacket || c.MaxPacket > 1<<20 {
		return c, fmt.Errorf("mqttd: MaxPacket is %d, want %d to %d bytes", c.MaxPacket, maxAnonymousPacket, 1<<20)
	}
	return c, nil
}

// A Server is an MQTT server. Its methods may be called by any goroutine.
type Server struct {
	cfg       Config
	loop      *stream.Loop
	clients   registry
	requests  requests
	deadlines *deadline.Queue[*conn]  // of what connections may do
	absences  *deadline.Queue[*state] // of sessions without a connection, and their wills
	room      *message.Room           // of all sessions
	retained  *retained.Store
	reading   readings
	serial    serial
	traces    traces
	refusing  sync.Mutex // before a session's: with Config.RefusePublisher one message at a time is looked for room for, and delivered
	matches   sync.Pool  // of *matches
	headers   sync.Pool  // of *[]byte

	subscriptions *subscription.Index[*state]

	ctx       context.Context // ends when Close gives up waiting
	cancel    context.CancelFunc
	intake    *intake.Intake
	perSource *budget.Budget[netip.Prefix] // of strangers' requests; nil: no limit
	perDevice *budget.Budget[ident.Device] // of a device's requests; nil: no limit
	told      *tally.Log                   // of all that clients can bring about
	away      farewells
	acks      acks
	slow      *rate.Limiter  // of strangers' packets beyond those that are free
	wg        sync.WaitGroup // connections, workers, the deadline keeper, hang-ups, farewells

	mu        sync.Mutex // guards the rest: nothing is added once closed
	closed    bool
	open      map[*conn]struct{} // being served, on their way out included
	listeners map[net.Listener]struct{}
}

// New makes a Server and starts its housekeeping; Close ends it. Errors are
// those of the Config.
func New(cfg Config) (*Server, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	in, err := intake.New(cfg.Limits)
	if err != nil {
		return nil, fmt.Errorf("mqttd: limits: %w", err)
	}
	perSource, err := budgetOf[netip.Prefix](cfg.Requests, RequestLimit{PerSecond: 500, Burst: 5000})
	if err != nil {
		return nil, err
	}
	perDevice, err := budgetOf[ident.Device](cfg.DeviceRequests, RequestLimit{PerSecond: 100, Burst: 1000})
	if err != nil {
		return nil, err
	}
	s := &Server{
		cfg:       cfg,
		intake:    in,
		perSource: perSource,
		perDevice: perDevice,
		told:      tally.New(cfg.Log),
		clients:   newRegistry(),
		deadlines: deadline.New((*conn).expire, func(c *conn) *deadline.Place { return &c.place }),
		absences:  deadline.New((*state).absent, func(st *state) *deadline.Place { return &st.place }),
		room:      message.NewRoom(cfg.QueuedMessages, cfg.QueuedBytes, nil),
		loop:      stream.NewLoop(stream.Config{MaxBacklog: backlogMark + 2*cfg.MaxPacket + maxBacklog, Mark: backlogMark, WriteTimeout: cfg.WriteTimeout, TrimAfter: handshakeStorm}),
		matches:   sync.Pool{New: func() any { return new(matches) }},
		headers:   sync.Pool{New: func() any { return new([]byte) }},

		retained: retained.New(retained.Limits{
			DeviceMessages: maxRetainedOfDevice, DeviceBytes: maxRetainedBytesOfDevice,
			PoolMessages: cfg.RetainedMessages - cfg.RetainedMessages/10, PoolBytes: cfg.RetainedBytes - cfg.RetainedBytes/10,
		}, message.NewRoom(cfg.RetainedMessages, cfg.RetainedBytes, nil)),
		subscriptions: subscription.New[*state](),

		slow:      rate.NewLimiter(throttledPerSecond, 1),
		open:      map[*conn]struct{}{},
		listeners: map[net.Listener]struct{}{},
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.wg.Go(func() { s.deadlines.Run(s.ctx) })
	s.wg.Go(func() { s.absences.Run(s.ctx) })
	s.wg.Go(s.sweep)
	return s, nil
}

// Count is the number of admitted connections.
func (s *Server) Count() int { return s.clients.count() }

// Figures are what a Server holds.
type Figures struct {
	Connections   int // that were admitted
	Sessions      int // with a connection or without
	Queued        int // messages that wait for clients or their acknowledgements, of all sessions
	QueuedBytes   int
	Retained      int // messages
	RetainedBytes int
	Subscriptions int
}

// Figures tells what the server holds now.
func (s *Server) Figures() Figures {
	f := Figures{Connections: s.clients.count(), Sessions: s.clients.sessions(), Subscriptions: s.subscriptions.Len()}
	f.Queued, f.QueuedBytes = s.room.Taken()
	f.Retained, f.RetainedBytes = s.retained.Taken()
	return f
}

// Intake counts the server's connections.
func (s *Server) Intake() *intake.Intake { return s.intake }

// Push sends payload to one client on its event topic, at most once (QoS 0). It
// fails with ErrNotConnected when the client isn't there or doesn't listen.
func (s *Server) Push(clientID string, payload []byte) error {
	c := s.clients.get(clientID)
	if c == nil {
		return fmt.Errorf("pushing to %q: %w", clientID, ErrNotConnected)
	}
	return c.event(payload)
}

// PushDevice sends payload to each of the device's connections on its event
// topic and gives the number of those that listen.
func (s *Server) PushDevice(d ident.Device, payload []byte) int {
	n := 0
	for _, c := range s.clients.ofDevice(d) {
		if c.event(payload) == nil {
			n++
		}
	}
	return n
}

// Upgrade makes the connection of clientID the device's own, in place, or
// renews it. Call it from a Responder: nobody else can have taken the client id, and
// an End or a Review of the device since the request came in is heeded (ErrEnded). Other errors: ErrNotConnected,
// ErrOtherDevice, intake.ErrFullPool.
func (s *Server) Upgrade(clientID string, sess Standing) error {
	if sess.Device.IsZero() {
		return fmt.Errorf("upgrading %q: no device", clientID)
	}
	makeRoom := func() {}
	c, err := s.clients.upgrade(clientID, sess, func(c *conn, sess Standing) (err error) {
		if makeRoom, err = c.admitted(sess.Device); err == nil {
			c.login.Store(true)
		}
		return err
	})
	if errors.Is(err, intake.ErrFullPool) {
		s.cfg.Refused.Enter(clientID, err)
	}
	if err != nil {
		return fmt.Errorf("upgrading %q to %v: %w", clientID, sess.Device, err)
	}
	makeRoom()
	s.schedule(c)
	return nil
}

// schedule has a connection end when its standing does. One that departs meanwhile, and
// ends before it departs, leaves nothing behind.
func (s *Server) schedule(c *conn) {
	s.deadlines.Set(c, c.standing().Expires)
	if c.isEnding() {
		s.deadlines.Set(c, time.Time{})
	}
}

// Review judges every connection of a device anew, after something about the
// device changed. Those that the judge gives up are sent farewell on their event
// topic, then ended with r as by End; the others go on with what it gives, their
// subscriptions checked against it at each delivery. A connection or upgrade
// whose admission began before passes the same judge. It gives the number of
// connections that it ended.
func (s *Server) Review(d ident.Device, judge Judge, r Reason, farewell []byte) int {
	kept, over := s.clients.review(d, judge)
	return s.settle(kept, over, r, farewell)
}

// settle does what a review came to.
func (s *Server) settle(kept, over []*conn, r Reason, farewell []byte) int {
	for _, c := range kept {
		s.schedule(c)
	}
	for _, c := range over {
		_ = c.event(farewell) // a hint, to those that listen
		c.endNow(r)
	}
	return len(over)
}

// ReviewPool is Review for all devices of a pool.
func (s *Server) ReviewPool(p ident.Pool, judge Judge, r Reason, farewell []byte) int {
	kept, over := s.clients.reviewPool(p, judge)
	return s.settle(kept, over, r, farewell)
}

// End ends all connections and sessions of a device that may nothing any more. When it returns,
// nothing more that they send is accepted, nothing more is delivered to them, and a connection or
// upgrade whose admission began before is refused. What was pushed before still
// goes out, then the reason, then each connection's last will, which was permitted until then. A will that waits is
// not sent, and what the device retains is forgotten, that of a will too.
func (s *Server) End(d ident.Device, r Reason) {
	conns, away := s.clients.end(d)
	s.finish(conns, away, r, nil)
	s.retained.DeleteOf(d)
}

// EndPool is End for all devices of a pool, which are sent farewell on their event
// topics, and what they retain is forgotten. Every admission and upgrade that began before is
// refused, also of other pools' devices: pools seldom end, and who is refused comes again.
func (s *Server) EndPool(p ident.Pool, r Reason, farewell []byte) {
	conns, away := s.clients.endPool(p)
	s.finish(conns, away, r, farewell)
	s.retained.Delete(func(k *retained.Kept) bool { return k.Owner.Pool == p })
}

// finish ends connections with their sessions, and sessions that have none.
func (s *Server) finish(conns []*conn, away []*state, r Reason, farewell []byte) {
	for _, c := range conns {
		if farewell != nil {
			_ = c.event(farewell) // a hint, to those that listen
		}
		st := c.owned.Load()
		st.mu.Lock()
		st.over = true
		st.mu.Unlock()
		c.endNow(r)
		c.depart()
		if s.clients.removeAway(st) {
			away = append(away, st) // it had departed before it was over
		}
	}
	for _, st := range away {
		st.bar()
		s.endSession(st)
	}
}

// Knows reports whether an End or a Review of the device could make a difference: it
// has a connection or a session or retains something, or somebody's admission or upgrade is under way.
func (s *Server) Knows(d ident.Device) bool { return s.clients.knows(d) || s.retained.Has(d) }
