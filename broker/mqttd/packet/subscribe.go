package packet

import (
	"errors"
	"fmt"

	"github.com/signetd/signet/protocol/topic"
)

// Options are what a subscription asks for (section 3.8.3.1). MQTT 3.1.1 has nothing but the QoS.
type Options struct {
	QoS               byte
	NoLocal           bool
	RetainAsPublished bool
	RetainHandling    byte // 0: send retained messages; 1: only if the subscription is new; 2: do not
}

// A Filter is one subscription of a SUBSCRIBE. Its Text is a topic filter by MQTT's rules; it may be
// beyond Signet's limits (topic.ErrLimit), which is for the SUBACK to say.
type Filter struct {
	Text string
	Options
}

// A Subscribe is a SUBSCRIBE (section 3.8). User properties are checked and not kept.
type Subscribe struct {
	ID             uint16
	SubscriptionID uint32 // 0: none
	Filters        []Filter
}

// An Unsubscribe is an UNSUBSCRIBE (section 3.10).
type Unsubscribe struct {
	ID      uint16
	Filters []string
}

// ParseSubscribe reads the body of a SUBSCRIBE of at most maxFilters filters; with more, the error's
// code is QuotaExceeded.
func ParseSubscribe(v Version, body []byte, maxFilters int) (*Subscribe, error) {
	in := cursor{b: body, of: SUBSCRIBE}
	s := &Subscribe{ID: in.packetID()}
	if v == V5 {
		r := in.properties(inSubscribe)
		for p, ok := r.next(); ok; p, ok = r.next() {
			if p.id == subscriptionIdentifier {
				s.SubscriptionID = p.n
			}
		}
		in.join(&r)
	}
	for in.moreFilters(len(s.Filters), maxFilters) {
		f := Filter{Text: in.filter()}
		f.Options = in.options(v, f.Text)
		s.Filters = append(s.Filters, f)
	}
	if in.err != nil {
		return nil, in.err
	}
	return s, nil
}

// moreFilters reports whether another filter follows n: there is one, and at most most.
func (c *cursor) moreFilters(n, most int) bool {
	switch {
	case c.err != nil:
	case len(c.b) == 0 && n == 0:
		c.fail(protocolError("%v without a filter", c.of))
	case len(c.b) > 0 && n == most:
		c.fail(&Error{QuotaExceeded, fmt.Sprintf("%v with more than %d filters", c.of, most)})
	}
	return c.err == nil && len(c.b) > 0
}

func (c *cursor) filter() string {
	text := string(c.name())
	if c.err != nil {
		return ""
	}
	if _, err := topic.ParseSubscription(text); err != nil && !errors.Is(err, topic.ErrLimit) {
		c.fail(malformed("%v with a filter that is none: %v", c.of, err))
	}
	return text
}

// options reads the subscription options of a filter.
func (c *cursor) options(v Version, filter string) Options {
	b := c.byte()
	o := Options{QoS: b & 3, NoLocal: b&4 != 0, RetainAsPublished: b&8 != 0, RetainHandling: b >> 4 & 3}
	switch {
	case c.err != nil:
	case v == V311 && b > 2:
		c.fail(malformed("SUBSCRIBE that asks for the QoS %#x", b))
	case b&0xc0 != 0:
		c.fail(malformed("SUBSCRIBE with the options %#x, of which two bits are reserved", b))
	case o.QoS == 3:
		c.fail(protocolError("SUBSCRIBE that asks for QoS 3"))
	case o.RetainHandling == 3:
		c.fail(protocolError("SUBSCRIBE with a Retain Handling of 3"))
	case o.NoLocal && topic.IsShared(filter):
		c.fail(protocolError("SUBSCRIBE with No Local on a shared subscription"))
	}
	return o
}

// ParseUnsubscribe reads the body of an UNSUBSCRIBE of at most maxFilters filters; with more, the
// error's code is QuotaExceeded.
func ParseUnsubscribe(v Version, body []byte, maxFilters int) (*Unsubscribe, error) {
	in := cursor{b: body, of: UNSUBSCRIBE}
	u := &Unsubscribe{ID: in.packetID()}
	if v == V5 {
		in.mustProperties(inUnsubscribe)
	}
	for in.moreFilters(len(u.Filters), maxFilters) {
		u.Filters = append(u.Filters, in.filter())
	}
	if in.err != nil {
		return nil, in.err
	}
	return u, nil
}

