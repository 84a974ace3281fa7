package mqttd

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/signetd/signet/broker/budget"
	"github.com/signetd/signet/broker/tally"
	"github.com/signetd/signet/protocol/ident"
)

// An Overload is why a request is not looked at, in a word for metrics.
type Overload string

// Overloads.
const (
	OverloadRate       Overload = "rate"       // too many of strangers at one source
	OverloadDevice     Overload = "device"     // too many of one device
	OverloadQueue      Overload = "queue"      // too many wait already
	OverloadConnection Overload = "connection" // too many of one connection, or too long
)

// Overloads are all of them.
var Overloads = [...]Overload{OverloadRate, OverloadDevice, OverloadQueue, OverloadConnection}

// queueRetry is after how long a client may come again when too many wait.
const queueRetry = time.Second

// strangersPart is the part of the workers that strangers' requests may occupy: three
// quarters, so that devices never wait for a stranger to be answered.
const strangersPart = 0.75

// requests are two bounded queues with workers that come with work and go without, but for
// a few: devices' requests go before strangers', and of those each source has its turn.
type requests struct {
	mu        sync.Mutex // guards the rest: a worker leaves only when it sees nothing to do
	devices   []request
	strangers lanes
	workers   int // that have work, or are called to it
	strange   int // of them, those that answer strangers
	// idle are workers that wait for work, at most spareWorkers, each until its channel is
	// closed. They have the stack that an answer needs: another one begins with a small one, and
	// growing it is a thirtieth of what a login costs.
	idle   []chan struct{}
	called bool // a worker is called and has not come yet
}

// spareWorkers is how many workers stay without work: as many as wait for one commit of a busy
// store. What their stacks take, 16 kB or so each, the collector takes back from those that idle.
const spareWorkers = 64

type request struct {
	conn    *conn
	payload []byte
	lane    netip.Prefix
	device  ident.Device // whose its connection was when it came; zero: no device's
	step    *step        // of an enhanced authentication; nil: it is for the Responder
}

// strange reports whether r came on a connection that was no device's.
func (r *request) strange() bool { return r.device.IsZero() }

// lanes are requests by source, each source's in order.
type lanes struct {
	of      map[netip.Prefix]*lane
	turn    []*lane // those that have requests, the one whose turn it is first
	waiting int
}

type lane struct {
	source  netip.Prefix
	waiting []request
}

// add queues r. When that makes more than most, the source that has most of them loses
// its last one, which may be r.
func (l *lanes) add(r request, most int) (lost *request) {
	if l.of == nil {
		l.of = map[netip.Prefix]*lane{}
	}
	mine := l.of[r.lane]
	if l.waiting >= most {
		longest := slices.MaxFunc(l.turn, func(a, b *lane) int { return len(a.waiting) - len(b.waiting) })
		if mine != nil && len(mine.waiting) >= len(longest.waiting) || len(longest.waiting) == 1 {
			return &r
		}
		last := len(longest.waiting) - 1
		lost = &request{}
		*lost, longest.waiting[last] = longest.waiting[last], request{}
		longest.waiting = longest.waiting[:last]
		l.waiting--
	}
	if mine == nil {
		mine = &lane{source: r.lane}
		l.of[r.lane] = mine
		l.turn = append(l.turn, mine)
	}
	mine.waiting = append(mine.waiting, r)
	l.waiting++
	return lost
}

// next takes the next request of the source whose turn it is.
func (l *lanes) next() (request, bool) {
	if len(l.turn) == 0 {
		return request{}, false
	}
	first := l.turn[0]
	l.turn[0] = nil
	l.turn = l.turn[1:]
	r := first.waiting[0]
	first.waiting[0] = request{}
	if first.waiting = first.waiting[1:]; len(first.waiting) > 0 {
		l.turn = append(l.turn, first)
	} else {
		delete(l.of, first.source)
	}
	l.waiting--
	return r, true
}

// request queues a client's request. One for which there is no room is answered at once by
// Config.Busy: a client asks again.
func (s *Server) request(c *conn, payload []byte) { s.take(request{conn: c, payload: payload}) }

// take is request for what is one, or a step of an enhanced authentication.
func (s *Server) take(r request) {
	c := r.conn
	r.lane = c.source()
	if now := c.standing(); now != nil {
		r.device = now.Device
	}
	if r.strange() && s.perSource != nil && r.lane.IsValid() {
		if wait := s.perSource.Take(r.lane, time.Now()); wait > 0 {
			s.overloaded(r, OverloadRate, wait)
			return
		}
	}
	if !r.strange() && s.perDevice != nil {
		if wait := s.perDevice.Take(r.device, time.Now()); wait > 0 {
			c.holdUp(min(wait, maxHeldUp))
			s.overloaded(r, OverloadDevice, wait)
			return
		}
	}
	if len(r.payload) > maxRequest || !s.clients.beginJob(c) {
		s.overloaded(r, OverloadConnection, queueRetry)
		return
	}
	if lost := s.queue(r); lost != nil {
		s.clients.finishJob(lost.conn)
		s.overloaded(*lost, OverloadQueue, queueRetry)
	}
}

