package packet

import (
	"bytes"
	"math"
	"reflect"
	"regexp"
	"testing"

	"github.com/eclipse/paho.golang/packets"
)

// stricter are the reasons why this package refuses what paho.golang's takes, by the Error's words.
// What is refused in other words must be refused by both.
var stricter = map[string]*regexp.Regexp{
	"it checks no flags of the fixed header":         regexp.MustCompile(`with the flags|PUBLISH with QoS`),
	"it checks no lengths for being the shortest":    regexp.MustCompile(`than it needs|more than 4 bytes`),
	"it skips what is left over":                     regexp.MustCompile(`after its end|it has none`),
	"it reads binary and text of any bytes":          regexp.MustCompile(`not UTF-8|control character`),
	"it takes identifiers of 0":                      regexp.MustCompile(`packet identifier 0`),
	"it takes a property any number of times":        regexp.MustCompile(`a second `),
	"it knows no sides":                              regexp.MustCompile(`not this side's|from a client`),
	"it takes a will's properties for a CONNECT's":   regexp.MustCompile(`CONNECT with a .* does not have`),
	"it takes properties of any value":               regexp.MustCompile(`want 0 or 1| is 0$|Response Topic is empty`),
	"it takes any reason code":                       regexp.MustCompile(`reason code 0x`),
	"it checks no flags of a CONNECT or CONNACK":     regexp.MustCompile(`reserved flag|will has QoS 3|flags of a will|session present`),
	"it takes any protocol":                          regexp.MustCompile(`another protocol`),
	"it takes any topic":                             regexp.MustCompile(`topic has a wildcard|no topic, or one with|neither a topic`),
	"it takes what lacks a part":                     regexp.MustCompile(`without a filter|filter that is none|without a code|no Authentication Method|without an Authentication Method`),
	"it has no limits":                               regexp.MustCompile(`more than \d+ filters`),
	"it checks no subscription options":              regexp.MustCompile(`two bits are reserved|for QoS 3|Retain Handling of 3|No Local`),
	"it reads past the end of properties with zeros": regexp.MustCompile(`ends inside a field`), // of a property length too long, or left out
}

// FuzzAgainstPaho: what this package takes of MQTT 5, paho.golang's takes for the same.
func FuzzAgainstPaho(f *testing.F) {
	for _, b := range seeds() {
		f.Add(false, b)
		f.Add(true, b)
	}
	f.Fuzz(func(t *testing.T, fromServer bool, b []byte) {
		h, n, err := ReadHeader(b)
		if err == nil && (n == 0 || len(b) < n+h.Length) || len(b) > 1<<16 {
			return
		}
		var ours any
		if err == nil {
			b = b[:n+h.Length]
			ours, err = read(V5, side(fromServer), b)
		} else if len(b) < 2 || b[1] >= 0x80 {
			return // paho makes room for any length, however it is written
		}
		if h.Type == CONNECT && len(b) > n+6 && b[n+6] == byte(V311) {
			return // a version that paho's does not have
		}
		theirs, refused := packets.ReadPacket(bytes.NewReader(b))
		switch {
		case err != nil && refused == nil:
			if !excused(err) {
				t.Errorf("%x: %v, and paho takes it as %v", b, err, theirs)
			}
		case err == nil && refused != nil:
			if h.Type != DISCONNECT || h.Length != 0 { // which says that all is well
				t.Errorf("%x: taken as %#v, and paho says %v", b, ours, refused)
			}
		case err == nil:
			got, want := asPaho(t, h.Type, ours), theirs.Content
			normal(got)
			normal(want)
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%x\nread as %#v\nwhich is %v\npaho says %v", b, ours, got, want)
			}
		}
	})
}

// takenByPaho reports whether paho reads a packet from b.
func takenByPaho(b []byte) bool {
	_, err := packets.ReadPacket(bytes.NewReader(b))
	return err == nil
}

func excused(err error) bool {
	text := err.(*Error).What
	for _, r := range stricter {
		if r.MatchString(text) {
			return true
		}
	}
	return false
}

func ptr[T any](v T) *T { return &v }

// some is nil where said is false.
func some[T any](v T, said bool) *T {
	if said {
		return &v
	}
	return nil
}

