package mqttd

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/signetd/signet/broker/intake"
	"github.com/signetd/signet/protocol/topic"
)

// hook is the one hook that mochi has. mochi ORs its hooks' permissions, so a
// second one could only widen what this one allows.
type hook struct {
	mqtt.HookBase
	srv *Server
}

func (h *hook) ID() string { return "signet" }

func (h *hook) Provides(b byte) bool {
	switch b {
	case mqtt.OnConnect, mqtt.OnConnectAuthenticate, mqtt.OnACLCheck, mqtt.OnAuthPacket,
		mqtt.OnPacketRead, mqtt.OnPacketEncode, mqtt.OnPacketSent, mqtt.OnPublish, mqtt.OnPublishDropped, mqtt.OnWill:
		return true
	}
	return false
}

// connOf gives the connection behind one of mochi's clients; nil for mochi's own.
func connOf(cl *mqtt.Client) *conn {
	c, _ := cl.Net.Conn.(*conn)
	return c
}

// OnConnect admits or refuses, and answers a refused client itself: mochi would
// call everything a bad password.
func (h *hook) OnConnect(cl *mqtt.Client, pk packets.Packet) error {
	c := connOf(cl)
	if c == nil {
		return packets.ErrNotAuthorized
	}
	ctx, cancel := context.WithTimeout(h.srv.ctx, h.srv.cfg.ConnectTimeout)
	defer cancel()
	err := h.srv.admit(ctx, c, cl, pk)
	if err == nil {
		return nil
	}
	h.srv.refuse(c, fmt.Errorf("client id %.256q: %w", cl.ID, err))
	return errors.Join(err, h.srv.mqtt.SendConnack(cl, connackCode(err, cl.Properties.ProtocolVersion), false, nil))
}

// connackCode is the CONNACK code for an error of admit. MQTT 3.1.1 has only five.
func connackCode(err error, version byte) packets.Code {
	var code packets.Code
	switch {
	case errors.As(err, &code):
	case errors.Is(err, topic.ErrInvalid), errors.Is(err, errInUse):
		code = packets.ErrClientIdentifierNotValid
	case errors.Is(err, intake.ErrFullPool) && version == 5:
		code = packets.ErrQuotaExceeded
	case errors.Is(err, intake.ErrFullPool), errors.Is(err, ErrBusy), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		code = packets.ErrServerUnavailable
	default:
		code = packets.ErrNotAuthorized
	}
	if _, known := packets.V5CodesToV3[code]; version < 5 && !known {
		code = packets.ErrBadUsernameOrPassword // becomes 5, "not authorized"
	}
	return code
}

// admit asks the gate, checks client id, user name and will against its answer,
// and enters the connection.
func (s *Server) admit(ctx context.Context, c *conn, cl *mqtt.Client, pk packets.Packet) error {
	if pk.Properties.AuthenticationMethod != "" {
		return packets.ErrBadAuthenticationMethod
	}
	since := s.clients.begin()
	defer s.clients.finish()
	sess, err := s.cfg.Gate.Admit(ctx, Connect{
		ClientID: pk.Connect.ClientIdentifier,
		UserName: string(pk.Connect.Username),
		Password: pk.Connect.Password,
		Will:     pk.Connect.WillTopic,
		Remote:   c.RemoteAddr(),
		Channel:  c.channel(),
		Vouched:  c.vouched(),
	})
	if err != nil {
		return fmt.Errorf("asking the gate: %w", err)
	}
	if err := c.identify(cl, pk, sess); err != nil {
		return err
	}
	if w := cl.Properties.Will; w.Flag != 0 && !mayLeave(w, sess) {
		return fmt.Errorf("last will to %.256q: %w", w.TopicName, packets.ErrNotAuthorized)
	}
	// No session outlives its connection, and no will waits for one that might
	// come back: mochi hands what is left to whoever names the client id next.
	c.asksExpiry = cl.Properties.Props.SessionExpiryInterval > 0
	cl.Properties.Clean = true
	cl.Properties.Props.SessionExpiryInterval = 0
	cl.Properties.Props.SessionExpiryIntervalFlag = false
	cl.Properties.Will.WillDelayInterval = 0
	// mochi counts an outgoing alias as known even when the message was dropped.
	cl.Properties.Props.TopicAliasMaximum = 0
	c.client = cl
	if sess.Device.IsZero() && sess.Expires.IsZero() {
		sess.Expires = time.Now().Add(s.cfg.AnonymousFor)
	}
	if err := s.clients.claim(ctx, c, sess, since); err != nil {
		return err
	}
	sess = *c.session.Load() // a Review may have changed it
	if !sess.Expires.IsZero() && !time.Now().Before(sess.Expires) {
		return fmt.Errorf("expired at %v: %w", sess.Expires, packets.ErrNotAuthorized)
	}
	s.deadlines.set(c, sess.Expires)
	if sess.Device.IsZero() {
		return nil
	}
	makeRoom, err := c.entry.Admitted(sess.Device)
	if err != nil {
		return err
	}
	makeRoom()
	return nil
}

