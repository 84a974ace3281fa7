package mqttd

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/signetd/signet/broker/mqttd/message"
	"github.com/signetd/signet/protocol/ident"
)

// maxMarks bounds the memory of devices ended or reviewed while others were being admitted.
const maxMarks = 4096

// maxReviews bounds what a mark keeps of one device's reviews; with more, its decisions
// under way are refused.
const maxReviews = 16

// errInUse refuses a client id that belongs to somebody else.
var errInUse = fmt.Errorf("mqttd: the client id is in use")

// registry knows the admitted connections and the sessions, with or without one, by client id
// and by device.
//
// A decision about a device (an admission, a request that ends in an upgrade)
// takes time, and an End or a Review may come in between: after an End the
// decision must not take effect, after a Review it must pass the same judge as
// the connections that were there. So decisions begin with the registry's epoch,
// each End and Review moves it on and leaves a mark on its device, and a decision
// older than its device's mark heeds it. A judge may know of one session only, so
// that a later one does not stand for it: a decision passes them all.
//
// Its mutex is taken before a state's.
type registry struct {
	mu       sync.Mutex // guards the rest: End must see every connection that isn't refused
	byKey    map[stateKey]*state
	byDevice map[ident.Device]*state      // the first of each one's, linked by state.next
	live     int                          // connections that own a state and are not gone
	rooms    map[ident.Pool]*message.Room // of what waits for the pools' devices

	epoch    uint64
	floor    uint64 // decisions begun before are refused, whatever their device
	deciding int    // decisions under way
	marks    map[ident.Device]mark
	pools    []poolReview // that decisions under way have to heed besides, in order
}

// A mark is what decisions under way about a device have to heed.
type mark struct {
	ended   uint64   // epoch of its last End; 0: none
	reviews []review // in order
}

type review struct {
	at    uint64 // epoch
	judge Judge
}

// A poolReview is a review of all devices of a pool.
type poolReview struct {
	review
	pool ident.Pool
}

func newRegistry() registry {
	return registry{byKey: map[stateKey]*state{}, byDevice: map[ident.Device]*state{}, marks: map[ident.Device]mark{}, rooms: map[ident.Pool]*message.Room{}}
}

// begin starts a decision; finish ends it.
func (r *registry) begin() (since uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.deciding++
	return r.epoch
}

func (r *registry) finish() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.finishLocked()
}

func (r *registry) finishLocked() {
	if r.deciding--; r.deciding == 0 {
		clear(r.marks)
		r.pools = nil
	}
}

// heedLocked gives what a decision begun at since comes to now, false when it
// is to be refused.
func (r *registry) heedLocked(sess Standing, since uint64) (Standing, bool) {
	m := r.marks[sess.Device]
	switch {
	case sess.Device.IsZero():
		return sess, true
	case since < r.floor, m.ended > since:
		return sess, false
	}
	for _, v := range m.reviews {
		if v.at <= since {
			continue
		}
		now, ok := v.judge(sess)
		if !ok || now.Device != sess.Device {
			return sess, false
		}
		sess = now
	}
	for _, v := range r.pools {
		if v.at <= since || v.pool != sess.Device.Pool {
			continue
		}
		now, ok := v.judge(sess)
		if !ok || now.Device != sess.Device {
			return sess, false
		}
		sess = now
	}
	return sess, true
}

// markLocked leaves a mark on d for the decisions under way.
func (r *registry) markLocked(d ident.Device, change func(*mark)) {
	r.epoch++
	if r.deciding == 0 {
		return
	}
	if _, ok := r.marks[d]; !ok && len(r.marks) >= maxMarks {
		clear(r.marks)
		r.floor = r.epoch
	}
	m := r.marks[d]
	change(&m)
	r.marks[d] = m
}

// end notes that d ended, and gives its connections and its sessions without one, which are
// the registry's no more.
func (r *registry) end(d ident.Device) (conns []*conn, away []*state) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.markLocked(d, func(m *mark) { m.ended = r.epoch })
	return r.endLocked(d)
}

func (r *registry) endLocked(d ident.Device) (conns []*conn, away []*state) {
	for _, st := range r.ofDeviceLocked(d) {
		if c := st.connLocked(); c != nil {
			conns = append(conns, c)
		} else if r.removeLocked(st) {
			away = append(away, st)
		}
	}
	return conns, away
}

// endPool is end for all devices of a pool.
func (r *registry) endPool(p ident.Pool) (conns []*conn, away []*state) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.epoch++
	r.floor = r.epoch
	delete(r.rooms, p)
	for d := range r.byDevice {
		if d.Pool == p {
			c, a := r.endLocked(d)
			conns, away = append(conns, c...), append(away, a...)
		}
	}
	return conns, away
}

// knows reports whether d has a connection, or any decision is under way.
func (r *registry) knows(d ident.Device) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.deciding > 0 || r.byDevice[d] != nil
}