// asPaho is a packet as paho has it.
func asPaho(t *testing.T, kind Type, p any) packets.Packet {
	switch p := p.(type) {
	case *Connect:
		c := &packets.Connect{
			ProtocolName: "MQTT", ProtocolVersion: byte(p.Version), CleanStart: p.CleanStart, KeepAlive: p.KeepAlive, ClientID: p.ClientID,
			UsernameFlag: p.HasUserName, Username: p.UserName, PasswordFlag: p.HasPassword, Password: p.Password,
			Properties: &packets.Properties{
				SessionExpiryInterval: some(p.SessionExpiry, p.HasSessionExpiry), ReceiveMaximum: ptr(p.ReceiveMaximum),
				MaximumPacketSize: some(p.MaximumPacketSize, p.MaximumPacketSize > 0), TopicAliasMaximum: ptr(p.TopicAliasMaximum),
				RequestResponseInfo: some(byte(1), p.RequestResponseInformation), RequestProblemInfo: some(byte(0), !p.RequestProblemInformation),
				AuthMethod: p.AuthMethod, AuthData: p.AuthData,
			},
		}
		if w := p.Will; w != nil {
			c.WillFlag, c.WillQOS, c.WillRetain, c.WillTopic, c.WillMessage = true, w.QoS, w.Retain, w.Topic, w.Payload
			c.WillProperties = forwardedAs(t, w.Forward)
			c.WillProperties.WillDelayInterval, c.WillProperties.MessageExpiry = ptr(w.Delay), some(w.Expiry, w.HasExpiry)
		}
		return c
	case *Connack:
		return &packets.Connack{SessionPresent: p.SessionPresent, ReasonCode: byte(p.Code), Properties: &packets.Properties{
			SessionExpiryInterval: some(p.SessionExpiry, p.HasSessionExpiry), ReceiveMaximum: some(p.ReceiveMaximum, p.ReceiveMaximum > 0),
			MaximumQOS: some(p.MaximumQoS, p.HasMaximumQoS), RetainAvailable: some(byte(0), p.NoRetain), MaximumPacketSize: some(p.MaximumPacketSize, p.MaximumPacketSize > 0),
			AssignedClientID: p.AssignedClientID, TopicAliasMaximum: ptr(p.TopicAliasMaximum), ReasonString: p.Reason, WildcardSubAvailable: some(byte(0), p.NoWildcards),
			SubIDAvailable: some(byte(0), p.NoSubscriptionIDs), SharedSubAvailable: some(byte(0), p.NoShared), ServerKeepAlive: some(p.ServerKeepAlive, p.HasServerKeepAlive),
			ResponseInfo: p.ResponseInformation, ServerReference: p.ServerReference, AuthMethod: p.AuthMethod, AuthData: p.AuthData,
		}}
	case *Publish:
		properties := forwardedAs(t, p.Forward)
		properties.MessageExpiry, properties.TopicAlias = some(p.Expiry, p.HasExpiry), some(p.Alias, p.Alias > 0)
		if n := len(p.SubscriptionIDs); n > 0 {
			properties.SubscriptionIdentifier = ptr(int(p.SubscriptionIDs[n-1])) // it keeps the last
		}
		return &packets.Publish{Topic: string(p.Topic), PacketID: p.ID, QoS: p.QoS, Duplicate: p.Dup, Retain: p.Retain, Payload: p.Payload, Properties: properties}
	case Ack:
		switch none := (&packets.Properties{}); kind {
		case PUBACK:
			return &packets.Puback{PacketID: p.ID, ReasonCode: byte(p.Code), Properties: none}
		case PUBREC:
			return &packets.Pubrec{PacketID: p.ID, ReasonCode: byte(p.Code), Properties: none}
		case PUBREL:
			return &packets.Pubrel{PacketID: p.ID, ReasonCode: byte(p.Code), Properties: none}
		default:
			return &packets.Pubcomp{PacketID: p.ID, ReasonCode: byte(p.Code), Properties: none}
		}
	case *Subscribe:
		s := &packets.Subscribe{PacketID: p.ID, Properties: &packets.Properties{SubscriptionIdentifier: some(int(p.SubscriptionID), p.SubscriptionID > 0)}}
		for _, f := range p.Filters {
			s.Subscriptions = append(s.Subscriptions, packets.SubOptions{Topic: f.Text, QoS: f.QoS, NoLocal: f.NoLocal, RetainAsPublished: f.RetainAsPublished, RetainHandling: f.RetainHandling})
		}
		return s
	case *Unsubscribe:
		return &packets.Unsubscribe{PacketID: p.ID, Topics: p.Filters, Properties: &packets.Properties{}}
	case *Suback:
		var reasons []byte
		for _, c := range p.Codes {
			reasons = append(reasons, byte(c))
		}
		if kind == UNSUBACK {
			return &packets.Unsuback{PacketID: p.ID, Reasons: reasons, Properties: &packets.Properties{}}
		}
		return &packets.Suback{PacketID: p.ID, Reasons: reasons, Properties: &packets.Properties{}}
	case Disconnect:
		return &packets.Disconnect{ReasonCode: byte(p.Code), Properties: &packets.Properties{
			SessionExpiryInterval: some(p.Expiry, p.HasExpiry), ReasonString: p.Reason, ServerReference: p.ServerReference}}
	case *Auth:
		return &packets.Auth{ReasonCode: byte(p.Code), Properties: &packets.Properties{AuthMethod: p.Method, AuthData: p.Data, ReasonString: p.Reason}}
	}
	if kind == PINGREQ {
		return &packets.Pingreq{}
	}
	return &packets.Pingresp{}
}