// A Suback is a SUBACK or UNSUBACK (sections 3.9, 3.11): a code for each filter, in their order. An
// UNSUBACK of MQTT 3.1.1 has none.
type Suback struct {
	ID    uint16
	Codes []Code
}

// ParseSuback reads the body of a SUBACK.
func ParseSuback(v Version, body []byte) (*Suback, error) { return parseSuback(v, SUBACK, body) }

// ParseUnsuback reads the body of an UNSUBACK.
func ParseUnsuback(v Version, body []byte) (*Suback, error) { return parseSuback(v, UNSUBACK, body) }

func parseSuback(v Version, t Type, body []byte) (*Suback, error) {
	in := cursor{b: body, of: t}
	s := &Suback{ID: in.packetID()}
	if v == V5 {
		in.mustProperties(t.place())
	}
	coded := v == V5 || t == SUBACK
	if in.err == nil && coded && len(in.b) == 0 {
		in.fail(protocolError("%v without a code", t))
	}
	for coded && in.err == nil && len(in.b) > 0 {
		code := in.code(t.place())
		if in.err == nil && v == V311 && code > GrantedQoS2 && code != UnspecifiedError {
			in.fail(malformed("%v with the return code %#02x", t, byte(code)))
		}
		s.Codes = append(s.Codes, code)
	}
	in.end()
	if in.err != nil {
		return nil, in.err
	}
	return s, nil
}

// mustProperties checks properties of which none is kept.
func (c *cursor) mustProperties(in place) {
	if c.err == nil && len(c.b) == 0 {
		c.take(1)
	}
	c.onlyProperties(in)
}

// AppendSubscribe appends a SUBSCRIBE.
func AppendSubscribe(dst []byte, v Version, s *Subscribe) []byte {
	var properties []byte
	if s.SubscriptionID != 0 {
		properties = appendNumber(properties, subscriptionIdentifier, s.SubscriptionID)
	}
	body := []byte{byte(s.ID >> 8), byte(s.ID)}
	if v == V5 {
		body = appendBlock(body, properties)
	}
	for _, f := range s.Filters {
		body = append(appendText(body, f.Text), f.encoded(v))
	}
	return append(appendHeader(dst, SUBSCRIBE, SUBSCRIBE.flags(), len(body)), body...)
}

func (o Options) encoded(v Version) byte {
	b := o.QoS
	if v != V5 {
		return b
	}
	if o.NoLocal {
		b |= 4
	}
	if o.RetainAsPublished {
		b |= 8
	}
	return b | o.RetainHandling<<4
}

// AppendUnsubscribe appends an UNSUBSCRIBE.
func AppendUnsubscribe(dst []byte, v Version, u *Unsubscribe) []byte {
	body := []byte{byte(u.ID >> 8), byte(u.ID)}
	if v == V5 {
		body = append(body, 0)
	}
	for _, f := range u.Filters {
		body = appendText(body, f)
	}
	return append(appendHeader(dst, UNSUBSCRIBE, UNSUBSCRIBE.flags(), len(body)), body...)
}

// AppendSuback appends a SUBACK. MQTT 3.1.1 has one code for all failures, and no reason.
func AppendSuback(dst []byte, v Version, id uint16, codes []Code, reason string) []byte {
	return appendSuback(dst, v, SUBACK, id, codes, reason)
}

// AppendUnsuback appends an UNSUBACK. MQTT 3.1.1 has no codes in it, and no reason.
func AppendUnsuback(dst []byte, v Version, id uint16, codes []Code, reason string) []byte {
	if v != V5 {
		codes = nil
	}
	return appendSuback(dst, v, UNSUBACK, id, codes, reason)
}

func appendSuback(dst []byte, v Version, t Type, id uint16, codes []Code, reason string) []byte {
	n := 2 + len(codes)
	if v == V5 {
		n += reasonLen(reason)
	}
	dst = appendHeader(dst, t, 0, n)
	dst = append(dst, byte(id>>8), byte(id))
	if v == V5 {
		dst = appendReason(dst, reason)
	}
	for _, c := range codes {
		if v != V5 && c.Failed() {
			c = UnspecifiedError
		}
		dst = append(dst, byte(c))
	}
	return dst
}
