package packet

import (
	"bytes"
	"math"
	"reflect"
	"strings"
	"testing"
)

// again appends what was read.
func again(v Version, from side, h Header, p any) []byte {
	switch p := p.(type) {
	case *Connect:
		return AppendConnect(nil, p)
	case *Connack:
		return AppendConnack(nil, v, p)
	case *Publish:
		return AppendPublish(nil, v, p)
	case Ack:
		return AppendAck(nil, v, h.Type, p.ID, p.Code, "")
	case *Subscribe:
		return AppendSubscribe(nil, v, p)
	case *Unsubscribe:
		return AppendUnsubscribe(nil, v, p)
	case *Suback:
		if h.Type == UNSUBACK {
			return AppendUnsuback(nil, v, p.ID, p.Codes, "")
		}
		return AppendSuback(nil, v, p.ID, p.Codes, "")
	case Disconnect:
		return AppendDisconnect(nil, v, p)
	case *Auth:
		if reflect.DeepEqual(p, &Auth{}) {
			return []byte{byte(AUTH) << 4, 0}
		}
		return AppendAuth(nil, p)
	}
	if h.Type == PINGREQ {
		return AppendPingreq(nil)
	}
	return AppendPingresp(nil)
}

// plain is a packet without what only its parsing needs.
func plain(p any) any {
	if p, ok := p.(*Publish); ok {
		c := *p
		c.joined = nil
		if len(c.SubscriptionIDs) == 0 {
			c.SubscriptionIDs = nil
		}
		if len(c.Forward) == 0 {
			c.Forward = nil
		}
		return &c
	}
	if c, ok := p.(*Connect); ok && len(c.AuthData) == 0 {
		d := *c
		d.AuthData = nil
		return &d
	}
	if c, ok := p.(*Connack); ok && len(c.AuthData) == 0 {
		d := *c
		d.AuthData = nil
		return &d
	}
	if a, ok := p.(*Auth); ok && len(a.Data) == 0 {
		d := *a
		d.Data = nil
		return &d
	}
	return p
}

// sound are packets by who sends them, in their shortest form: what is read of one is appended as the same bytes.
func sound() map[side][]any {
	forward := appendNumber(nil, payloadFormat, 1)
	forward = appendString(forward, contentType, "text/plain")
	forward = appendString(forward, responseTopic, "devices/p/n/answers")
	forward = appendString(forward, correlationData, "\x00\x01\xff")
	for _, s := range []string{"", "again", "a\ufeff\ufffe"} {
		forward = appendText(appendString(forward, userProperty, s), s)
	}
	return map[side][]any{
		client: {
			&Connect{Version: V311, CleanStart: true, ReceiveMaximum: math.MaxUint16, RequestProblemInformation: true},
			&Connect{Version: V311, KeepAlive: 60, ClientID: "anon", HasUserName: true, UserName: "p:n", HasPassword: true, Password: []byte{0, 1},
				Will: &Will{Topic: "gone", Payload: []byte("x"), QoS: 1, Retain: true}, ReceiveMaximum: math.MaxUint16, RequestProblemInformation: true},
			&Connect{Version: V5, ReceiveMaximum: math.MaxUint16, RequestProblemInformation: true},
			&Connect{Version: V5, CleanStart: true, KeepAlive: math.MaxUint16, ClientID: "\ufeffa", HasPassword: true, Password: []byte{},
				Will:             &Will{Topic: "gone/é", Payload: []byte{}, QoS: 2, Delay: 9, HasExpiry: true, Forward: forward},
				HasSessionExpiry: true, SessionExpiry: math.MaxUint32, ReceiveMaximum: 1, MaximumPacketSize: 64, TopicAliasMaximum: 3,
				RequestResponseInformation: true, HasAuthMethod: true, AuthMethod: "SIGNET", AuthData: []byte{1, 0}},
			&Publish{Topic: []byte("a"), Payload: []byte{}},
			&Publish{Topic: []byte("a/b"), QoS: 1, ID: 1, Dup: true, Retain: true, Payload: []byte("hello")},
			&Publish{Topic: []byte(strings.Repeat("é", 100)), QoS: 2, ID: math.MaxUint16, Payload: bytes.Repeat([]byte{'x'}, 70000), HasExpiry: true, Expiry: 7, Alias: 9, Forward: forward},
			&Publish{Topic: []byte{}, Alias: 1, Payload: []byte("y")},
			&Subscribe{ID: 1, Filters: []Filter{{Text: "a/+/#", Options: Options{QoS: 2}}}},
			&Subscribe{ID: 258, SubscriptionID: MaxLength, Filters: []Filter{
				{"#", Options{QoS: 1, NoLocal: true}}, {"$share/g/a", Options{RetainAsPublished: true, RetainHandling: 2}}, {"b", Options{RetainHandling: 1}}}},
			&Unsubscribe{ID: 9, Filters: []string{"a", "b/#"}},
			Disconnect{}, Disconnect{Code: DisconnectWithWill, HasExpiry: true, Expiry: 60, Reason: "bye"},
			&Auth{Code: Reauthenticate, Method: "SIGNET"}, &Auth{Code: ContinueAuthentication, Method: "", Data: []byte{1}, Reason: "go on"},
		},
		server: {
			&Connack{}, &Connack{SessionPresent: true}, &Connack{Code: NotAuthorized}, &Connack{Code: ServerUnavailable},
			&Connack{HasSessionExpiry: true, SessionExpiry: 0, ReceiveMaximum: 8, HasMaximumQoS: true, MaximumQoS: 1, MaximumPacketSize: 100,
				AssignedClientID: "anon-1", TopicAliasMaximum: 4, Reason: "so", HasServerKeepAlive: true, ServerKeepAlive: 0, ResponseInformation: "devices/p/n",
				ServerReference: "elsewhere", HasAuthMethod: true, AuthMethod: "ace", AuthData: []byte{7}, NoRetain: true, NoWildcards: true, NoSubscriptionIDs: true, NoShared: true},
			&Publish{Topic: []byte("a"), QoS: 1, ID: 3, Payload: []byte("z"), SubscriptionIDs: []uint32{1, 128, MaxLength, 1}, HasExpiry: true, Alias: 2},
			&Suback{ID: 4, Codes: []Code{GrantedQoS0, GrantedQoS1, GrantedQoS2, UnspecifiedError}}, &Suback{ID: 5, Codes: []Code{WildcardSubscriptionsNotSupported}},
			Disconnect{Code: SessionTakenOver}, Disconnect{Code: UseAnotherServer, Reason: "there", ServerReference: "b"},
			&Auth{Code: ContinueAuthentication, Method: "SIGNET", Data: []byte{0}}, &Auth{Code: Success, Method: "SIGNET", Reason: "done"}, &Auth{},
		},
	}
}

