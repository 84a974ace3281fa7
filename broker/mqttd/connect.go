package mqttd

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/signetd/signet/broker/intake"
	"github.com/signetd/signet/broker/mqttd/packet"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/topic"
)

// A refusal is an error of admission with the code that the client hears.
type refusal struct {
	code packet.Code
	err  error
	data []byte // of an enhanced authentication
}

func (r *refusal) Error() string { return r.err.Error() }
func (r *refusal) Unwrap() error { return r.err }

func refuse(code packet.Code, format string, args ...any) error {
	return &refusal{code: code, err: fmt.Errorf(format, args...)}
}

// begin takes a connection from its first byte to its CONNACK, in a goroutine of its own. When
// it gives false, it has told of it, answered it where an answer is due, and ended its stream.
func (s *Server) begin(c *conn) bool {
	_ = c.stream.SetReadDeadline(time.Now().Add(s.cfg.ConnectTimeout))
	if err := c.stream.Handshake(); err != nil {
		s.cfg.Refused.Handshake(c.remote(), err)
		c.stream.Cut()
		return false
	}
	defer s.traces.forget(c)
	p, err := c.readConnect()
	if err != nil {
		cause := causeOf(err)
		if cause == intake.CauseSilent {
			err = errNoConnect
		}
		s.cfg.Refused(cause, c.remote(), err)
		if v, ok := errors.AsType[*packet.Error](err); ok && p != nil { // else there is no version to answer in
			c.stream.HangUp(packet.AppendConnack(nil, p.Version, &packet.Connack{Code: v.Code}), hangUpGrace)
		} else {
			c.stream.Cut()
		}
		return false
	}
	timeout := s.cfg.ConnectTimeout
	if p.HasAuthMethod {
		timeout = s.cfg.AuthTimeout
		_ = c.stream.SetReadDeadline(time.Now().Add(timeout))
	}
	ctx, cancel := context.WithTimeout(s.ctx, timeout)
	defer cancel()
	if err := s.admit(ctx, c, p); err != nil {
		s.refused(c, fmt.Errorf("%w (client id %.80q)", err, p.ClientID))
		if !c.isEnding() { // else whoever ended it has cut it
			answer := refusedConnack(p, err)
			if c.isTraced() {
				if c.takes.Version == 0 {
					c.takes = p.Receiver() // refused before it learnt that
				}
				c.admittedOrNot(deviceOf(p), answer)
			}
			c.stream.HangUp(answer, hangUpGrace)
		}
		return false
	}
	return true
}

// readConnect reads the CONNECT, which must come first, into memory that grows as it comes. What
// came behind it is kept for Feed.
func (c *conn) readConnect() (*packet.Connect, error) {
	var held bool
	defer func() {
		if held {
			c.srv.reading.give(c.source())
		}
	}()
	buf := make([]byte, 0, 512)
	for {
		h, n, err := packet.ReadHeader(buf)
		switch {
		case err != nil:
			return nil, err
		case n == 0:
		case h.Type != packet.CONNECT:
			return nil, &packet.Error{Code: packet.ProtocolError, What: fmt.Sprintf("%s where a CONNECT must come", h.Type)}
		case h.Length > maxConnect:
			return nil, tooLarge(h, maxConnect)
		case len(buf)-n >= h.Length:
			p, err := packet.ParseConnect(buf[n : n+h.Length])
			if err == nil && p.HasAuthMethod && h.Length > maxConnectAlone {
				err = errLongHello // what a stranger says is kept until he has authenticated
			}
			if err != nil {
				return p, err
			}
			if c.isTraced() {
				c.opened(h, n, buf[n:n+h.Length])
			}
			if rest := buf[n+h.Length:]; len(rest) > 0 {
				c.in = append([]byte(nil), rest...)
			}
			c.channel = channelOf(c.tls())
			return p, nil
		case h.Length > maxConnectAlone && !held:
			password, known := packet.PeekConnect(buf[n:])
			if known && !password {
				return nil, &packet.Error{Code: packet.PacketTooLarge, What: fmt.Sprintf("a CONNECT without a password of more than %d bytes", maxConnectAlone)}
			}
			if known {
				if held = c.srv.reading.take(c.source(), c.srv.cfg.LongConnects); !held {
					return nil, errManyLarge
				}
			}
		}
		if buf, err = c.readMore(buf); err != nil {
			return nil, fmt.Errorf("reading the CONNECT: %w", err)
		}
	}
}

