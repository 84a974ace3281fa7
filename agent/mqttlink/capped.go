package mqttlink

import (
	"fmt"
	"net"
)

// capped is a connection on which no incoming MQTT packet is longer than limit.
// paho allocates what a packet's header announces, up to 256 MB; this reads the
// headers first and ends the connection.
type capped struct {
	net.Conn
	limit int

	body   int  // bytes of the packet's body still to come
	length int  // remaining length, as far as it has been read
	shift  uint // bits of it read so far
	inside bool // between a packet's first byte and the end of its length
}

// Read passes on only bytes of packets that are short enough.
func (c *capped) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if scanErr := c.scan(p[:n]); scanErr != nil {
		_ = c.Conn.Close()
		return 0, scanErr
	}
	return n, err
}

func (c *capped) scan(b []byte) error {
	for len(b) > 0 {
		if c.body > 0 {
			n := min(c.body, len(b))
			c.body -= n
			b = b[n:]
			continue
		}
		if !c.inside {
			c.inside, c.length, c.shift = true, 0, 0
			b = b[1:]
			continue
		}
		c.length |= int(b[0]&0x7f) << c.shift
		c.shift += 7
		last := b[0]&0x80 == 0
		b = b[1:]
		if c.length > c.limit || !last && c.shift >= 28 {
			return fmt.Errorf("the broker announced a packet of more than %d bytes", c.limit)
		}
		if last {
			c.inside, c.body = false, c.length
		}
	}
	return nil
}
