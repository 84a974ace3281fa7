package daemon

import (
	"crypto/tls"
	"net"
	"net/http"

	"github.com/signetd/signet/broker/intake"
)

// letThrough counts a connection out that became a WebSocket: the MQTT server counts
// it from here on.
func letThrough(nc net.Conn, state http.ConnState) {
	if t, ok := nc.(*tls.Conn); ok && state == http.StateHijacked {
		if c, ok := t.NetConn().(*intake.Conn); ok {
			c.Leave()
		}
	}
}