// headerOf is the header that again needs to know of a packet.
func headerOf(p any) Header {
	switch p.(type) {
	case *Suback:
		return Header{Type: SUBACK}
	}
	return Header{}
}

func TestRoundTrip(t *testing.T) {
	for from, packets := range sound() {
		for _, p := range packets {
			for _, v := range []Version{V311, V5} {
				if c, ok := p.(*Connect); ok && c.Version != v {
					continue
				}
				b := again(v, from, headerOf(p), p)
				if v == V311 && !inV311(t, from, b, p) {
					continue
				}
				got, err := read(v, from, b)
				if err != nil || !reflect.DeepEqual(plain(got), plain(p)) {
					t.Errorf("version %d: %#v\nread as %#v, %v\nof %x", v, p, got, err, b[:min(len(b), 200)])
				}
			}
		}
	}
	for _, v := range []Version{V311, V5} {
		for kind := PUBACK; kind <= PUBCOMP; kind++ {
			for _, reason := range []string{"", "because", strings.Repeat("x", 200), strings.Repeat("x", 70000)} {
				for code := Code(0); int(code) < len(codes); code++ {
					if codes[code].in&kind.place() == 0 || v == V311 && code > 0 {
						continue
					}
					b := AppendAck(nil, v, kind, 515, code, reason)
					got, err := read(v, server, b)
					if want := (Ack{515, code}); err != nil || got != want {
						t.Errorf("%v %v: %v, %v, want %v", kind, code, got, err, want)
					}
				}
			}
		}
		for _, reason := range []string{"", "because"} {
			b := AppendUnsuback(nil, v, 7, []Code{Success, NoSubscriptionExisted}, reason)
			want := &Suback{ID: 7, Codes: []Code{Success, NoSubscriptionExisted}}
			if v == V311 {
				want.Codes = nil
			}
			if got, err := read(v, server, b); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%x: %v, %v", b, got, err)
			}
		}
		for _, b := range [][]byte{AppendPingreq(nil), AppendPingresp(nil)} {
			if _, err := read(v, server, b); err != nil {
				t.Errorf("%x: %v", b, err)
			}
		}
	}
}

// inV311 reports whether 3.1.1 can say all that p says.
func inV311(t *testing.T, from side, b []byte, p any) bool {
	switch p := p.(type) {
	case *Publish:
		return !p.HasExpiry && p.Alias == 0 && p.Forward == nil && p.SubscriptionIDs == nil
	case *Subscribe:
		return p.SubscriptionID == 0 && len(p.Filters) == 1
	case *Connack:
		want := &Connack{SessionPresent: p.SessionPresent, Code: p.Code}
		return len(b) == 4 && reflect.DeepEqual(p, want)
	case *Suback:
		return p.ID == 4
	case Disconnect:
		return from == client && p == (Disconnect{})
	case *Auth:
		return false
	}
	return true
}

