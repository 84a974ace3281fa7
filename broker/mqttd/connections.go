package mqttd

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/signetd/signet/broker/mqttd/packet"
	"github.com/signetd/signet/protocol/ident"
)

// How a connection came to be a device's.
const (
	AdmittedLogin    = "login"    // Upgrade
	AdmittedEnhanced = "enhanced" // enhanced authentication
	AdmittedToken    = "token"    // a Gate, whose Standing says that it was no password
	AdmittedPassword = "password" // a Gate, by a Standing of an MQTT password
)

// A Connection is what is to be sight of a client's connection or, Away, of a session whose
// client has none.
type Connection struct {
	Number    uint64       // among all of this Server; never used again
	Away      bool         // there is no connection: Remote, TLS and the like are empty
	Device    ident.Device // zero: no device's so far
	ClientID  string
	Remote    string // host:port
	TLS       string // version; empty: it ends elsewhere, or there is none
	Cipher    string // suite
	WebSocket bool
	MQTT      string // version
	Began     time.Time
	Heard     time.Time     // when something came last
	KeepAlive time.Duration // that the client promised, or was told to; 0: none
	Admitted  string        // one of the ways above; empty: it is no device's
	Until     time.Time     // when what it was admitted by ends; zero: not by itself

	Subscriptions int
	Filters       []string      // of these; only from Connection
	Queued        int           // messages that wait to be sent
	Bytes         int           // of all messages that it has not acknowledged
	Inflight      int           // messages that were sent and are not acknowledged
	Expiry        time.Duration // for which the session outlives the connection; negative: for good
	Ends          time.Time     // of one that is Away: when the session ends; zero: never
}

// What a list of connections is sorted by. Connections that are alike in it come by Number.
const (
	OrderAge    = "age"    // the oldest first
	OrderDevice = "device" // by pool and name, then client id; strangers first
	OrderSource = "source" // by address
	OrderQueue  = "queued" // the longest first
	OrderSilent = "silent" // those that were heard of longest ago first
)

// A Query says which connections are wanted, in which order; what is zero leaves none out.
type Query struct {
	Pool      ident.Pool
	Device    ident.Device
	Reach     func(ident.Pool) bool // of which pools' devices; nil: of all, and strangers
	Source    netip.Prefix
	Older     time.Duration // since Began
	Queued    int           // at least
	Away      bool          // sessions without a connection, too
	Strangers bool          // only those that are no device's
	Order     string        // one of those above; empty: OrderAge
	After     string        // a next that Connections gave for the same Query
	Limit     int           // at least 1
}

// ErrAfter refuses a Query's After that is none.
var ErrAfter = errors.New("mqttd: after is none that a list gave")

// serial numbers a Server's connections, and sessions that it has without one.
type serial struct{ last atomic.Uint64 }

func (s *serial) next() uint64 { return s.last.Add(1) }

// presence is what is kept of a connection for who wants to see it.
type presence struct {
	number uint64      // of the connection, set before the registry knows it
	since  int64       // when its CONNECT had come, Unix milliseconds
	method bool        // it was admitted by enhanced authentication; as number
	login  atomic.Bool // a login made it a device's
}

func (p *presence) began() time.Time { return time.UnixMilli(p.since) }

// A sight is one that Connections looks at: the connection, or the session that has none.
type sight struct {
	st     *state
	c      *conn // nil: away
	number uint64
	key    string // what it is sorted by
}

// Connections gives those that a Query asks for, up to its Limit, and next, where to go on; empty: there are no more. It
// holds no lock while it sorts, and no more than one client's while it looks at one, so that nobody
// waits for it; what it says of each is true of some moment of the call.
func (s *Server) Connections(q Query) (some []Connection, next string, err error) {
	afterKey, afterNumber, err := parseAfter(q.After)
	if err != nil {
		return nil, "", err
	}
	all, now := s.clients.sight(q.Device), time.Now()
	all = slices.DeleteFunc(all, func(v sight) bool { return !v.wanted(&q, now) })
	for i := range all {
		all[i].key = all[i].sorted(q.Order)
	}
	all = slices.DeleteFunc(all, func(v sight) bool {
		return q.After != "" && (v.key < afterKey || v.key == afterKey && v.number <= afterNumber)
	})
	slices.SortFunc(all, func(a, b sight) int {
		return cmp.Or(strings.Compare(a.key, b.key), cmp.Compare(a.number, b.number))
	})
	more := len(all) > q.Limit
	all = all[:min(len(all), q.Limit)]
	for i := range all {
		some = append(some, all[i].connection())
	}
	if last := len(all) - 1; more {
		next = strconv.FormatUint(all[last].number, 10) + " " + all[last].key
	}
	return some, next, nil
}

func parseAfter(after string) (key string, number uint64, err error) {
	if after == "" {
		return "", 0, nil
	}
	text, key, ok := strings.Cut(after, " ")
	if number, err = strconv.ParseUint(text, 10, 64); err != nil || !ok {
		return "", 0, ErrAfter
	}
	return key, number, nil
}

// Find gives those with these numbers that there are, with their subscriptions' filters.
func (s *Server) Find(numbers ...uint64) (found []Connection) {
	for _, v := range s.clients.numbered(numbers) {
		out := v.connection()
		for _, sub := range s.subscriptions.Of(&v.st.index) {
			out.Filters = append(out.Filters, sub.String())
		}
		if v.c != nil {
			out.Filters = append(out.Filters, v.own()...)
		}
		found = append(found, out)
	}
	return found
}

