package vectors_test

import (
	"bytes"
	"maps"
	"reflect"
	"slices"
	"testing"

	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/detcbor"
)

type messageFile struct {
	About   string           `json:"about"`
	Valid   []validMessage   `json:"valid"`
	Invalid []invalidMessage `json:"invalid"`
}

type validMessage struct {
	Name    string  `json:"name"`
	Comment string  `json:"comment,omitempty"`
	What    string  `json:"what"` // rule of the CDDL
	Hex     string  `json:"hex"`
	Fields  []field `json:"fields"`
}

// A field is one pair of the map: bytes as hex, a map of keys as fields.
type field struct {
	Key   int64  `json:"key"`
	Name  string `json:"name"`
	Type  string `json:"type"`
	Value any    `json:"value"`
}

type invalidMessage struct {
	Name   string `json:"name"`
	What   string `json:"what"` // "message" or a body's rule of the CDDL
	Hex    string `json:"hex"`
	Code   string `json:"code"`
	Number uint8  `json:"number"`
	Call   string `json:"call"` // whose refusal; "" when nobody is answered
}

func head(n byte) protocol.Head {
	return protocol.Head{ID: protocol.CallID(bytes.Repeat([]byte{n}, protocol.IDLen))}
}

func request(t *testing.T) protocol.Request {
	d := device(t)
	return protocol.Request{Pool: d.Pool, Name: d.Name, Nonce: fixed("nonce", 16), SealTo: x25519(t, "ephemeral").PublicKey().Bytes()}
}

func fullWish(t *testing.T) protocol.Request {
	w := request(t)
	w.Client, w.Format, w.Audience, w.Scope = "default", protocol.FormatJWT, "telemetry", "read write"
	w.Metadata, w.Statement = map[string]string{"fw": "1.4.2", "region": "eu"}, fixed("statement", 8)
	w.Channel = fixed("channel", protocol.ChannelLen)
	return w
}

// password asks for an MQTT password.
func password(t *testing.T) protocol.Request {
	w := request(t)
	w.Want = protocol.WantMQTTPassword
	return w
}

func grantBody(t *testing.T) *protocol.GrantBody {
	d := device(t)
	own := []string{"devices/" + d.Path() + "/#"}
	return &protocol.GrantBody{
		Access: []byte("access token"), ID: []byte("ID token"), Refresh: fixed("refresh", 32), Session: subject("session"), Life: 3600,
		Refreshes: 2592000, Subject: subject("subject"), Issuer: issuer, Publish: own, Subscribe: own,
	}
}

// sample is a value to encode; what is its rule in the CDDL.
type sample struct {
	name, comment, what string
	value               any
}

