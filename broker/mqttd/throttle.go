package mqttd

import (
	"fmt"
	"log/slog"
	"time"
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

// throttle holds up whoever reads the connection, before a packet of a stranger who has
// said much already, and gives an error when it is too much. It returns early when the
// connection is to end.
func (c *conn) throttle() error {
	if s := c.session.Load(); s == nil || !s.Device.IsZero() {
		wait := c.heldUp
		c.heldUp = 0
		c.pause(wait)
		return nil
	}
	switch c.packets++; {
	case c.packets <= freePackets:
		return nil
	case c.packets > maxPackets:
		return &violation{ReasonQuota, fmt.Sprintf("more than %d packets on a connection that is no device's", maxPackets)}
	}
	wait := c.srv.slow.Reserve().Delay()
	c.srv.cfg.OnThrottle()
	c.srv.told.Note(c.srv.ctx, slog.LevelWarn, "throttle", "mqtt packets of a client that is no device are read slowly",
		"client", c.id.String(), "remote", c.RemoteAddr().String())
	c.pause(wait)
	return nil
}

// maxHeldUp is for how long a device's connection is not read at a time: well below its
// keep-alive.
const maxHeldUp = time.Second

// holdUp has nothing read of a device's connection for a while once it asks too much: else it
// would be busy with being told so. It is for the reading goroutine, as throttle is.
func (c *conn) holdUp(wait time.Duration) { c.heldUp = wait }

// pause returns early when the connection is to end.
func (c *conn) pause(wait time.Duration) {
	if wait <= 0 {
		return
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
	case <-c.hungUp:
	case <-c.srv.ctx.Done():
	}
}