// own gives the subscriptions to the client's own topics.
func (v *sight) own() (filters []string) {
	v.st.mu.Lock()
	defer v.st.mu.Unlock()
	if v.st.replies.on {
		filters = append(filters, v.c.replyTopic())
	}
	if v.st.events.on {
		filters = append(filters, v.c.eventTopic())
	}
	return filters
}

// Kick ends the connections with these numbers, and gives the numbers of those that it ended.
// Their sessions stay what they are, and their clients may come back at once.
func (s *Server) Kick(r Reason, numbers ...uint64) (ended []uint64) {
	for _, v := range s.clients.numbered(numbers) {
		if v.c != nil && !v.c.isEnding() {
			v.c.end(r)
			ended = append(ended, v.number)
		}
	}
	return ended
}

func (r *registry) numbered(numbers []uint64) []sight {
	return slices.DeleteFunc(r.sight(ident.Device{}), func(v sight) bool { return !slices.Contains(numbers, v.number) })
}

// sight gives each session of a device, of all if d is zero, with its connection.
func (r *registry) sight(d ident.Device) (all []sight) {
	r.mu.Lock()
	defer r.mu.Unlock()
	see := func(st *state) {
		v := sight{st: st, number: st.number}
		if v.c = st.connLocked(); v.c != nil {
			v.number = v.c.number
		}
		all = append(all, v)
	}
	if !d.IsZero() {
		for st := r.byDevice[d]; st != nil; st = st.next {
			see(st)
		}
		return all
	}
	all = make([]sight, 0, len(r.byKey))
	for _, st := range r.byKey {
		if !st.dead {
			see(st)
		}
	}
	return all
}

// wanted reports whether a query asks for it.
func (v *sight) wanted(q *Query, now time.Time) bool {
	d := v.st.standing.Load().Device
	switch {
	case v.c == nil && !q.Away,
		d.IsZero() != q.Strangers, d.IsZero() && q.Reach != nil,
		!d.IsZero() && q.Reach != nil && !q.Reach(d.Pool),
		!q.Pool.IsZero() && d.Pool != q.Pool,
		!q.Device.IsZero() && d != q.Device,
		q.Older > 0 && (v.c == nil || now.Sub(v.c.began()) < q.Older),
		q.Source.IsValid() && (v.c == nil || !q.Source.Contains(v.c.address())):
		return false
	}
	return q.Queued <= 0 || v.queued() >= q.Queued
}

func (v *sight) queued() int {
	v.st.mu.Lock()
	defer v.st.mu.Unlock()
	return v.st.flow.Queued()
}

// sorted gives a text by which it has its place in an order. It is as long as a client's names
// make it, and says nothing that a Connection does not.
func (v *sight) sorted(order string) string {
	switch order {
	case OrderDevice:
		return v.st.standing.Load().Device.String() + " " + v.st.key.id
	case OrderSource:
		if v.c == nil {
			return ""
		}
		return fmt.Sprintf("%x", v.c.address().As16())
	case OrderQueue:
		return fmt.Sprintf("%010d", max(0, 9_999_999_999-v.queued()))
	case OrderSilent:
		if v.c == nil {
			return ""
		}
		return fmt.Sprintf("%020d", v.c.heard().UnixMilli())
	}
	if v.c == nil {
		return ""
	}
	return fmt.Sprintf("%020d", v.c.since)
}

func (c *conn) heard() time.Time {
	if at := c.stream.Heard(); at.After(c.began()) {
		return at
	}
	return c.began()
}

// connection tells what it is now, but its filters.
func (v *sight) connection() Connection {
	st, standing := v.st, v.st.standing.Load()
	out := Connection{
		Number: v.number, Away: v.c == nil, Device: standing.Device, ClientID: st.key.id,
		Subscriptions: st.srv.subscriptions.Count(&st.index),
	}
	if v.c != nil {
		v.c.present(standing, &out)
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	for _, own := range []listening{st.replies, st.events} {
		if own.on {
			out.Subscriptions++
		}
	}
	out.Queued, out.Bytes, out.Inflight = st.flow.Queued(), st.flow.Bytes(), st.flow.Inflight()
	if out.Expiry = time.Duration(st.expiry) * time.Second; st.expiry == never {
		out.Expiry = -1
	}
	if v.c == nil {
		out.Ends = st.ends
	}
	return out
}

// present tells of the connection itself.
func (c *conn) present(standing *Standing, out *Connection) {
	out.Until = standing.Expires
	switch {
	case standing.Device.IsZero():
	case c.login.Load():
		out.Admitted = AdmittedLogin
	case c.method:
		out.Admitted = AdmittedEnhanced
	case standing.Password:
		out.Admitted = AdmittedPassword
	default:
		out.Admitted = AdmittedToken
	}
	out.Remote, out.Began, out.Heard = c.remote(), c.began(), c.heard()
	out.KeepAlive = c.keepAlive * 2 / 3 // see learn
	out.MQTT = "3.1.1"
	if c.takes.Version == packet.V5 {
		out.MQTT = "5"
	}
	_, out.WebSocket = c.nc.(webConn)
	if secure := c.tls(); secure != nil {
		out.TLS, out.Cipher = tls.VersionName(secure.Version), tls.CipherSuiteName(secure.CipherSuite)
	}
}
