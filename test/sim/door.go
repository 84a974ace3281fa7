package sim

import (
	"context"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/access"
	"github.com/signetd/signet/broker/core"
	"github.com/signetd/signet/broker/exchange"
	"github.com/signetd/signet/broker/mqttd"
	"github.com/signetd/signet/broker/mqttfront"
	"github.com/signetd/signet/protocol/ident"
)

// A door is a running replica's MQTT server, as signetd has one. Its connections are pipes, and
// their TLS a name (lane.far). It is the server's Gate, Responder and listener, and passes on to
// the real ones what they are asked; what they do to connections it notes.
//
// The server's time is the true one; what a replica says of times is by its own clock.
type door struct {
	r      *replica
	core   *core.Core
	front  *mqttfront.Front
	server *mqttd.Server
	hands  *actor // reviews connections
	ctx    context.Context

	accepting chan net.Conn
	closed    chan struct{}
	once      sync.Once // guards closing closed

	mu    sync.Mutex // guards lanes
	lanes []*lane    // that were opened; those that have ended go now and then
}

// newDoor makes the replica's door. Its maker must have its turn.
func (r *replica) newDoor(ctx context.Context, c *core.Core) (*door, error) {
	d := &door{r: r, core: c, ctx: ctx, hands: r.w.newActor(r.dice.more()), accepting: make(chan net.Conn), closed: make(chan struct{})}
	d.front = mqttfront.New(d, c.Access, slog.New(slog.DiscardHandler))
	var err error
	if d.server, err = mqttd.New(mqttd.Config{Gate: d, Respond: d.respond, AnonymousFor: anonymousLife, Outlive: true, OnEnd: d.ended}); err != nil {
		return nil, err
	}
	d.front.Attach(d)
	d.recall(ctx, r.kept)
	r.kept = nil
	c.Tail.Tell(func(ctx context.Context, rec *broker.Record) {
		if d.hands.turn(); ctx.Err() == nil {
			d.front.Recorded(ctx, rec)
		}
	})
	c.Tail.Tell(func(ctx context.Context, rec *broker.Record) {
		if last, err := d.r.w.store.Last(ctx); err != nil || last != rec.Seq {
			return
		}
		if d.hands.rest(time.Millisecond); ctx.Err() == nil { // all ends have been heard of
			d.told(ctx, rec)
		}
	})
	go func() { _ = d.server.Serve(ctx, d, nil) }() // until the crash or the end of the world
	return d, nil
}

// crash ends everything on the spot: nothing more goes out.
func (d *door) crash() {
	_ = d.Close()
	d.mu.Lock()
	lanes := d.lanes
	d.lanes = nil
	d.mu.Unlock()
	for _, l := range lanes {
		l.cut()
	}
	at, cancel := context.WithCancel(context.Background())
	cancel()
	d.r.w.busy.Go(func() { _ = d.server.Close(at) })
}

// leave ends the server as a planned restart does, and gives what outlives it.
func (d *door) leave() (kept [][]byte) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = d.Close()
	_ = d.server.Close(ctx) // late or not
	err := d.server.Save(func(record []byte) error {
		kept = append(kept, slices.Clone(record))
		return nil
	})
	if err != nil {
		d.r.w.facts.violate("replica %d does not save its sessions: %v", d.r.number, err)
	}
	return kept
}

// recall takes back what leave gave.
func (d *door) recall(ctx context.Context, kept [][]byte) {
	if kept == nil {
		return
	}
	n, _, err := d.server.Restore(ctx, func() ([]byte, error) {
		if len(kept) == 0 {
			return nil, io.EOF
		}
		record := kept[0]
		kept = kept[1:]
		return record, nil
	}, d.front.Recall)
	if err != nil {
		d.r.w.facts.violate("replica %d does not take back its sessions: %v", d.r.number, err)
	}
	d.r.w.facts.add("MQTT session outlives a restart", n)
}

// Accept gives the next connection.
func (d *door) Accept() (net.Conn, error) {
	select {
	case nc := <-d.accepting:
		return nc, nil
	case <-d.closed:
		return nil, net.ErrClosed
	}
}

// Close lets nobody in any more.
func (d *door) Close() error {
	d.once.Do(func() { close(d.closed) })
	return nil
}

// Addr is what net.Listener wants.
func (d *door) Addr() net.Addr { return &net.TCPAddr{} }