// readMore reads some of a packet behind the beginning of it that has come, which is shorter than maxConnect.
func (c *conn) readMore(buf []byte) ([]byte, error) {
	if len(buf) == cap(buf) {
		grown := make([]byte, len(buf), min(max(2*cap(buf), 512), maxConnect+8))
		copy(grown, buf)
		buf = grown
	}
	m, err := c.stream.Read(buf[len(buf):cap(buf)])
	if buf = buf[:len(buf)+m]; m > 0 {
		err = nil // it comes again
	}
	return buf, err
}

var errLongHello = &packet.Error{Code: packet.PacketTooLarge, What: fmt.Sprintf("a CONNECT with an authentication method of more than %d bytes", maxConnectAlone)}

var errManyLarge = errors.New("too many long CONNECTs are being read")

// A readings bounds the long CONNECTs that are being read at once: of one source, and in all.
type readings struct {
	mu  sync.Mutex // guards the rest
	of  map[netip.Prefix]int
	all int
}

// take counts one in, if source has fewer than most of them; a negative most is no bound, nor
// has whoever has no source one.
func (r *readings) take(source netip.Prefix, most int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if most >= 0 && source.IsValid() && r.of[source] >= most || r.all >= maxLongConnectsInAll {
		return false
	}
	if r.of == nil {
		r.of = map[netip.Prefix]int{}
	}
	r.of[source]++
	r.all++
	return true
}

func (r *readings) give(source netip.Prefix) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all--
	if r.of[source]--; r.of[source] == 0 {
		delete(r.of, source)
	}
}

// refusedConnack is the CONNACK for an error of admit.
func refusedConnack(p *packet.Connect, err error) []byte {
	a := packet.Connack{Code: connackCode(err)}
	if r, ok := errors.AsType[*refusal](err); ok && len(r.data) > 0 {
		told := a
		told.HasAuthMethod, told.AuthMethod, told.AuthData = true, p.AuthMethod, r.data
		if out := p.Receiver().AppendConnack(nil, told); len(out) > 0 { // else it is more than the client takes
			return out
		}
	}
	return p.Receiver().AppendConnack(nil, a)
}

// connackCode is the CONNACK code for an error of admit.
func connackCode(err error) packet.Code {
	switch r, ok := errors.AsType[*refusal](err); {
	case ok:
		return r.code
	case errors.Is(err, topic.ErrInvalid), errors.Is(err, errInUse):
		return packet.ClientIDNotValid
	case errors.Is(err, intake.ErrFullPool):
		return packet.QuotaExceeded
	case errors.Is(err, ErrBusy), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return packet.ServerUnavailable
	}
	return packet.NotAuthorized
}

// prove asks who the client is: the gate, or with enhanced authentication its method. Without an
// error a decision has begun in the registry, which whoever gets it ends.
func (s *Server) prove(ctx context.Context, c *conn, p *packet.Connect) (a Answer, since uint64, err error) {
	if p.HasAuthMethod {
		return s.authenticate(ctx, c, p)
	}
	since = s.clients.begin()
	admitted := false
	defer func() {
		if !admitted {
			s.clients.finish()
		}
	}()
	if a.Standing, err = s.cfg.Gate.Admit(ctx, c.connectOf(p)); err != nil {
		return a, since, fmt.Errorf("asking the gate: %w", err)
	}
	admitted = true
	return a, since, nil
}

