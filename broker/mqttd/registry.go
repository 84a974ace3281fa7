package mqttd

import (
	"context"
	"fmt"
	"sync"

	"github.com/signetd/signet/protocol/ident"
)

// maxMarks bounds the memory of devices ended or reviewed while others were being admitted.
const maxMarks = 4096

// maxReviews bounds what a mark keeps of one device's reviews; with more, its decisions
// under way are refused.
const maxReviews = 16

// errInUse refuses a client id that belongs to somebody else.
var errInUse = fmt.Errorf("mqttd: the client id is in use")

// registry knows the admitted connections, by client id and by device.
//
// A decision about a device (an admission, a request that ends in an upgrade)
// takes time, and an End or a Review may come in between: after an End the
// decision must not take effect, after a Review it must pass the same judge as
// the connections that were there. So decisions begin with the registry's epoch,
// each End and Review moves it on and leaves a mark on its device, and a decision
// older than its device's mark heeds it. A judge may know of one session only, so
// that a later one does not stand for it: a decision passes them all.
type registry struct {
	mu       sync.Mutex // guards the rest: End must see every connection that isn't refused
	byID     map[string]*conn
	byDevice map[ident.Device]map[*conn]struct{}
	live     int // connections in byID that are not gone

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
	return registry{
		byID:     map[string]*conn{},
		byDevice: map[ident.Device]map[*conn]struct{}{},
		marks:    map[ident.Device]mark{},
	}
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

// end notes that d ended and gives its connections.
func (r *registry) end(d ident.Device) []*conn {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.markLocked(d, func(m *mark) { m.ended = r.epoch })
	return r.ofDeviceLocked(d)
}

// endPool notes that a pool ended and gives the connections of its devices.
func (r *registry) endPool(p ident.Pool) (conns []*conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.epoch++
	r.floor = r.epoch
	for d := range r.byDevice {
		if d.Pool == p {
			conns = append(conns, r.ofDeviceLocked(d)...)
		}
	}
	return conns
}

// knows reports whether d has a connection, or any decision is under way.
func (r *registry) knows(d ident.Device) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.deciding > 0 || len(r.byDevice[d]) > 0
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

// judgeLocked has the connections of d judged.
func (r *registry) judgeLocked(d ident.Device, judge Judge) (kept, over []*conn) {
	for _, c := range r.ofDeviceLocked(d) {
		sess, ok := judge(*c.session.Load())
		switch {
		case c.isEnding():
		case ok && sess.Device == d:
			c.session.Store(&sess)
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

// claim enters c under its client id. It takes the id over from another
// connection of the same device, or of an anonymous client that has not
// authenticated, after that has ended altogether, so that mochi never sees two
// clients of one id and nothing is inherited.
func (r *registry) claim(ctx context.Context, c *conn, sess Standing, since uint64) error {
	for {
		old, err := r.tryClaim(c, sess, since)
		if old == nil {
			return err
		}
		old.end(ReasonTakenOver)
		select {
		case <-old.released:
		case <-ctx.Done():
			return fmt.Errorf("taking over %q: %w", c.id, ErrBusy)
		}
	}
}

// tryClaim gives the connection that is in the way and may be taken over.
func (r *registry) tryClaim(c *conn, sess Standing, since uint64) (old *conn, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	sess, ok := r.heedLocked(sess, since)
	if !ok {
		return nil, ErrEnded
	}
	if old := r.byID[c.id.String()]; old != nil {
		if old.session.Load().Device != sess.Device {
			return nil, errInUse
		}
		return old, nil
	}
	r.byID[c.id.String()] = c
	r.live++
	r.bindLocked(c, sess)
	return nil, nil
}

// bindLocked makes sess the session of c.
func (r *registry) bindLocked(c *conn, sess Standing) {
	c.session.Store(&sess)
	if sess.Device.IsZero() {
		return
	}
	if r.byDevice[sess.Device] == nil {
		r.byDevice[sess.Device] = map[*conn]struct{}{}
	}
	r.byDevice[sess.Device][c] = struct{}{}
}

// upgrade binds a further session to the connection of a client id, if admit, which is
// called last and takes no lock of the Server's, has no objection.
func (r *registry) upgrade(clientID string, sess Standing, admit func(*conn, Standing) error) (*conn, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.byID[clientID]
	if c == nil || c.gone || c.isEnding() {
		return nil, ErrNotConnected
	}
	if d := c.session.Load().Device; !d.IsZero() && d != sess.Device {
		return nil, ErrOtherDevice
	}
	if c.jobs > 0 {
		var ok bool
		if sess, ok = r.heedLocked(sess, c.since); !ok {
			return nil, ErrEnded
		}
	}
	if err := admit(c, sess); err != nil {
		return nil, err
	}
	r.bindLocked(c, sess)
	return c, nil
}

// beginJob counts a request of c in; false when it has too many.
func (r *registry) beginJob(c *conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.jobs >= maxJobsPerConn {
		return false
	}
	if c.jobs == 0 {
		c.since = r.epoch
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

// leave takes out a connection that has ended; its client id stays taken while
// a request of it is in work.
func (r *registry) leave(c *conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byID[c.id.String()] != c || c.gone {
		return
	}
	c.gone = true
	r.live--
	d := c.session.Load().Device
	if delete(r.byDevice[d], c); len(r.byDevice[d]) == 0 {
		delete(r.byDevice, d)
	}
	r.releaseLocked(c)
}

func (r *registry) releaseLocked(c *conn) {
	if c.gone && c.jobs == 0 {
		delete(r.byID, c.id.String())
		close(c.released)
	}
}

func (r *registry) get(clientID string) *conn {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.byID[clientID]; c != nil && !c.gone {
		return c
	}
	return nil
}

func (r *registry) ofDevice(d ident.Device) []*conn {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ofDeviceLocked(d)
}

func (r *registry) ofDeviceLocked(d ident.Device) []*conn {
	conns := make([]*conn, 0, len(r.byDevice[d]))
	for c := range r.byDevice[d] {
		conns = append(conns, c)
	}
	return conns
}

func (r *registry) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.live
}
