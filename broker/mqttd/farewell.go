package mqttd

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/signetd/signet/broker/intake"
)

// Limits on telling clients why they may not come in. The figures are chosen: enough for
// whoever runs a fleet to see the cause on a device, too few to cost a flood's worth of
// TLS handshakes. All others are closed without a word.
const (
	farewellsAtOnce    = 8
	farewellsPerSecond = 20
	farewellTime       = 2 * time.Second // handshake and CONNECT included
)

// farewells counts those that are being told.
type farewells struct {
	once   sync.Once
	atOnce chan struct{}
	rate   *rate.Limiter
}

// begin reports whether one more may be told; finish must follow.
func (f *farewells) begin() bool {
	f.once.Do(func() {
		f.atOnce, f.rate = make(chan struct{}, farewellsAtOnce), rate.NewLimiter(farewellsPerSecond, farewellsPerSecond)
	})
	select {
	case f.atOnce <- struct{}{}:
	default:
		return false
	}
	if f.rate.Allow() {
		return true
	}
	f.finish()
	return false
}

func (f *farewells) finish() { <-f.atOnce }

// turnAway closes a connection that may not come in because of why, an error of intake or
// ErrClosed. If that costs little now, the client hears the reason as the answer to its
// CONNECT.
func (s *Server) turnAway(nc net.Conn, why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || errors.Is(why, ErrClosed) || !s.away.begin() {
		cut(nc)
		return
	}
	s.wg.Go(func() {
		defer s.away.finish()
		defer cut(nc)
		defer context.AfterFunc(s.ctx, func() { cut(nc) })()
		defer recovered(s.told, "turning a client away")
		_ = nc.SetDeadline(time.Now().Add(farewellTime))
		explain(nc, why)
	})
}

// explain waits for the client's CONNECT and answers it with why it is refused.
func explain(nc net.Conn, why error) {
	in := framer{r: bufio.NewReaderSize(nc, 512)}
	if in.next(stranger{}) != nil {
		return
	}
	answer := []byte{typeConnack << 4, 2, 0, 3} // server unavailable (MQTT 3.1.1, section 3.2.2.3)
	if in.version == 5 {
		answer = []byte{typeConnack << 4, 3, 0, refusalCode(why), 0}
	}
	if _, err := nc.Write(answer); err != nil {
		return
	}
	if half, ok := nc.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		if t, ok := nc.(*tls.Conn); ok {
			nc = t.NetConn()
		}
		_, _ = io.Copy(io.Discard, io.LimitReader(nc, 64<<10)) // closing at once would reset it, and the answer be lost
	}
}

// refusalCode is the CONNACK code for an error of intake (MQTT 5, section 3.2.2.2).
func refusalCode(why error) byte {
	switch {
	case errors.Is(why, intake.ErrTooFast):
		return 0x9f // connection rate exceeded
	case errors.Is(why, intake.ErrFullSource):
		return 0x97 // quota exceeded
	}
	return byte(ReasonBusy)
}

// stranger is the warden of a client that is being turned away.
type stranger struct{}

func (stranger) limit() int      { return maxAnonymousPacket }
func (stranger) begun()          {}
func (stranger) throttle() error { return nil }
