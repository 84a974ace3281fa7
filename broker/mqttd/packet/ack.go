package packet

// An Ack is a PUBACK, PUBREC, PUBREL or PUBCOMP (sections 3.4 to 3.7). Its Code is Success in MQTT 3.1.1.
type Ack struct {
	ID   uint16
	Code Code
}

// place is where an acknowledgement's properties and codes stand.
func (t Type) place() place {
	switch t {
	case PUBACK:
		return inPuback
	case PUBREC:
		return inPubrec
	case PUBREL:
		return inPubrel
	case PUBCOMP:
		return inPubcomp
	case SUBACK:
		return inSuback
	case UNSUBACK:
		return inUnsuback
	}
	return 0
}

// ParseAck reads the body of a PUBACK, PUBREC, PUBREL or PUBCOMP.
func ParseAck(v Version, t Type, body []byte) (Ack, error) {
	in := cursor{b: body, of: t}
	a := Ack{ID: in.packetID()}
	if v == V5 && len(in.b) > 0 {
		a.Code = in.code(t.place())
		in.onlyProperties(t.place())
	}
	in.end()
	if in.err != nil {
		return Ack{}, in.err
	}
	return a, nil
}

// code reads a reason code.
func (c *cursor) code(in place) Code {
	code := Code(c.byte())
	if c.err == nil && (int(code) >= len(codes) || codes[code].in&in == 0) {
		c.fail(protocolError("%v with the reason code %#02x, which it does not have", c.of, byte(code)))
	}
	return code
}

// onlyProperties checks properties that may be left out, together with their length, and of
// which none is kept.
func (c *cursor) onlyProperties(in place) {
	if c.err != nil || len(c.b) == 0 {
		return
	}
	r := c.properties(in)
	for _, ok := r.next(); ok; _, ok = r.next() {
	}
	c.join(&r)
}

// join takes over the error of r.
func (c *cursor) join(r *propertyReader) {
	if r.err != nil {
		c.fail(r.err)
	}
}

// AppendAck appends a PUBACK, PUBREC, PUBREL or PUBCOMP. In MQTT 3.1.1 code and reason are left
// out; in MQTT 5 what is Success, or empty.
func AppendAck(dst []byte, v Version, t Type, id uint16, code Code, reason string) []byte {
	n := 2
	switch {
	case v != V5 || code == Success && reason == "":
	case reason == "":
		n = 3
	default:
		n = 3 + reasonLen(reason)
	}
	dst = appendHeader(dst, t, t.flags(), n)
	dst = append(dst, byte(id>>8), byte(id))
	if n > 2 {
		dst = append(dst, byte(code))
	}
	if n > 3 {
		dst = appendReason(dst, reason)
	}
	return dst
}

// appendReason appends properties that are a Reason String, or none when it is empty.
func appendReason(dst []byte, reason string) []byte {
	if reason == "" {
		return append(dst, 0)
	}
	return appendString(appendVarint(dst, 1+textLen(reason)), reasonString, reason)
}

// reasonLen is what appendReason appends.
func reasonLen(reason string) int {
	if reason == "" {
		return 1
	}
	n := 1 + textLen(reason)
	return varintLen(n) + n
}