// review lets judge decide on each connection of d, and on those whose decisions
// are under way; it gives the connections that have a new session and those that
// are to end.
func (r *registry) review(d ident.Device, judge Judge) (kept, over []*conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.markLocked(d, func(m *mark) {
		if len(m.reviews) == maxReviews {
			m.reviews, m.ended = nil, r.epoch
		}
		m.reviews = append(m.reviews, review{r.epoch, judge})
	})
	return r.judgeLocked(d, judge)
}

// judgeLocked has the connections of d judged, and its sessions without one: what those may
// read is what may wait for them. A judge that gives up one of these ends it not: who comes for it
// must be admitted first.
func (r *registry) judgeLocked(d ident.Device, judge Judge) (kept, over []*conn) {
	for _, st := range r.ofDeviceLocked(d) {
		now, ok := judge(*st.standing.Load())
		if now.Device != d {
			now, ok = Standing{Device: d}, false
		}
		st.standing.Store(&now)
		c := st.connLocked()
		if !ok && now.Session.IsZero() {
			st.letNoWillWait(c != nil)
		}
		switch {
		case c == nil, c.isEnding():
		case ok:
			kept = append(kept, c)
		default:
			over = append(over, c)
		}
	}
	return kept, over
}

// reviewPool is review for all devices of a pool.
func (r *registry) reviewPool(p ident.Pool, judge Judge) (kept, over []*conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.epoch++
	switch {
	case r.deciding == 0:
	case len(r.pools) == maxReviews:
		r.pools, r.floor = nil, r.epoch
	default:
		r.pools = append(r.pools, poolReview{review{r.epoch, judge}, p})
	}
	for d := range r.byDevice {
		if d.Pool != p {
			continue
		}
		k, o := r.judgeLocked(d, judge)
		kept, over = append(kept, k...), append(over, o...)
	}
	return kept, over
}

// claim enters c as the connection of a session: of the one that is there, or a new one if
// there is none or clean says so. It takes a session over from another connection of the same
// device, or of an anonymous client that has not authenticated, after that has departed.
func (r *registry) claim(ctx context.Context, c *conn, k stateKey, st Standing, since uint64, clean bool) (claimed *state, present bool, err error) {
	for {
		got, err := r.tryClaim(c, k, st, since, clean)
		if got.ended != nil {
			c.srv.endSession(got.ended)
		}
		if got.old == nil {
			return got.state, got.present, err
		}
		got.old.end(ReasonTakenOver)
		select {
		case <-got.released:
		case <-ctx.Done():
			return nil, false, fmt.Errorf("taking over %q: %w", k.id, ErrBusy)
		}
	}
}

// claimed is what tryClaim came to.
type claimed struct {
	old      *conn         // the connection that is in the way, and may be taken over
	released chan struct{} // its
	ended    *state        // a session that is no more
	state    *state
	present  bool // it was there before
}

func (r *registry) tryClaim(c *conn, k stateKey, st Standing, since uint64, clean bool) (got claimed, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	st, ok := r.heedLocked(st, since)
	if !ok {
		return got, ErrEnded
	}
	found := r.byKey[k]
	if found != nil && found.owner != nil {
		if found.standing.Load().Device != st.Device {
			return got, errInUse
		}
		got.old = found.owner
		if got.old.released == nil {
			got.old.released = make(chan struct{})
		}
		got.released = got.old.released
		return got, nil
	}
	if found != nil && (clean || found.isOver()) {
		r.removeLocked(found)
		got.ended, found = found, nil
	}
	if got.present = found != nil; !got.present {
		found = c.srv.newState(k, r.roomLocked(c.srv, st.Device))
		r.byKey[k] = found
	}
	got.state, found.owner = found, c
	found.number = c.number
	r.live++
	r.bindLocked(found, st)
	c.owned.Store(found)
	return got, nil
}

// roomLocked gives the room for what waits for a device, in that of its pool.
func (r *registry) roomLocked(s *Server, d ident.Device) *message.Room {
	if d.IsZero() {
		return s.room // who becomes a device's has a session that ends with its connection
	}
	for other := r.byDevice[d]; other != nil; other = other.next {
		if other.shared != nil { // nil where an anonymous client became the device's
			return other.shared
		}
	}
	pool := r.rooms[d.Pool]
	if pool == nil {
		pool = message.NewRoom(s.cfg.QueuedMessages-s.cfg.QueuedMessages/10, s.cfg.QueuedBytes-s.cfg.QueuedBytes/10, s.room)
		r.rooms[d.Pool] = pool
	}
	return message.NewRoom(4*s.cfg.SessionMessages, 4*s.cfg.SessionBytes, pool)
}

// enter makes a session that has no connection, for a client id that has none yet; nil if it has.
// rejoin enters it.
func (r *registry) enter(s *Server, k stateKey, d ident.Device) *state {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byKey[k] != nil {
		return nil
	}
	return s.newState(k, r.roomLocked(s, d))
}

func (r *registry) rejoin(s *state, st Standing) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.byKey[s.key] = s
	s.number = s.srv.serial.next()
	r.bindLocked(s, st)
}

// bindLocked makes st what the client of a session may do.
func (r *registry) bindLocked(s *state, st Standing) {
	s.standing.Store(&st)
	if st.Device.IsZero() || s.bound {
		return
	}
	s.bound = true
	s.next = r.byDevice[st.Device]
	r.byDevice[st.Device] = s
}

