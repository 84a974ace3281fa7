package mqttd

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/signetd/signet/broker/intake"
	"github.com/signetd/signet/broker/mqttd/packet"
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
func (s *Server) turnAway(nc net.Conn, conf *tls.Config, why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || errors.Is(why, ErrClosed) || !s.away.begin() {
		cut(nc)
		return
	}
	s.wg.Go(func() {
		defer s.away.finish()
		defer cut(nc)
		ctx, cancel := context.WithTimeout(s.ctx, farewellTime)
		defer cancel()
		defer context.AfterFunc(ctx, func() { cut(nc) })()
		defer recovered(s.told, "turning a client away")
		_ = nc.SetDeadline(time.Now().Add(farewellTime))
		client := nc
		if conf != nil {
			client = tls.Server(nc, conf)
		}
		explain(client, why)
	})
}

// explain waits for the client's CONNECT and answers it with why it is refused.
func explain(nc net.Conn, why error) {
	v, ok := versionOf(nc)
	if !ok {
		return
	}
	if _, err := nc.Write(packet.AppendConnack(nil, v, &packet.Connack{Code: refusalCode(why)})); err != nil {
		return
	}
	if half, ok := nc.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		if t, ok := nc.(*tls.Conn); ok {
			nc = t.NetConn()
		}
		_, _ = io.Copy(io.Discard, io.LimitReader(nc, 64<<10)) // closing at once would reset it, and the answer be lost
	}
}

// versionOf reads a CONNECT and gives its version; false if none came that is one.
func versionOf(nc net.Conn) (packet.Version, bool) {
	var buf [512]byte
	for have := 0; have < len(buf); {
		n, err := nc.Read(buf[have:])
		have += n
		h, begin, bad := packet.ReadHeader(buf[:have])
		if bad != nil || err != nil || begin > 0 && h.Type != packet.CONNECT {
			return 0, false
		}
		// The protocol's name and level are the first seven bytes (section 3.1.2).
		if begin > 0 && have >= begin+7 {
			v := packet.Version(buf[begin+6])
			return v, v == packet.V311 || v == packet.V5
		}
	}
	return 0, false
}

// refusalCode is the CONNACK code for an error of intake (section 3.2.2.2).
func refusalCode(why error) packet.Code {
	switch {
	case errors.Is(why, intake.ErrTooFast):
		return packet.ConnectionRateExceeded
	case errors.Is(why, intake.ErrFullSource):
		return packet.QuotaExceeded
	}
	return packet.ServerBusy
}
