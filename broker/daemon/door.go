package daemon

import (
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/signetd/signet/broker/intake"
)

// A door is a listener that lets in as many connections as its intake allows.
// Whoever comes too often or too many at once is closed without a word.
type door struct {
	net.Listener
	log *slog.Logger
	mu  sync.Mutex // guards in and its entries
	in  *intake.Intake
}

// A guest is a connection that a door let in. Each counts as a stranger's.
type guest struct {
	net.Conn
	door  *door
	entry *intake.Entry
}

func (d *door) Accept() (net.Conn, error) {
	for {
		nc, err := d.Listener.Accept()
		if err != nil {
			return nil, err
		}
		remote := nc.RemoteAddr().String()
		g := &guest{nc, d, intake.NewEntry(remote, func() {
			d.log.Debug("https connection dropped to make room", "remote", remote)
			_ = nc.Close() // whoever serves it finds out and closes the guest
		})}
		out, err := d.enter(g)
		if err != nil {
			d.log.Debug("https connection refused", "remote", remote, "error", err)
			_ = nc.Close() // it cost nothing so far
			continue
		}
		if out != nil {
			out.Drop()
		}
		return g, nil
	}
}

func (d *door) enter(g *guest) (out *intake.Entry, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.in.Enter(g.entry, time.Now())
}

// Close counts the guest out; more than once does no harm.
func (g *guest) Close() error {
	g.leave()
	return g.Conn.Close()
}

func (g *guest) leave() {
	g.door.mu.Lock()
	defer g.door.mu.Unlock()
	g.door.in.Leave(g.entry)
}

// letThrough counts a connection out that became a WebSocket: the MQTT server counts
// it from here on.
func letThrough(nc net.Conn, state http.ConnState) {
	if t, ok := nc.(*tls.Conn); ok && state == http.StateHijacked {
		if g, ok := t.NetConn().(*guest); ok {
			g.leave()
		}
	}
}