func samples(t *testing.T) []sample {
	short := request(t)
	short.SealTo = nil
	challenge := protocol.ChallengeBody{Kind: "key", Nonce: fixed("server nonce", 32), Issuer: issuer}
	custom := challenge
	custom.Kind, custom.Params, custom.SealTo = "colour", map[string]string{"ask": "colour of the lamp"}, x25519(t, "answer key").PublicKey().Bytes()
	unknown := custom
	unknown.Statement, unknown.Anchor = []byte("key statement"), []byte("anchor")
	least := grantBody(t)
	least.Refresh, least.Refreshes = nil, 0
	first := grantBody(t)
	jwt := grantBody(t)
	jwt.IDJWT = []byte("ID token as JWT")
	direct := grantBody(t)
	direct.Direct = true
	first.Statement, first.Anchor = []byte("key statement"), []byte("anchor")
	moved := grantBody(t)
	moved.Statement = []byte("key statement")
	for _, s := range []string{"anchor", "second anchor"} {
		moved.Successions = append(moved.Successions, protocol.Succession{From: []byte(s), Signed: []byte("succession of " + s)})
	}
	out := []sample{
		{"start, least", "asks for an open grant without naming the TLS connection: well formed, but denied", "start", &protocol.Start{Head: head(1), Request: short}},
		{"start, usual", "", "start", &protocol.Start{Head: head(2), Request: request(t)}},
		{"start, everything", "", "start", &protocol.Start{Head: head(3), Request: fullWish(t)}},
		{"start, for an MQTT password", "in place of an access token", "start", &protocol.Start{Head: head(15), Request: password(t)}},
		{"enroll, key registered before", "no token", "enroll", &protocol.Enroll{Head: head(4), Request: request(t), Key: p256(t, "device").signer.Key().MarshalCOSE()}},
		{"enroll, with token and attributes", "", "enroll", &protocol.Enroll{Head: head(5), Request: fullWish(t), Key: ed(t, "device ed25519").signer.Key().MarshalCOSE(), TokenID: fixed("token", 8), Attributes: map[string]string{"site": "north", "serial": "0042"}}},
		{"challenge", "", "challenge", &protocol.Challenge{Head: head(6), Session: fixed("session", 32), Body: encode(t, challenge)}},
		{"challenge body, key", "", "challenge-body", challenge},
		{"challenge body, custom", "", "challenge-body", custom},
		{"challenge body, custom, in an enrollment", "brings what the device lacks to believe the answer key", "challenge-body", unknown},
		{"answer, proof", "", "answer", &protocol.Answer{Head: head(7), Session: fixed("session", 32), Proof: make([]byte, 64), Opening: opening(t, 7)}},
		{"answer, enrollment", "", "answer", &protocol.Answer{Head: head(8), Session: fixed("session", 32), Proof: make([]byte, 64), TokenProof: make([]byte, 64), Opening: enrollOpening(t, 8)}},
		{"answer, secret", "", "answer", &protocol.Answer{Head: head(9), Session: fixed("session", 32), Proof: make([]byte, 64), Secret: make([]byte, 53), Opening: opening(t, 9)}},
		{"refresh", "", "refresh", &protocol.Refresh{Head: head(10), Body: encode(t, refreshBody(t)), Proof: make([]byte, 64)}},
		{"refresh body", "", "refresh-body", refreshBody(t)},
		{"grant, sealed", "", "grant", &protocol.Grant{Head: head(11), Sealed: make([]byte, 64)}},
		{"grant, open", "", "grant", &protocol.Grant{Head: head(12), Open: encode(t, least)}},
		{"grant body, without refresh token", "the client has no refresh tokens", "grant-body", least},
		{"grant body, first", "after enrollment", "grant-body", first},
		{"grant body, after two new anchors", "the pool's anchor was replaced since the device was here", "grant-body", moved},
		{"grant body, JWTs", "asked for with format 1; the ID token is there twice", "grant-body", jwt},
		{"grant body, direct", "the broker heard the device on its own connection", "grant-body", direct},
		{"connect proof", "", "connect-proof", protocol.ConnectProof{Access: []byte("access token"), Channel: fixed("channel", protocol.ChannelLen), Proof: make([]byte, 64)}},
		{"connect proof, shared key", "", "connect-proof", protocol.ConnectProof{Access: []byte("access token"), Channel: fixed("channel", protocol.ChannelLen), Proof: make([]byte, 32)}},
		{"refusal, later code", "a code that is not known means internal", "refusal", protocol.Refuse(head(13).ID, protocol.ProblemDetail{Code: 200})},
		{"event", "events have call id zero", "event", &protocol.Event{Name: protocol.EventDisabled}},
	}
	for _, name := range slices.SortedFunc(maps.Keys(codes()), func(a, b string) int { return int(codes()[a]) - int(codes()[b]) }) {
		d := protocol.ProblemDetail{Code: codes()[name]}
		switch d.Code {
		case protocol.CodeBusy:
			d.RetryAfter = 1
		case protocol.CodeTries:
			d.RetryAfter = 30
		case protocol.CodeWrongAnswer:
			d.TriesLeft = 2
		}
		out = append(out, sample{"refusal, " + name, "", "refusal", protocol.Refuse(head(13).ID, d)})
	}
	return out
}

// opening is the usual start of a call, as its answers repeat it.
func opening(t *testing.T, call byte) []byte {
	return encode(t, &protocol.Start{Head: head(call), Request: request(t)})
}

// enrollOpening is that of an enrollment.
func enrollOpening(t *testing.T, call byte) []byte {
	return encode(t, &protocol.Enroll{Head: head(call), Request: request(t), Key: p256(t, "device").signer.Key().MarshalCOSE(), TokenID: fixed("token", 8)})
}

func refreshBody(t *testing.T) protocol.RefreshBody {
	return protocol.RefreshBody{Request: request(t), Session: subject("session"), Handle: fixed("handle", 32)}
}