// queue gives the request that has no room, if any.
func (s *Server) queue(r request) (lost *request) {
	q := &s.requests
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case r.strange():
		lost = q.strangers.add(r, s.cfg.Queue)
	case len(q.devices) >= s.cfg.Queue:
		return &r
	default:
		q.devices = append(q.devices, r)
	}
	s.call()
	return lost
}

// call has one worker more come, if there may be one. One at a time: each calls the next when it finds more
// work than its own. What is answered at once is so answered by few, as to wake a worker costs as much
// as that. The requests' mutex is held.
func (s *Server) call() {
	q := &s.requests
	if q.called || q.workers >= s.cfg.Workers {
		return
	}
	q.called = true
	q.workers++
	if last := len(q.idle) - 1; last >= 0 {
		close(q.idle[last])
		q.idle = q.idle[:last]
	} else {
		s.wg.Go(s.work)
	}
}

// overloaded answers a request that is not looked at.
func (s *Server) overloaded(r request, why Overload, retry time.Duration) {
	s.told.Note(s.ctx, slog.LevelWarn, "overload "+string(why), "mqtt request not looked at",
		r.conn.who("cause", string(why), "bytes", len(r.payload))...)
	switch reply := s.cfg.Busy(s.asked(r), why, retry); {
	case r.step != nil:
		r.step.done(Answer{Data: reply}, errStepBusy)
	case reply != nil:
		s.reply(r.conn, reply)
	}
}

func (s *Server) work() {
	for called := true; ; {
		r, wait, ok := s.nextRequest(called)
		switch {
		case wait != nil:
			select {
			case <-wait:
				called = true
				continue
			case <-s.ctx.Done():
				return
			}
		case !ok:
			return
		}
		called = false
		s.answer(r)
		s.requests.done(r)
	}
}

// strangersAtOnce is how many workers may answer strangers at once.
func (s *Server) strangersAtOnce() int { return max(1, int(strangersPart*float64(s.cfg.Workers))) }

// nextRequest gives what a worker does next, or what it waits for; neither ends it.
func (s *Server) nextRequest(called bool) (r request, wait <-chan struct{}, ok bool) {
	q := &s.requests
	q.mu.Lock()
	defer q.mu.Unlock()
	if called {
		q.called = false
	}
	switch {
	case len(q.devices) > 0:
		r, ok = q.devices[0], true
		q.devices[0] = request{}
		q.devices = q.devices[1:]
	case q.strange < s.strangersAtOnce():
		if r, ok = q.strangers.next(); ok {
			q.strange++
		}
	}
	if ok {
		if len(q.devices) > 0 || q.strangers.waiting > 0 && q.strange < s.strangersAtOnce() {
			s.call()
		}
		return r, nil, true
	}
	q.workers--
	if len(q.idle) == spareWorkers {
		return r, nil, false
	}
	c := make(chan struct{})
	q.idle = append(q.idle, c)
	return r, c, false
}

// done notes that a worker is free again.
func (q *requests) done(r request) {
	if r.strange() {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.strange--
	}
}

func (s *Server) asked(r request) Request {
	return Request{
		ClientID: r.conn.clientID, Remote: r.conn.nc.RemoteAddr(), Device: r.device, Channel: r.conn.channel, Vouched: r.conn.vouched(), Payload: r.payload,
	}
}

// answer calls the Responder and sends its reply.
func (s *Server) answer(r request) {
	defer s.clients.finishJob(r.conn)
	defer recovered(s.told, "answering a request")
	if r.step != nil {
		s.step(r)
		return
	}
	defer r.conn.payUp()
	if reply := s.cfg.Respond(s.ctx, s.asked(r)); reply != nil {
		s.reply(r.conn, reply)
	}
}

func (s *Server) reply(c *conn, reply []byte) {
	if err := c.push(replies, c.replyTopic(), reply); err != nil {
		s.told.Note(s.ctx, slog.LevelDebug, "reply", "mqtt reply dropped", c.who("error", err)...)
	}
}

// recovered keeps a panic from ending the process. The stack holds no packet.
func recovered(told *tally.Log, doing string) {
	if r := recover(); r != nil {
		panicked(told, doing, r)
	}
}

func panicked(told *tally.Log, doing string, r any) {
	told.Note(context.Background(), slog.LevelError, "panic "+doing, "panic in the MQTT server", "doing", doing, "panic", r, "stack", string(debug.Stack()))
}

// A RequestLimit bounds requests. Zero means the default, a negative rate no limit.
type RequestLimit struct {
	PerSecond float64 // in the long run
	Burst     int     // at once
}

// budgetOf makes the budget that l, or else its default, describes; nil: no limit.
func budgetOf[K comparable](l, usual RequestLimit) (*budget.Budget[K], error) {
	l.PerSecond, l.Burst = cmp.Or(l.PerSecond, usual.PerSecond), cmp.Or(l.Burst, usual.Burst)
	switch {
	case l.Burst < 0:
		return nil, errors.New("mqttd: RequestLimit.Burst is negative")
	case l.PerSecond < 0:
		return nil, nil
	}
	return budget.New[K](l.PerSecond, l.Burst, budget.MaxSources), nil
}
