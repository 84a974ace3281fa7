package mqttd

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/signetd/signet/broker/mqttd/packet"
	"github.com/signetd/signet/broker/mqttd/subscription"
	"github.com/signetd/signet/protocol/topic"
)

// subscribe answers a SUBSCRIBE (section 3.8), then sends what is retained for it.
func (c *conn) subscribe(p *packet.Subscribe) error {
	codes := make([]packet.Code, len(p.Filters))
	var retained []func()
	for i, f := range p.Filters {
		code, then, err := c.subscribeTo(f, p.SubscriptionID)
		if err != nil {
			return err
		}
		if codes[i] = code; then != nil {
			retained = append(retained, then)
		}
	}
	out := c.takes.AppendSuback(nil, p.ID, codes, "")
	if len(out) == 0 {
		return errTooFew
	}
	c.send(out)
	for _, send := range retained {
		send()
	}
	return nil
}

// errTooFew: an answer is longer than the client takes, and there is no shorter one.
var errTooFew = &packet.Error{Code: packet.PacketTooLarge, What: "a packet whose answer is longer than the client's Maximum Packet Size"}

// subscribeTo makes one subscription; then, which may be nil, sends what is retained for it.
func (c *conn) subscribeTo(f packet.Filter, identifier uint32) (code packet.Code, then func(), err error) {
	st := c.owned.Load()
	if own := c.own(f.Text); own != nil {
		st.mu.Lock()
		defer st.mu.Unlock()
		*own(st) = listening{on: true, identifier: identifier}
		return packet.GrantedQoS0, nil, nil // the server's own messages come at most once
	}
	sub, err := topic.ParseSubscription(f.Text)
	if err != nil {
		return c.refusal(packet.TopicFilterInvalid), nil, nil // longer or deeper than is served here: the codec has seen that it is one
	}
	if !mayRead(c.standing(), sub.Filter) {
		return c.refusal(packet.NotAuthorized), nil, nil
	}
	o := subscription.Options{
		QoS: f.QoS, NoLocal: f.NoLocal, RetainAsPublished: f.RetainAsPublished, RetainHandling: f.RetainHandling, Identifier: identifier,
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.over {
		return c.refusal(packet.UnspecifiedError), nil, nil
	}
	existed := c.srv.subscriptions.Add(&st.index, sub, o)
	if !existed && c.srv.subscriptions.Len() > c.srv.cfg.Subscriptions {
		c.srv.subscriptions.Remove(&st.index, sub)
		c.srv.cfg.OnBound(BoundSubscriptions)
		c.srv.told.Note(c.srv.ctx, slog.LevelWarn, "subscriptions", "mqtt subscription refused: there are too many in all",
			c.who("subscriptions", c.srv.cfg.Subscriptions)...)
		return c.refusal(packet.QuotaExceeded), nil, nil
	}
	if !existed && c.srv.subscriptions.Count(&st.index) > maxSubscriptions {
		c.srv.subscriptions.Remove(&st.index, sub)
		return 0, nil, &packet.Error{Code: packet.QuotaExceeded, What: fmt.Sprintf("more than %d subscriptions", maxSubscriptions)}
	}
	if sub.Group == "" && (o.RetainHandling == 0 || o.RetainHandling == 1 && !existed) {
		then = func() { c.sendRetained(sub.Filter, o) }
	}
	return packet.Code(f.QoS), then, nil
}

// refusal is the code that refuses a subscription; MQTT 3.1.1 has one.
func (c *conn) refusal(code packet.Code) packet.Code {
	if c.takes.Version < packet.V5 {
		return packet.UnspecifiedError
	}
	return code
}

// own gives which of the client's own two topics a filter is, nil for neither.
func (c *conn) own(filter string) func(*state) *listening {
	switch {
	case c.request.IsZero():
	case filter == c.replyTopic():
		return replies
	case filter == c.eventTopic():
		return events
	}
	return nil
}

// sendRetained sends what is retained for a new subscription (section 3.3.1.3).
func (c *conn) sendRetained(f topic.Filter, o subscription.Options) {
	st := c.owned.Load()
	st.mu.Lock()
	defer st.mu.Unlock()
	st.owe(f, o)
	st.pump(time.Now())
}

// unsubscribe answers an UNSUBSCRIBE (section 3.10).
func (c *conn) unsubscribe(p *packet.Unsubscribe) error {
	st := c.owned.Load()
	codes := make([]packet.Code, len(p.Filters))
	st.mu.Lock()
	for i, text := range p.Filters {
		if !st.unsubscribe(c, text) {
			codes[i] = packet.NoSubscriptionExisted
		}
	}
	st.mu.Unlock()
	out := c.takes.AppendUnsuback(nil, p.ID, codes, "")
	if len(out) == 0 {
		return errTooFew
	}
	c.send(out)
	return nil
}

// unsubscribe ends one subscription; false if there was none. st.mu is held.
func (st *state) unsubscribe(c *conn, text string) bool {
	if own := c.own(text); own != nil {
		had := own(st).on
		*own(st) = listening{}
		return had
	}
	sub, err := topic.ParseSubscription(text)
	if err != nil {
		return false
	}
	if sub.Group == "" {
		st.forgive(sub.Filter)
	}
	return st.srv.subscriptions.Remove(&st.index, sub)
}

// isAway reports whether its client has no connection.
func (st *state) isAway() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.conn == nil
}