// enter takes in the far end of a lane.
func (d *door) enter(l *lane) error {
	ours, theirs := net.Pipe()
	l.near, l.end = ours, theirs
	select {
	case d.accepting <- entrance{theirs, l}:
	case <-d.closed:
		return errDown
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lanes = append(slices.DeleteFunc(d.lanes, (*lane).isOver), l)
	return nil
}

// An entrance is a lane's far end.
type entrance struct {
	net.Conn
	lane *lane
}

// Close is the replica's end of the lane, after which nothing is left of one that its device has
// lost.
func (e entrance) Close() error {
	err := e.Conn.Close()
	e.lane.mu.Lock()
	if e.lane.closed.IsZero() {
		e.lane.closed = time.Now()
	}
	e.lane.mu.Unlock()
	if e.lane.abandoned.Load() {
		e.lane.cut()
	}
	return err
}

// RemoteAddr is the lane's, too: see laneOf.
func (e entrance) RemoteAddr() net.Addr { return e.lane }

// laneOf finds the lane that comes from an address.
func laneOf(a net.Addr) *lane {
	l, _ := a.(*lane)
	return l
}

// Admit asks the front, about the TLS connection that the lane has.
func (d *door) Admit(ctx context.Context, c mqttd.Connect) (mqttd.Standing, error) {
	l := laneOf(c.Remote)
	c.Channel = l.far[:]
	st, err := d.front.Admit(ctx, c)
	l.judged(access.Standing(st), err)
	if err == nil && !st.Device.IsZero() {
		l.stands(access.Standing(st))
	}
	return d.inTrueTime(st), err
}

// inTrueTime has a standing end when the replica's clock says so.
func (d *door) inTrueTime(st mqttd.Standing) mqttd.Standing {
	if !st.Expires.IsZero() {
		st.Expires = d.r.when(st.Expires)
	}
	return st
}

// respond has the replica answer a message, in the turn of whoever carried it here.
func (d *door) respond(_ context.Context, q mqttd.Request) []byte {
	l := laneOf(q.Remote)
	req := &request{who: l.carrier(q.Payload), replica: d.r, lane: l}
	req.handle, req.proved = refreshIn(q.Payload)
	q.Channel = l.far[:]
	return d.front.Respond(context.WithValue(d.ctx, requestKey{}, req), q)
}

// Respond answers for the front.
func (d *door) Respond(ctx context.Context, from exchange.Caller, raw []byte) exchange.Reply {
	reply := d.core.Exchange.Respond(ctx, from, raw)
	d.r.answered(ctx, &reply)
	return reply
}

// Busy answers for the front.
func (d *door) Busy(raw []byte, retry time.Duration) []byte { return d.core.Exchange.Busy(raw, retry) }

// Upgrade makes a connection a device's.
func (d *door) Upgrade(clientID string, st mqttd.Standing) error {
	if err := d.server.Upgrade(clientID, d.inTrueTime(st)); err != nil {
		d.r.w.facts.count("connection not upgraded")
		return err
	}
	for _, l := range d.alive() {
		if l.id.String() == clientID {
			l.upgraded(access.Standing(st))
		}
	}
	return nil
}

func (d *door) alive() []*lane {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(d.lanes), (*lane).isOver)
}

// judging has a judge go by the replica's clock.
func (d *door) judging(by mqttd.Judge) mqttd.Judge {
	return func(st mqttd.Standing) (mqttd.Standing, bool) {
		if !st.Expires.IsZero() {
			st.Expires = d.r.at(st.Expires)
		}
		now, ok := by(st)
		return d.inTrueTime(now), ok
	}
}

// Review judges the connections of a device.
func (d *door) Review(id ident.Device, judge mqttd.Judge, why mqttd.Reason, farewell []byte) int {
	n := d.server.Review(id, d.judging(judge), why, farewell)
	d.r.w.facts.add("connection ended after a change", n)
	return n
}

// ReviewPool judges the connections of a pool.
func (d *door) ReviewPool(p ident.Pool, judge mqttd.Judge, why mqttd.Reason, farewell []byte) int {
	n := d.server.ReviewPool(p, d.judging(judge), why, farewell)
	d.r.w.facts.add("connection ended with its signing key", n)
	return n
}

// End ends the connections of a device.
func (d *door) End(id ident.Device, why mqttd.Reason) {
	if d.server.Knows(id) {
		d.r.w.facts.count("connection ended after a change")
	}
	d.server.End(id, why)
}

// EndPool ends the connections of a pool.
func (d *door) EndPool(p ident.Pool, why mqttd.Reason, farewell []byte) {
	d.server.EndPool(p, why, farewell)
}

// Knows reports whether there may be a connection of a device.
func (d *door) Knows(id ident.Device) bool { return d.server.Knows(id) }

// PushDevice sends an event to a device.
func (d *door) PushDevice(id ident.Device, payload []byte) int {
	return d.server.PushDevice(id, payload)
}

// ended counts why connections ended.
func (d *door) ended(why mqttd.Reason) {
	switch why {
	case mqttd.ReasonExpired:
		d.r.w.facts.count("connection expires")
	case mqttd.ReasonTakenOver:
		d.r.w.facts.count("connection taken over")
	}
}

// told wants a replica that has heard all to go by it, when it has heard of rec.
func (d *door) told(ctx context.Context, rec *broker.Record) {
	w := d.r.w
	if last, err := w.store.Last(ctx); err != nil || last != rec.Seq {
		return
	}
	pool, err := w.store.Pool(ctx, w.pool)
	if err != nil {
		return
	}
	var keys []string
	if signing, err := w.store.ListSigningKeys(ctx, w.pool); err == nil {
		for _, k := range signing {
			keys = append(keys, k.ID)
		}
	}
	for _, l := range d.alive() {
		switch st := l.standing(); {
		case st.Device.IsZero():
		case !l.theft:
			w.facts.goesOn(st.Device, st.Session)
		case pool.MQTTPasswordLife == 0:
			w.facts.violate("the network goes on as %s by an MQTT password, which the pool takes no more", st.Device)
		case !slices.Contains(keys, st.Key):
			w.facts.violate("the network goes on as %s by a signing key that was retired", st.Device)
		}
	}
	d.r.upToDate(ctx, d.core, pool)
}

var (
	_ mqttd.Gate          = (*door)(nil)
	_ mqttfront.Server    = (*door)(nil)
	_ mqttfront.Responder = (*door)(nil)
	_ net.Listener        = (*door)(nil)
	_ io.Closer           = (*door)(nil)
)