// forwardedAs are forwarded properties as paho reads them.
func forwardedAs(t *testing.T, forward []byte) *packets.Properties {
	p := &packets.Properties{}
	if err := p.Unpack(bytes.NewBuffer(appendBlock(nil, forward)), packets.PUBLISH); err != nil {
		t.Errorf("%x: %v", forward, err)
	}
	return p
}

// normal makes one of the ways to say a thing of those that mean the same, and drops what this package does not keep.
func normal(p packets.Packet) {
	switch p := p.(type) {
	case *packets.Connect:
		normalProperties(p.Properties, false, true)
		if p.WillProperties != nil {
			normalProperties(p.WillProperties, true, true)
		}
		p.Password, p.WillMessage = notNil(p.Password), notNil(p.WillMessage)
	case *packets.Connack:
		normalProperties(p.Properties, false, true)
	case *packets.Publish:
		normalProperties(p.Properties, true, true)
		p.Payload = notNil(p.Payload)
	case *packets.Puback:
		normalProperties(p.Properties, false, false)
	case *packets.Pubrec:
		normalProperties(p.Properties, false, false)
	case *packets.Pubrel:
		normalProperties(p.Properties, false, false)
	case *packets.Pubcomp:
		normalProperties(p.Properties, false, false)
	case *packets.Subscribe:
		normalProperties(p.Properties, false, false)
	case *packets.Suback:
		normalProperties(p.Properties, false, false)
	case *packets.Unsubscribe:
		normalProperties(p.Properties, false, false)
	case *packets.Unsuback:
		normalProperties(p.Properties, false, false)
	case *packets.Disconnect:
		normalProperties(p.Properties, false, true)
	case *packets.Auth:
		normalProperties(p.Properties, false, true)
	}
}

func normalProperties(p *packets.Properties, user, reason bool) {
	if !user {
		p.User = nil
	}
	if !reason {
		p.ReasonString = ""
	}
	p.CorrelationData, p.AuthData = notNil(p.CorrelationData), notNil(p.AuthData)
	absent(&p.ReceiveMaximum, math.MaxUint16)
	absent(&p.TopicAliasMaximum, 0)
	absent(&p.RequestResponseInfo, 0)
	absent(&p.RequestProblemInfo, 1)
	absent(&p.WillDelayInterval, 0)
	absent(&p.RetainAvailable, 1)
	absent(&p.WildcardSubAvailable, 1)
	absent(&p.SubIDAvailable, 1)
	absent(&p.SharedSubAvailable, 1)
}

// absent leaves out a value that says what its absence does.
func absent[T comparable](p **T, v T) {
	if *p != nil && **p == v {
		*p = nil
	}
}

func notNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
