package packet

// A Description is what there is to see of a packet without what it carries: of passwords and
// authentication data nothing, of a payload where it lies.
type Description struct {
	Type        Type
	ID          uint16 // packet identifier; 0: it has none
	QoS         byte   // of a PUBLISH, like the next two
	Dup, Retain bool
	Topic       string   // of a PUBLISH, or a CONNECT's will; empty where an alias stands for it
	Alias       uint16   // of a PUBLISH; 0: none
	Filters     []string // of a SUBSCRIBE or UNSUBSCRIBE
	Codes       []Code   // that it says, if any; of a SUBACK one for each filter
	Properties  []string // their names in the standard, each once; none in MQTT 3.1.1
	ClientID    string   // of a CONNECT
	Payload     []byte   // of a PUBLISH: a slice of the body
}

// Describe describes a packet that the client sent, or the server. The error is that of the
// packet's own parser; the Description then has its Type, and maybe more.
func Describe(v Version, fromServer bool, h Header, body []byte) (d Description, err error) {
	d.Type = h.Type
	in := cursor{b: body, of: h.Type}
	switch h.Type {
	case CONNECT:
		return d, d.connect(body)
	case CONNACK:
		a, err := ParseConnack(v, body)
		if err != nil {
			return d, err
		}
		d.Codes = []Code{a.Code}
		in.take(2)
		d.named(v, &in, inConnack)
	case PUBLISH:
		return d, d.publish(v, fromServer, h, body)
	case PUBACK, PUBREC, PUBREL, PUBCOMP:
		a, err := ParseAck(v, h.Type, body)
		if err != nil {
			return d, err
		}
		d.ID = a.ID
		if v == V5 {
			d.Codes = []Code{a.Code}
		}
		in.take(min(3, len(body)))
		d.named(v, &in, h.Type.place())
	case SUBSCRIBE:
		s, err := ParseSubscribe(v, body, len(body))
		if err != nil {
			return d, err
		}
		d.ID = s.ID
		for _, f := range s.Filters {
			d.Filters = append(d.Filters, f.Text)
		}
		in.take(2)
		d.named(v, &in, inSubscribe)
	case UNSUBSCRIBE:
		u, err := ParseUnsubscribe(v, body, len(body))
		if err != nil {
			return d, err
		}
		d.ID, d.Filters = u.ID, u.Filters
		in.take(2)
		d.named(v, &in, inUnsubscribe)
	case SUBACK, UNSUBACK:
		parse := ParseSuback
		if h.Type == UNSUBACK {
			parse = ParseUnsuback
		}
		a, err := parse(v, body)
		if err != nil {
			return d, err
		}
		d.ID, d.Codes = a.ID, a.Codes
		in.take(2)
		d.named(v, &in, h.Type.place())
	case DISCONNECT, AUTH:
		return d, d.last(v, fromServer, &in)
	}
	return d, nil
}

// named keeps the names of the properties that in goes on with, if any; they were checked.
func (d *Description) named(v Version, in *cursor, at place) {
	if v != V5 || len(in.b) == 0 || in.err != nil {
		return
	}
	r := in.properties(at)
	for _, ok := r.next(); ok; _, ok = r.next() {
	}
	for id, p := range properties {
		if p.form != 0 && r.seen>>id&1 == 1 {
			d.Properties = append(d.Properties, p.name)
		}
	}
}

func (d *Description) connect(body []byte) error {
	c, err := ParseConnect(body)
	if err != nil {
		return err
	}
	if d.ClientID = c.ClientID; c.Will != nil {
		d.Topic = c.Will.Topic
	}
	in := cursor{b: body, of: CONNECT}
	in.take(2 + len("MQTT") + 1 + 1 + 2)
	d.named(c.Version, &in, inConnect)
	return nil
}

func (d *Description) publish(v Version, fromServer bool, h Header, body []byte) error {
	var p Publish
	parse, at := p.Parse, inPublish
	if fromServer {
		parse, at = p.ParseFromServer, inServerPublish
	}
	if err := parse(v, h.Flags, body); err != nil {
		return err
	}
	d.ID, d.QoS, d.Dup, d.Retain, d.Topic, d.Alias, d.Payload = p.ID, p.QoS, p.Dup, p.Retain, string(p.Topic), p.Alias, p.Payload
	in := cursor{b: body, of: PUBLISH}
	in.name()
	if p.QoS > 0 {
		in.take(2)
	}
	d.named(v, &in, at)
	return nil
}

// last describes a DISCONNECT or an AUTH.
func (d *Description) last(v Version, fromServer bool, in *cursor) error {
	at := inDisconnect
	var err error
	switch {
	case d.Type == AUTH && fromServer:
		at = inServerAuth
		_, err = ParseAuthFromServer(in.b)
	case d.Type == AUTH:
		at = inAuth
		_, err = ParseAuth(in.b)
	case fromServer:
		at = inServerDisconnect
		_, err = ParseDisconnectFromServer(in.b)
	default:
		_, err = ParseDisconnect(v, in.b)
	}
	if err != nil || v != V5 {
		return err
	}
	code := Success
	if len(in.b) > 0 {
		code = Code(in.byte())
	}
	d.Codes = []Code{code}
	d.named(v, in, at)
	return nil
}
