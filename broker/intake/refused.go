package intake

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
)

// A Cause is why a connection was not served, in a word for metrics.
type Cause string

// Causes.
const (
	CauseFull       Cause = "full"       // ErrFull, or it made room for another
	CauseSource     Cause = "source"     // ErrFullSource
	CauseRate       Cause = "rate"       // ErrTooFast
	CauseDevice     Cause = "device"     // ErrRoomDevice
	CausePool       Cause = "pool"       // ErrFullPool, ErrRoomPool
	CauseConnect    Cause = "connect"    // a CONNECT that was refused for another reason than the pool's being full
	CauseLong       Cause = "long"       // a long CONNECT, while too many are being read
	CauseSilent     Cause = "silent"     // no CONNECT came in time
	CauseHeader     Cause = "header"     // a request over HTTPS that never became whole, when many did not
	CauseTLS        Cause = "tls"        // the handshake failed
	CauseHandshakes Cause = "handshakes" // ErrTurn
	CauseProxy      Cause = "proxy"      // a PROXY header is lacking, damaged, or not wanted
	CauseWebSocket  Cause = "websocket"  // no WebSocket, or one for another protocol than MQTT
	CauseOrigin     Cause = "origin"     // a WebSocket of a page whose origin may have none
)

// Causes are all of them.
var Causes = [...]Cause{CauseFull, CauseSource, CauseRate, CauseDevice, CausePool, CauseConnect, CauseLong, CauseSilent, CauseHeader, CauseTLS, CauseHandshakes, CauseProxy, CauseWebSocket, CauseOrigin}

// A Refused is told of each connection, from remote (host:port), that was not served, by
// any goroutine. It must be quick.
type Refused func(cause Cause, remote string, err error)

// Enter tells of a connection that Enter or Admitted refused with err, or that was dropped.
func (r Refused) Enter(remote string, err error) { r(causeOf(err), remote, err) }

// causeOf gives the cause of an error of this package.
func causeOf(err error) Cause {
	switch {
	case errors.Is(err, ErrTooFast):
		return CauseRate
	case errors.Is(err, ErrFullSource):
		return CauseSource
	case errors.Is(err, ErrRoomDevice):
		return CauseDevice
	case errors.Is(err, ErrFullPool), errors.Is(err, ErrRoomPool):
		return CausePool
	}
	return CauseFull
}

// ErrUnlisted: a PROXY header came where none is taken.
var ErrUnlisted = errors.New("a PROXY header from an address that is not listed as a balancer's")

// Handshake tells of a TLS handshake that failed with err, but not of a client that only
// looked whether somebody listens, or of a connection that was closed on this side.
func (r Refused) Handshake(remote string, err error) {
	if err == nil || errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, net.ErrClosed) {
		return
	}
	if h, ok := errors.AsType[tls.RecordHeaderError](err); ok && proxied(string(h.RecordHeader[:])) {
		r(CauseProxy, remote, ErrUnlisted)
		return
	}
	if errors.Is(err, ErrTurn) {
		r(CauseHandshakes, remote, err)
		return
	}
	r(CauseTLS, remote, err)
}

// proxied reports whether what came in place of TLS begins like a PROXY header.
func proxied(head string) bool {
	return strings.HasPrefix(head, "PROXY") || strings.HasPrefix(head, "\r\n\r\n\x00")
}
