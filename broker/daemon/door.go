package daemon

import (
	"crypto/tls"
	"net"
	"net/http"

	"github.com/signetd/signet/broker/intake"
)

// connState counts a connection out that became a WebSocket, because the MQTT server counts
// it from here on, and tells of one that ended in its handshake.
func connState(refused intake.Refused) func(net.Conn, http.ConnState) {
	return func(nc net.Conn, state http.ConnState) {
		t, ok := nc.(*tls.Conn)
		switch {
		case !ok:
		case state == http.StateHijacked:
			if c := headOf(t.NetConn()); c != nil {
				c.leave()
				if counted, ok := c.Conn.(*intake.Conn); ok {
					counted.Leave()
				}
			}
		case state == http.StateClosed && !t.ConnectionState().HandshakeComplete:
			refused.Handshake(nc.RemoteAddr().String(), t.Handshake()) // it says again how it ended
		}
	}
}