// refuse tells of a connection whose CONNECT was refused.
func (s *Server) refuse(c *conn, err error) {
	remote := c.RemoteAddr().String()
	if errors.Is(err, intake.ErrFullPool) {
		s.cfg.Refused.Enter(remote, err)
		return
	}
	s.cfg.Refused(intake.CauseConnect, remote, err)
}

// identify holds the client id and the user name to the session's device. An
// authenticated client without a client id is given one of its device's.
func (c *conn) identify(cl *mqtt.Client, pk packets.Packet, sess Standing) error {
	name := pk.Connect.ClientIdentifier
	if name == "" && !sess.Device.IsZero() {
		var b [8]byte
		_, _ = rand.Read(b[:]) // never fails
		name = sess.Device.String() + "/" + hex.EncodeToString(b[:])
		cl.ID = name
		cl.Properties.Props.AssignedClientID = name
	}
	id, err := topic.ParseClientID(name)
	if err != nil {
		return err
	}
	if id.Device() != sess.Device {
		return fmt.Errorf("%w: client id %q is not %q's", topic.ErrInvalid, name, sess.Device)
	}
	user := string(pk.Connect.Username)
	if !sess.Device.IsZero() && user != sess.Device.String() && user != name {
		return fmt.Errorf("user name %.256q for %q: %w", user, sess.Device, packets.ErrBadUsernameOrPassword)
	}
	c.id = id
	return nil
}

// mayLeave is the only permission for a last will, asked when it is left and
// again when it is sent. mochi asks for none.
func mayLeave(w mqtt.Will, sess Standing) bool {
	n, err := topic.ParseName(w.TopicName)
	if err != nil || sess.Device.IsZero() || topic.IsReserved(n.Filter()) || w.Retain {
		return false
	}
	return sess.Permissions.AllowsPublish(n)
}

// OnConnectAuthenticate allows whom OnConnect admitted: mochi asks twice.
func (h *hook) OnConnectAuthenticate(cl *mqtt.Client, _ packets.Packet) bool {
	c := connOf(cl)
	return c != nil && c.session.Load() != nil
}

// OnACLCheck is asked about publishing, subscribing and each delivery.
func (h *hook) OnACLCheck(cl *mqtt.Client, name string, write bool) bool {
	c := connOf(cl)
	switch {
	case c == nil || c.isEnding():
		return false
	case write:
		return c.mayPublish(name, c.retained)
	}
	return c.mayRead(name)
}

// OnAuthPacket refuses AUTH: no CONNECT with a method was admitted.
func (h *hook) OnAuthPacket(_ *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	return pk, packets.ErrProtocolViolation
}

// OnPacketRead notes what OnACLCheck isn't told, and bounds subscriptions.
func (h *hook) OnPacketRead(cl *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	c := connOf(cl)
	switch pk.FixedHeader.Type {
	case packets.Publish:
		c.retained = pk.FixedHeader.Retain
	case packets.Subscribe:
		if cl.State.Subscriptions.Len()+len(pk.Filters) > maxSubscriptions {
			c.end(ReasonQuota)
			return pk, packets.ErrRejectPacket
		}
	}
	return pk, nil
}

// OnPacketEncode tells a version 5 client of limits that mochi keeps to itself.
func (h *hook) OnPacketEncode(cl *mqtt.Client, pk packets.Packet) packets.Packet {
	c := connOf(cl)
	if c == nil || pk.FixedHeader.Type != packets.Connack || pk.ReasonCode != packets.CodeSuccess.Code {
		return pk
	}
	pk.Properties.MaximumPacketSize = uint32(c.limit())
	pk.Properties.RetainAvailable, pk.Properties.RetainAvailableFlag = 0, true
	if c.asksExpiry {
		pk.Properties.SessionExpiryInterval, pk.Properties.SessionExpiryIntervalFlag = 0, true
	}
	return pk
}

// OnPacketSent and OnPublishDropped count what push has under way.
func (h *hook) OnPacketSent(cl *mqtt.Client, pk packets.Packet, _ []byte) { h.pushEnded(cl, pk) }

// OnPublishDropped is called when a client's queue is full.
func (h *hook) OnPublishDropped(cl *mqtt.Client, pk packets.Packet) { h.pushEnded(cl, pk) }

func (h *hook) pushEnded(cl *mqtt.Client, pk packets.Packet) {
	if c := connOf(cl); c != nil && pk.FixedHeader.Type == packets.Publish && c.own(pk.TopicName) {
		c.pushDone()
	}
}

// OnPublish takes requests out of the stream: no subscriber sees them.
func (h *hook) OnPublish(cl *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	c := connOf(cl)
	if c == nil || pk.TopicName != c.id.Request().String() {
		return pk, nil
	}
	h.srv.request(c, pk.Payload)
	return pk, packets.CodeSuccessIgnore
}

// OnWill asks again; an empty topic has no subscribers. An error would let mochi
// send the will as it is.
func (h *hook) OnWill(cl *mqtt.Client, will mqtt.Will) (mqtt.Will, error) {
	if c := connOf(cl); c != nil {
		if sess := c.session.Load(); sess != nil && mayLeave(will, *sess) {
			return will, nil
		}
	}
	return mqtt.Will{}, nil
}
