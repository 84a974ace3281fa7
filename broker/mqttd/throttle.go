package mqttd

import (
	"fmt"
	"log/slog"
	"time"

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
	c.srv.told.Note(c.srv.ctx, slog.LevelWarn, "throttle", "mqtt packets of a client that is no device are read slowly",
		"client", c.clientID, "remote", c.remote())
	return wait, nil
}

// maxHeldUp is for how long a device's connection is not read at a time: well below its
// keep-alive.
const maxHeldUp = time.Second

// holdUp has nothing read of a device's connection for a while once it asks too much: else it
// would be busy with being told so. c.turn is held.
func (c *conn) holdUp(wait time.Duration) { c.heldUp = wait }