// unbindLocked takes a session out of its device's.
func (r *registry) unbindLocked(s *state) {
	if !s.bound {
		return
	}
	s.bound = false
	d := s.standing.Load().Device
	for at := r.byDevice[d]; at != nil; at = at.next {
		switch {
		case at == s && r.byDevice[d] == s:
			r.byDevice[d] = s.next
		case at.next == s:
			at.next = s.next
		}
	}
	s.next = nil
	if r.byDevice[d] == nil {
		delete(r.byDevice, d)
	}
}

// upgrade binds a further standing to the connection of a client id, if admit, which is
// called last and takes no lock of the Server's, has no objection.
func (r *registry) upgrade(clientID string, st Standing, admit func(*conn, Standing) error) (*conn, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.byKey[stateKey{id: clientID}]
	if s == nil || s.connLocked() == nil || s.owner.isEnding() {
		return nil, ErrNotConnected
	}
	return s.owner, r.rebindLocked(s, st, admit)
}

// renew binds a further standing to a connection that is its device's.
func (r *registry) renew(c *conn, st Standing) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := c.owned.Load()
	if s.connLocked() != c || c.isEnding() {
		return ErrNotConnected
	}
	return r.rebindLocked(s, st, func(*conn, Standing) error { return nil })
}

// rebindLocked binds a further standing to the connection of s, which is nobody's or that device's.
func (r *registry) rebindLocked(s *state, st Standing, admit func(*conn, Standing) error) error {
	if d := s.standing.Load().Device; !d.IsZero() && d != st.Device {
		return ErrOtherDevice
	}
	if c := s.owner; c.jobs > 0 {
		var ok bool
		if st, ok = r.heedLocked(st, c.epoch); !ok {
			return ErrEnded
		}
	}
	if err := admit(s.owner, st); err != nil {
		return err
	}
	r.bindLocked(s, st)
	return nil
}

// beginJob counts a request of c in; false when it has too many, or is gone.
func (r *registry) beginJob(c *conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.gone || c.jobs >= maxJobsPerConn {
		return false
	}
	if c.jobs == 0 {
		c.epoch = r.epoch
	}
	c.jobs++
	r.deciding++
	return true
}

func (r *registry) finishJob(c *conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c.jobs--
	r.finishLocked()
	r.releaseLocked(c)
}

// leave takes out a connection that has ended, and its session if that is over, which it reports.
// Its client id stays taken while a request of it is in work.
func (r *registry) leave(c *conn) (over bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := c.owned.Load()
	if s.owner != c || c.gone {
		return false
	}
	c.gone = true
	r.live--
	if over = s.isOver(); over {
		s.dead = true
		r.unbindLocked(s)
	}
	r.releaseLocked(c)
	return over
}

func (r *registry) releaseLocked(c *conn) {
	if !c.gone || c.jobs > 0 {
		return
	}
	s := c.owned.Load()
	s.owner = nil
	if s.dead {
		delete(r.byKey, s.key)
	}
	if c.released != nil {
		close(c.released)
	}
}

// removeAway takes out a session that has no connection; false if it has one, or was out.
func (r *registry) removeAway(s *state) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return s.connLocked() == nil && r.removeLocked(s)
}

func (r *registry) removeLocked(s *state) bool {
	if s.dead {
		return false
	}
	s.dead = true
	r.unbindLocked(s)
	if s.owner == nil {
		delete(r.byKey, s.key)
	}
	return true
}

// surplus takes out the session without a connection that ends first, if a device has more
// than most of them; nil if it has not.
func (r *registry) surplus(d ident.Device, most int) (first *state) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	var ends time.Time
	for _, st := range r.ofDeviceLocked(d) {
		if st.connLocked() != nil {
			continue
		}
		n++
		if at := st.endsAt(); first == nil || at.Before(ends) {
			first, ends = st, at
		}
	}
	if n <= most || !r.removeLocked(first) {
		return nil
	}
	return first
}

func (r *registry) get(clientID string) *conn {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.byKey[stateKey{id: clientID}]; s != nil {
		return s.connLocked()
	}
	return nil
}

func (r *registry) ofDevice(d ident.Device) (conns []*conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, st := range r.ofDeviceLocked(d) {
		if c := st.connLocked(); c != nil {
			conns = append(conns, c)
		}
	}
	return conns
}

func (r *registry) ofDeviceLocked(d ident.Device) (states []*state) {
	for st := r.byDevice[d]; st != nil; st = st.next {
		states = append(states, st)
	}
	return states
}

// connLocked gives the connection of a session; nil if its client is away.
func (st *state) connLocked() *conn {
	if st.owner == nil || st.owner.gone {
		return nil
	}
	return st.owner
}

// count is the number of connections, sessions of all sessions.
func (r *registry) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.live
}

// all gives every session there is now.
func (r *registry) all() []*state {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Collect(maps.Values(r.byKey))
}

func (r *registry) sessions() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.byKey)
}