func encode(t *testing.T, v any) []byte {
	t.Helper()
	if m, ok := v.(protocol.Message); ok {
		raw, err := protocol.Encode(m)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	raw, err := detcbor.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// fieldsOf gives the map's pairs in the order in which they are encoded.
func fieldsOf(t *testing.T, raw []byte, of reflect.Type) []field {
	t.Helper()
	var top map[int64]detcbor.RawMessage
	if err := detcbor.UnmarshalExtensible(raw, &top); err != nil {
		t.Fatal(err)
	}
	known := make(map[int64]member)
	for _, m := range membersOf(of) {
		known[m.key] = m
	}
	out := []field{}
	for _, key := range slices.SortedFunc(maps.Keys(top), func(a, b int64) int { return bytes.Compare(encode(t, a), encode(t, b)) }) {
		m := known[key]
		f := field{Key: key, Name: m.name}
		if m.of != nil && m.of.Kind() == reflect.Struct && m.of.PkgPath() == of.PkgPath() {
			f.Type, f.Value = "map", fieldsOf(t, top[key], m.of)
		} else if m.of != nil && m.of.Kind() == reflect.Slice && m.of.Elem().Kind() == reflect.Struct {
			f.Type, f.Value = "maps", elementsOf(t, top[key], m.of.Elem())
		} else {
			f.Type, f.Value = plain(t, top[key])
		}
		out = append(out, f)
	}
	return out
}

// elementsOf is fieldsOf for an array of maps.
func elementsOf(t *testing.T, raw []byte, of reflect.Type) (all [][]field) {
	t.Helper()
	var elements []detcbor.RawMessage
	if err := detcbor.Unmarshal(raw, &elements); err != nil {
		t.Fatal(err)
	}
	for _, e := range elements {
		all = append(all, fieldsOf(t, e, of))
	}
	return all
}

func plain(t *testing.T, raw []byte) (kind string, value any) {
	t.Helper()
	var v any
	if err := detcbor.Unmarshal(raw, &v); err != nil {
		if raw[0]>>5 != 5 {
			t.Fatal(err)
		}
		var texts map[string]string
		if err := detcbor.Unmarshal(raw, &texts); err != nil {
			t.Fatal(err)
		}
		return "texts by name", texts
	}
	switch v := v.(type) {
	case []byte:
		return "bytes", hexOf(v)
	case string:
		return "text", v
	case []any:
		return "array", v
	case map[any]any:
		t.Fatalf("map %v", v)
	}
	return "integer", v
}

func messages(t *testing.T) messageFile {
	f := messageFile{About: "Messages of protocol version 1 and the maps inside them. valid: decode to fields, and encode from them to the same bytes. invalid: must be refused with the code; call says whose call the broker's refusal names, empty when it stays silent."}
	for _, s := range samples(t) {
		raw := encode(t, s.value)
		f.Valid = append(f.Valid, validMessage{s.name, s.comment, s.what, hexOf(raw), fieldsOf(t, raw, shapes()[s.what])})
	}
	later := edited(t, &protocol.Start{Head: head(2), Request: request(t)}, func(m map[int64]any) { m[99] = "later" })
	f.Valid = append(f.Valid, validMessage{"start with an unknown optional field", "a positive key that is not known is passed over", "start", hexOf(later), fieldsOf(t, later, shapes()["start"])})
	f.Invalid = slices.Concat(badCBOR(t), withoutCall(t), badMessages(t), badBodies(t))
	return f
}

// edited encodes v's map again after change has had it.
func edited(t *testing.T, v any, change func(map[int64]any)) []byte {
	t.Helper()
	var top map[int64]any
	raw := encode(t, v)
	if err := laxTop(raw, &top); err != nil {
		t.Fatal(err)
	}
	change(top)
	return encode(t, top)
}

// laxTop decodes a map whose members stay encoded where they are maps themselves.
func laxTop(raw []byte, to *map[int64]any) error {
	var top map[int64]detcbor.RawMessage
	if err := detcbor.UnmarshalExtensible(raw, &top); err != nil {
		return err
	}
	*to = make(map[int64]any, len(top))
	for k, v := range top {
		(*to)[k] = v
	}
	return nil
}