// admit asks who the client is, enters the connection and answers it. One that has authenticated
// and has no connection all the same is told what came of it: its tokens, perhaps.
func (s *Server) admit(ctx context.Context, c *conn, p *packet.Connect) error {
	proven, since, err := s.prove(ctx, c, p)
	if err != nil {
		return err
	}
	defer s.clients.finish()
	if err = s.enter(ctx, c, p, &proven, since); err != nil && len(proven.Data) > 0 {
		err = &refusal{code: connackCode(err), err: err, data: proven.Data}
	}
	return err
}

// enter checks client id and will of a client that has proven itself, enters the connection and
// answers it. since is when the decision began.
func (s *Server) enter(ctx context.Context, c *conn, p *packet.Connect, proven *Answer, since uint64) error {
	st := proven.Standing
	key, assigned, err := c.identify(p, st)
	if err != nil {
		return err
	}
	if p.Will != nil && p.Will.Retain && !mayRetain(&st) {
		return refuse(packet.RetainNotSupported, "last will to %.80q, to be retained", willTopic(p))
	}
	w, err := willOf(p)
	if err != nil || w != nil && !mayPublish(&st, w.message.Topic, w.message.Retain) {
		return refuse(packet.NotAuthorized, "last will to %.80q", willTopic(p))
	}
	c.learn(p)
	c.number, c.since, c.method = s.serial.next(), time.Now().UnixMilli(), p.HasAuthMethod
	if st.Device.IsZero() && st.Expires.IsZero() {
		st.Expires = time.Now().Add(s.cfg.AnonymousFor)
	}
	found, present, err := s.clients.claim(ctx, c, key, st, since, p.CleanStart)
	if err != nil {
		return err
	}
	expiry := s.expiryFor(p, &st, present)
	now := *found.standing.Load() // a Review may have changed it
	if !now.Expires.IsZero() && !time.Now().Before(now.Expires) {
		return refuse(packet.NotAuthorized, "expired at %v", now.Expires)
	}
	s.deadlines.Set(c, now.Expires)
	if !now.Device.IsZero() {
		makeRoom, err := c.admitted(now.Device)
		if err != nil {
			return err
		}
		makeRoom()
	}
	if p.HasAuthMethod {
		c.authenticatesBy(p, now.Device)
	}
	welcome := c.connack(p, &now, assigned, expiry, present, proven.Data)
	if len(welcome) == 0 {
		return refuse(packet.PacketTooLarge, "it takes packets of %d bytes, too few for a CONNACK", p.MaximumPacketSize)
	}
	return s.attach(c, found, welcome, w, expiry, p.ReceiveMaximum)
}

func willTopic(p *packet.Connect) string {
	if p.Will == nil {
		return ""
	}
	return p.Will.Topic
}

// learn keeps what a CONNECT says of its client.
func (c *conn) learn(p *packet.Connect) {
	c.takes = p.Receiver()
	c.aliasesOut, c.outlived = min(p.TopicAliasMaximum, maxAliases), p.SessionExpiry > 0
	keepAlive := time.Duration(p.KeepAlive) * time.Second
	if most := c.srv.cfg.MaxKeepAlive; p.Version == packet.V5 && most > 0 && (keepAlive == 0 || keepAlive > most) {
		keepAlive = most
	}
	c.keepAlive = keepAlive * 3 / 2 // section 3.1.2.10
}

// expiryFor is for how many seconds the session outlives its connection. A stranger's ends with
// it, and so does a new one if there are too many.
func (s *Server) expiryFor(p *packet.Connect, st *Standing, present bool) uint32 {
	most := s.longestSession()
	switch {
	case st.Device.IsZero():
		return 0
	case !present && most > 0 && s.clients.sessions() > s.cfg.Sessions:
		s.cfg.OnBound(BoundSessions)
		s.told.Note(s.ctx, slog.LevelWarn, "sessions", "mqtt session ends with its connection: there are too many", "device", st.Device.String(), "sessions", s.cfg.Sessions)
		return 0
	case p.Version < packet.V5 && !p.CleanStart:
		return most // that of MQTT 3.1.1 has no end
	}
	return min(p.SessionExpiry, most)
}

func (s *Server) longestSession() uint32 { return uint32(s.cfg.SessionExpiry / time.Second) }

