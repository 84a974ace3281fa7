package packet

import "bytes"

// A Disconnect is a DISCONNECT (section 3.14). In MQTT 3.1.1 only clients send one, and it is empty.
// User properties are checked and not kept.
type Disconnect struct {
	Code            Code
	HasExpiry       bool   // from clients only
	Expiry          uint32 // of the session, in seconds
	Reason          string
	ServerReference string // from servers only
}

// ParseDisconnect reads the body of a DISCONNECT from a client.
func ParseDisconnect(v Version, body []byte) (Disconnect, error) {
	return parseDisconnect(v, body, inDisconnect)
}

// ParseDisconnectFromServer reads the body of a DISCONNECT from a server, of MQTT 5.
func ParseDisconnectFromServer(body []byte) (Disconnect, error) {
	return parseDisconnect(V5, body, inServerDisconnect)
}

func parseDisconnect(v Version, body []byte, from place) (Disconnect, error) {
	in := cursor{b: body, of: DISCONNECT}
	var d Disconnect
	if v == V5 && len(in.b) > 0 {
		d.Code = in.code(from)
	}
	if v == V5 && len(in.b) > 0 {
		r := in.properties(from)
		for p, ok := r.next(); ok; p, ok = r.next() {
			switch p.id {
			case sessionExpiry:
				d.HasExpiry, d.Expiry = true, p.n
			case reasonString:
				d.Reason = string(p.b)
			case serverReference:
				d.ServerReference = string(p.b)
			}
		}
		in.join(&r)
	}
	in.end()
	if in.err != nil {
		return Disconnect{}, in.err
	}
	return d, nil
}

// AppendDisconnect appends a DISCONNECT, in MQTT 3.1.1 an empty one. In MQTT 5 only a normal
// disconnection without properties is empty: some clients pass over a code that no properties follow.
func AppendDisconnect(dst []byte, v Version, d Disconnect) []byte {
	if v != V5 || d == (Disconnect{}) {
		return appendHeader(dst, DISCONNECT, 0, 0)
	}
	var properties []byte
	if d.HasExpiry {
		properties = appendNumber(properties, sessionExpiry, d.Expiry)
	}
	if d.Reason != "" {
		properties = appendString(properties, reasonString, d.Reason)
	}
	if d.ServerReference != "" {
		properties = appendString(properties, serverReference, d.ServerReference)
	}
	dst = appendHeader(dst, DISCONNECT, 0, 1+varintLen(len(properties))+len(properties))
	return appendBlock(append(dst, byte(d.Code)), properties)
}

// An Auth is an AUTH (section 3.15), of MQTT 5 only. User properties are checked and not kept.
type Auth struct {
	Code   Code
	Method string
	Data   []byte
	Reason string
}

// ParseAuth reads the body of an AUTH from a client.
func ParseAuth(body []byte) (*Auth, error) { return parseAuth(body, inAuth) }

// ParseAuthFromServer reads the body of an AUTH from a server. An empty one says that a
// re-authentication succeeded.
func ParseAuthFromServer(body []byte) (*Auth, error) { return parseAuth(body, inServerAuth) }

func parseAuth(body []byte, from place) (*Auth, error) {
	in := cursor{b: body, of: AUTH}
	a := &Auth{}
	if len(body) == 0 && from == inServerAuth {
		return a, nil
	}
	hasMethod := false
	if len(body) == 0 {
		in.fail(protocolError("AUTH from a client that says success"))
	}
	a.Code = in.code(from)
	r := in.properties(from)
	for p, ok := r.next(); ok; p, ok = r.next() {
		switch p.id {
		case authMethod:
			hasMethod, a.Method = true, string(p.b)
		case authData:
			a.Data = bytes.Clone(p.b)
		case reasonString:
			a.Reason = string(p.b)
		}
	}
	in.join(&r)
	if in.err == nil && !hasMethod {
		in.fail(protocolError("AUTH without an Authentication Method"))
	}
	in.end()
	if in.err != nil {
		return nil, in.err
	}
	return a, nil
}

// AppendAuth appends an AUTH.
func AppendAuth(dst []byte, a *Auth) []byte {
	properties := appendAuthProperties(nil, true, a.Method, a.Data)
	if a.Reason != "" {
		properties = appendString(properties, reasonString, a.Reason)
	}
	dst = appendHeader(dst, AUTH, 0, 1+varintLen(len(properties))+len(properties))
	return appendBlock(append(dst, byte(a.Code)), properties)
}

// appendAuthProperties appends method and data; the data only with a method, and if there is any.
func appendAuthProperties(dst []byte, hasMethod bool, method string, data []byte) []byte {
	if !hasMethod {
		return dst
	}
	dst = appendString(dst, authMethod, method)
	if len(data) > 0 {
		dst = appendString(dst, authData, data)
	}
	return dst
}

// AppendPingreq appends a PINGREQ.
func AppendPingreq(dst []byte) []byte { return appendHeader(dst, PINGREQ, 0, 0) }

// AppendPingresp appends a PINGRESP.
func AppendPingresp(dst []byte) []byte { return appendHeader(dst, PINGRESP, 0, 0) }
