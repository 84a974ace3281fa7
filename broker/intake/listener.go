package intake

import "net"

// A Listener lets in as many connections as its Intake allows. It closes the others
// without sending anything.
type Listener struct {
	net.Listener
	in      *Intake
	refused Refused
}

// Listen counts the connections of ln in and out, and tells whom it turned away or
// dropped. A connection on which requests of many clients come, as its method Many says,
// has no source.
func (in *Intake) Listen(ln net.Listener, refused Refused) *Listener {
	return &Listener{ln, in, refused}
}

// sourceOf gives the address that a connection counts as.
func sourceOf(nc net.Conn) string {
	if c, ok := nc.(interface{ Many() bool }); ok && c.Many() {
		return ""
	}
	return nc.RemoteAddr().String()
}

// A Conn is a connection that a Listener let in. It counts as a stranger's.
type Conn struct {
	net.Conn
	entry *Entry
}

// Accept gives the next connection that may come in: a *Conn.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		nc, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		remote := nc.RemoteAddr().String()
		entry, err := l.in.Enter(sourceOf(nc), func(why error) {
			l.refused.Enter(remote, why)
			_ = nc.Close() // whoever serves it finds out and closes the Conn
		})
		if err != nil {
			l.refused.Enter(remote, err)
			_ = nc.Close() // it cost nothing so far
			continue
		}
		return &Conn{nc, entry}, nil
	}
}

// Close counts the connection out and closes it.
func (c *Conn) Close() error {
	c.Leave()
	return c.Conn.Close()
}

// NetConn is the connection without the counting.
func (c *Conn) NetConn() net.Conn { return c.Conn }

// Leave counts the connection out but leaves it open, because another Intake counts it now.
func (c *Conn) Leave() { c.entry.Leave() }
