package mqttd

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/signetd/signet/broker/mqttd/message"
	"github.com/signetd/signet/broker/mqttd/packet"
)

// Limits on what strangers' connections may say; the figures are chosen. A login takes about
// six packets. A connection that is always busy takes as much of the processors as any other,
// whatever it is answered, so that many of them keep honest ones waiting for their turn:
// TLS, CONNECT and login have one each. Beyond freePackets they are read so slowly that
// together they are next to nothing, and TCP holds up the rest where it is sent. With
// maxPackets one is over: what TCP has of it is not read, and a new one costs a handshake.
const (
	freePackets        = 64   // of one connection that is no device's
	throttledPerSecond = 2000 // beyond those, of all such connections together
	maxPackets         = 128  // of one, those that were held up included
)

// throttle says for how long the packet at hand of a stranger who has said much already is to
// wait, and gives an error when it was too much. c.turn is held.
func (c *conn) throttle() (time.Duration, error) {
	if !c.isStranger() {
		wait := c.heldUp
		c.heldUp = 0
		return wait, nil
	}
	switch c.packets++; {
	case c.packets <= freePackets:
		return 0, nil
	case c.packets > maxPackets:
		return 0, &packet.Error{Code: packet.QuotaExceeded, What: fmt.Sprintf("more than %d packets on a connection that is no device's", maxPackets)}
	}
	wait := c.srv.slow.Reserve().Delay()
	c.srv.cfg.OnThrottle()
	c.srv.told.Note(c.srv.ctx, slog.LevelWarn, "throttle", "mqtt packets of a client that is no device are read slowly", c.who()...)
	return wait, nil
}

// maxHeldUp is for how long a device's connection is not read at a time: well below its
// keep-alive.
const maxHeldUp = time.Second

// holdUp has nothing read of a device's connection for a while once it asks too much: else it
// would be busy with being told so. c.turn is held.
func (c *conn) holdUp(wait time.Duration) { c.heldUp = wait }

// A message of MQTT 3.1.1 for which a subscriber has no room, where publishers are to be refused,
// is held back, with all that comes behind it: that version has no word for a refusal. The figures
// are chosen: a subscriber that goes on reads what waits for it within holdBackFor.
const (
	holdBackFor   = 10 * time.Second
	holdBackEvery = 100 * time.Millisecond
)

// errHeldBack: the packet at hand is to be handled again after a while.
var errHeldBack = errors.New("mqttd: a message is held back")

// mayHoldBack reports whether a message may wait, still, for its subscribers to have room.
func (c *conn) mayHoldBack(p *packet.Publish) bool {
	return c.takes.Version < packet.V5 && p.QoS > message.AtMostOnce && (c.heldSince == nil || time.Since(*c.heldSince) < holdBackFor)
}

// holdBack has a message wait as if it had not come. c.turn is held.
func (c *conn) holdBack(p *packet.Publish) error {
	if c.heldSince == nil {
		c.heldSince = new(time.Now())
		c.srv.cfg.OnBound(BoundHeld)
		c.srv.told.Note(c.srv.ctx, slog.LevelWarn, "held back", "mqtt publisher held back: a subscriber has no room for its message", c.who()...)
	}
	st := c.owned.Load()
	st.mu.Lock()
	st.flow.Received(p.ID, byte(packet.QuotaExceeded))
	st.mu.Unlock()
	return errHeldBack
}