// connack welcomes the client, and says where the server does less than the standard's default.
// Nothing is longer than the client takes: then there is no welcome.
func (c *conn) connack(p *packet.Connect, st *Standing, assigned string, expiry uint32, present bool, data []byte) []byte {
	a := packet.Connack{SessionPresent: present}
	if p.Version == packet.V5 {
		a.ReceiveMaximum = maxInflight
		a.MaximumPacketSize = uint32(c.limit())
		a.NoRetain = !mayRetain(st)
		a.AssignedClientID = assigned
		a.HasAuthMethod, a.AuthMethod, a.AuthData = p.HasAuthMethod, p.AuthMethod, data
		if expiry != p.SessionExpiry {
			a.HasSessionExpiry, a.SessionExpiry = true, expiry
		}
		if !st.Device.IsZero() {
			a.TopicAliasMaximum = maxAliases
		}
		if asked := time.Duration(p.KeepAlive) * time.Second * 3 / 2; asked != c.keepAlive {
			a.HasServerKeepAlive, a.ServerKeepAlive = true, uint16(c.srv.cfg.MaxKeepAlive/time.Second)
		}
		if p.RequestResponseInformation {
			a.ResponseInformation = responsesBelow(st)
		}
	}
	c.aliasesIn, c.noRetain = a.TopicAliasMaximum, a.NoRetain
	return c.takes.AppendConnack(nil, a)
}

// responsesBelow gives a topic below which the client may read whatever there is: it may have its
// requests answered there (section 4.10). "" if there is none.
func responsesBelow(st *Standing) string {
	if st.Device.IsZero() {
		return ""
	}
	for _, f := range st.Permissions.Subscribe {
		if name, ok := strings.CutSuffix(f.String(), "/#"); ok && name != "" && !strings.ContainsAny(name, "+#") {
			return name
		}
	}
	return ""
}

// refused tells of a connection whose CONNECT was refused.
func (s *Server) refused(c *conn, err error) {
	if errors.Is(err, intake.ErrFullPool) {
		s.cfg.Refused.Enter(c.remote(), err)
		return
	}
	s.cfg.Refused(causeOf(err), c.remote(), err)
}

// causeOf is why a connection was refused before it was admitted, but for a pool that is full.
func causeOf(err error) intake.Cause {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return intake.CauseSilent
	case errors.Is(err, errManyLarge):
		return intake.CauseLong
	}
	return intake.CauseConnect
}

// identify holds the client id to the standing's device. A device may have any client id, which
// is its own; one of the protocol's grammar must name it, and has the protocol's topics. A
// device without a client id is given one.
func (c *conn) identify(p *packet.Connect, st Standing) (key stateKey, assigned string, err error) {
	name := p.ClientID
	if name == "" && !st.Device.IsZero() {
		var b [8]byte
		_, _ = rand.Read(b[:]) // never fails
		name = st.Device.String() + "/" + hex.EncodeToString(b[:])
		assigned = name
	}
	id, err := topic.ParseClientID(name)
	switch {
	case err == nil && id.Device() != st.Device:
		return key, "", fmt.Errorf("%w: client id %q is not %q's", topic.ErrInvalid, name, st.Device)
	case err == nil:
		c.request = id.Request()
		key = stateKey{id: name}
	case st.Device.IsZero():
		return key, "", err
	default:
		if len(name) > maxClientID {
			return key, "", fmt.Errorf("%w: a client id of %d bytes, at most %d are allowed", topic.ErrInvalid, len(name), maxClientID)
		}
		key = stateKey{device: st.Device, id: name}
	}
	c.clientID = name
	return key, assigned, nil
}

// maxClientID is how long a client id may be that a device has chosen itself.
const maxClientID = 256

// admitted notes that the connection is a device's now: see intake.Entry.Admitted.
func (c *conn) admitted(d ident.Device) (makeRoom func(), err error) {
	if makeRoom, err = c.entry.Admitted(d); err == nil {
		c.srv.cfg.Handshakes.Came(c.source())
	}
	return makeRoom, err
}