// What is appended goes behind what is there, and a header fits the payload that follows it.
func TestAppendPublishHeader(t *testing.T) {
	p := &Publish{Topic: []byte("not this"), QoS: 1, ID: 3, HasExpiry: true, Expiry: 9, Payload: []byte("nor this")}
	payload := []byte("shared")
	for _, v := range []Version{V311, V5} {
		b := append(AppendPublishHeader([]byte("before"), v, "a/b", p, len(payload)), payload...)
		got, err := read(v, server, b[len("before"):])
		if err != nil {
			t.Fatal(err)
		}
		if g := got.(*Publish); string(b[:6]) != "before" || string(g.Topic) != "a/b" || string(g.Payload) != "shared" || g.HasExpiry != (v == V5) {
			t.Errorf("%+v of %x", g, b)
		}
	}
}

func TestNoAllocations(t *testing.T) {
	forward := appendString(appendNumber(nil, payloadFormat, 1), contentType, "text/plain")
	p := &Publish{Topic: []byte("devices/p/n/x"), QoS: 1, ID: 7, HasExpiry: true, Expiry: 9, Forward: forward, Payload: []byte("hello"), SubscriptionIDs: []uint32{1, 2}}
	b := AppendPublish(nil, V5, p)
	body := b[2:]
	// Properties that do not lie together cost a copy, into room that is there from the second time on.
	apart := bytesOf(t, "'a' 0001 12 01 01 02 00000009 26 'k' 'v' 03 'c'")
	apart = append(apart, "text"...)
	ack := bytesOf(t, "0007 87 00")
	var read Publish
	dst := make([]byte, 0, 256)
	for what, f := range map[string]func(){
		"parsing a PUBLISH":           func() { _ = read.ParseFromServer(V5, 2, body) },
		"parsing one that is apart":   func() { _ = read.Parse(V5, 2, apart) },
		"reading a header":            func() { _, _, _ = ReadHeader(b); _, _, _ = ReadHeader(b[:1]) },
		"appending a PUBLISH":         func() { dst = AppendPublishHeader(dst[:0], V5, "devices/p/n/x", p, 5) },
		"appending a whole PUBLISH":   func() { dst = AppendPublish(dst[:0], V5, p) },
		"appending a PUBACK":          func() { dst = AppendAck(dst[:0], V5, PUBACK, 7, NotAuthorized, "reason") },
		"parsing a PUBACK":            func() { _, _ = ParseAck(V5, PUBACK, ack) },
		"appending a PINGRESP":        func() { dst = AppendPingresp(dst[:0]) },
		"parsing an empty DISCONNECT": func() { _, _ = ParseDisconnect(V5, nil) },
	} {
		f()
		if n := testing.AllocsPerRun(100, f); n > 0 {
			t.Errorf("%s: %v allocations", what, n)
		}
	}
	if err := read.Parse(V5, 2, apart); err != nil || string(read.Payload) != "text" || read.Expiry != 9 {
		t.Errorf("%+v, %v", read, err)
	}
}

// What is forwarded is a copy only where it does not lie together, and appending to it changes no packet.
func TestForward(t *testing.T) {
	for _, c := range []struct {
		properties, want string
		copied           bool
	}{
		{"00", "", false}, {"05 02 00000009", "", false}, {"02 01 01", "01 01", false},
		{"0d 01 00 03 'c' 26 'k' 'v'", "01 00 03 'c' 26 'k' 'v'", false},
		{"0c 02 00000009 01 00 09 'c' 23 0001", "01 00 09 'c'", false},
		{"0b 01 00 02 00000009 09 'c'", "01 00 09 'c'", true},
		{"1c 26 'a' '1' 23 0007 26 'b' '2' 02 00000009 26 'a' '1'", "26 'a' '1' 26 'b' '2' 26 'a' '1'", true},
	} {
		properties := bytesOf(t, c.properties)
		properties[0] = byte(len(properties) - 1)
		body := append(bytesOf(t, "'t'"), properties...)
		body = append(body, "payload"...)
		before := bytes.Clone(body)
		var p Publish
		if err := p.Parse(V5, 0, body); err != nil {
			t.Errorf("%s: %v", c.properties, err)
			continue
		}
		if want := bytesOf(t, c.want); !bytes.Equal(p.Forward, want) {
			t.Errorf("%s: forward %x, want %x", c.properties, p.Forward, want)
		}
		_ = append(p.Forward, "overwritten"...)
		if !bytes.Equal(body, before) || string(p.Payload) != "payload" {
			t.Errorf("%s: the packet was changed", c.properties)
		}
		if copied := len(p.joined) > 0; copied != c.copied {
			t.Errorf("%s: copied %v", c.properties, copied)
		}
	}
}
