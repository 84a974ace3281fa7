package intake

import (
	"log/slog"
	"net"
)

// A Listener lets in as many connections as its Intake allows. It closes the others
// without sending anything.
type Listener struct {
	net.Listener
	in  *Intake
	log *slog.Logger
}

// Listen counts the connections of ln in and out. It logs, at level debug, whom it
// turned away or dropped.
func (in *Intake) Listen(ln net.Listener, log *slog.Logger) *Listener {
	return &Listener{ln, in, log}
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
		entry, err := l.in.Enter(remote, func() {
			l.log.Debug("connection dropped to make room", "remote", remote)
			_ = nc.Close() // whoever serves it finds out and closes the Conn
		})
		if err != nil {
			l.log.Debug("connection refused", "remote", remote, "error", err)
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

// Leave counts the connection out but leaves it open, because another Intake counts it now.
func (c *Conn) Leave() { c.entry.Leave() }
