package vectors_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
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

func wish(t *testing.T) protocol.Wish {
	d := device(t)
	return protocol.Wish{Pool: d.Pool, Name: d.Name, Nonce: fixed("nonce", 16), SealTo: x25519(t, "ephemeral").PublicKey().Bytes()}
}

func fullWish(t *testing.T) protocol.Wish {
	w := wish(t)
	w.Client, w.Format, w.Audience, w.Scope = "default", protocol.FormatJWT, "telemetry", "read write"
	w.Metadata, w.Statement = map[string]string{"fw": "1.4.2", "region": "eu"}, fixed("statement", 8)
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
	short := wish(t)
	short.SealTo = nil
	challenge := protocol.ChallengeBody{Kind: "key", Nonce: fixed("server nonce", 32), Issuer: issuer}
	custom := challenge
	custom.Kind, custom.Params, custom.SealTo = "colour", map[string]string{"ask": "colour of the lamp"}, x25519(t, "answer key").PublicKey().Bytes()
	least := grantBody(t)
	least.Refresh, least.Refreshes = nil, 0
	first := grantBody(t)
	first.Statement, first.Anchor = []byte("key statement"), []byte("anchor")
	out := []sample{
		{"start, least", "asks for an open grant, which the broker gives only where TLS ends in it", "start", &protocol.Start{Head: head(1), Wish: short}},
		{"start, usual", "", "start", &protocol.Start{Head: head(2), Wish: wish(t)}},
		{"start, everything", "", "start", &protocol.Start{Head: head(3), Wish: fullWish(t)}},
		{"enrol, key registered before", "no token", "enrol", &protocol.Enrol{Head: head(4), Wish: wish(t), Key: p256(t, "device").signer.Key().MarshalCOSE()}},
		{"enrol, with token and attributes", "", "enrol", &protocol.Enrol{Head: head(5), Wish: fullWish(t), Key: ed(t, "device ed25519").signer.Key().MarshalCOSE(), TokenID: fixed("token", 8), Attributes: map[string]string{"site": "north", "serial": "0042"}}},
		{"challenge", "", "challenge", &protocol.Challenge{Head: head(6), Session: fixed("session", 32), Body: encode(t, challenge)}},
		{"challenge body, key", "", "challenge-body", challenge},
		{"challenge body, custom", "", "challenge-body", custom},
		{"answer, proof", "", "answer", &protocol.Answer{Head: head(7), Session: fixed("session", 32), Proof: make([]byte, 64)}},
		{"answer, enrolment", "", "answer", &protocol.Answer{Head: head(8), Session: fixed("session", 32), Proof: make([]byte, 64), TokenProof: make([]byte, 64)}},
		{"answer, secret", "", "answer", &protocol.Answer{Head: head(9), Session: fixed("session", 32), Secret: make([]byte, 53)}},
		{"refresh", "", "refresh", &protocol.Refresh{Head: head(10), Body: encode(t, refreshBody(t)), Proof: make([]byte, 64)}},
		{"refresh body", "", "refresh-body", refreshBody(t)},
		{"grant, sealed", "", "grant", &protocol.Grant{Head: head(11), Sealed: make([]byte, 64)}},
		{"grant, open", "", "grant", &protocol.Grant{Head: head(12), Open: encode(t, least)}},
		{"grant body, without refresh token", "the client has no refresh tokens", "grant-body", least},
		{"grant body, first", "after enrolment", "grant-body", first},
		{"event", "events have call id zero", "event", &protocol.Event{Name: protocol.EventDisabled}},
	}
	for _, name := range slices.SortedFunc(maps.Keys(codes()), func(a, b string) int { return int(codes()[a]) - int(codes()[b]) }) {
		d := protocol.ProblemDetail{Code: codes()[name]}
		switch d.Code {
		case protocol.CodeBusy:
			d.RetryAfter = 1
		case protocol.CodeWrongAnswer:
			d.TriesLeft = 2
		}
		out = append(out, sample{"refusal, " + name, "", "refusal", protocol.Refuse(head(13).ID, d)})
	}
	return out
}

func refreshBody(t *testing.T) protocol.RefreshBody {
	return protocol.RefreshBody{Wish: wish(t), Session: subject("session"), Handle: fixed("handle", 32)}
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
		} else {
			f.Type, f.Value = plain(t, top[key])
		}
		out = append(out, f)
	}
	return out
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
	later := edited(t, &protocol.Start{Head: head(2), Wish: wish(t)}, func(m map[int64]any) { m[99] = "later" })
	f.Valid = append(f.Valid, validMessage{"start with an unknown optional field", "a positive key that is not known is passed over", "start", hexOf(later), fieldsOf(t, later, shapes()["start"])})
	f.Invalid = slices.Concat(badCBOR(t), badMessages(t), badBodies(t))
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

// refusedAs makes the vector; call is 0 when nobody can be answered.
func refusedAs(name string, raw []byte, c protocol.Code, call byte) invalidMessage {
	v := invalidMessage{Name: name, What: "message", Hex: hexOf(raw), Code: codeName(c), Number: uint8(c)}
	if call != 0 {
		id := head(call).ID
		v.Call = hexOf(id[:])
	}
	return v
}

func badCBOR(t *testing.T) []invalidMessage {
	good := encode(t, &protocol.Start{Head: head(2), Wish: wish(t)})
	swap := func(old, by string) []byte {
		h := hexOf(good)
		if !strings.Contains(h, old) {
			t.Fatalf("%s is not in %s", old, h)
		}
		raw, err := hex.DecodeString(strings.Replace(h, old, by, 1))
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	deep := append(bytes.Repeat([]byte{0x81}, protocol.IDLen), 0x01)
	id := strings.Repeat("02", 16)
	list := []struct {
		name string
		raw  []byte
	}{
		{"nothing", nil},
		{"not a map", []byte{0x80}},
		{"one byte after the message", append(slices.Clone(good), 0)},
		{"last byte missing", good[:len(good)-1]},
		{"version in two bytes", swap("a70001", "a7001801")},
		{"keys out of order", swap("00010101", "01010001")},
		{"the same key twice", swap("00010101", "00010001")},
		{"map of indefinite length", append(swap("a70001", "bf0001"), 0xff)},
		{"tagged version", swap("a70001", "a700c101")},
		{"version is a float", swap("a70001", "a700f93c00")},
		{"undefined", swap("a70001", "a700f7")},
		{"text that is not UTF-8", swap("0364"+hexOf([]byte("demo")), "0364ff656d6f")},
		{"string longer than the message", swap("0250"+id, "025affffffff"+id)},
		{"map with 2^32-1 pairs", []byte{0xba, 0xff, 0xff, 0xff, 0xff, 0x00, 0x01}},
		{"nested too deep", deep},
	}
	out := make([]invalidMessage, 0, len(list))
	for _, l := range list {
		out = append(out, refusedAs(l.name, l.raw, protocol.CodeMalformed, 0))
	}
	return out
}

type change struct {
	name string
	do   func(map[int64]any)
	want protocol.Code
}

func set(key int64, v any) func(map[int64]any) { return func(m map[int64]any) { m[key] = v } }
func drop(key int64) func(map[int64]any)       { return func(m map[int64]any) { delete(m, key) } }

func pairs(n int) map[string]string {
	out := make(map[string]string, n)
	for i := range n {
		out[fmt.Sprintf("k%02d", i)] = ""
	}
	return out
}

func wishChanges() []change {
	bad := protocol.CodeMalformed
	return []change{
		{"version 2", set(0, 2), protocol.CodeVersion}, {"version 0", set(0, 0), protocol.CodeVersion}, {"no version", drop(0), protocol.CodeVersion},
		{"unknown type", set(1, 99), bad}, {"no type", drop(1), bad}, {"critical field", set(-1, true), protocol.CodeCritical},
		{"no pool", drop(3), bad}, {"pool with a capital", set(3, "Demo"), bad}, {"pool too long", set(3, strings.Repeat("a", 33)), bad},
		{"no name", drop(4), bad}, {"name with a wildcard", set(4, "a/#"), bad}, {"name too long", set(4, strings.Repeat("a", 129)), bad},
		{"client too long", set(5, strings.Repeat("a", 65)), bad}, {"no nonce", drop(6), bad}, {"nonce of 15 bytes", set(6, make([]byte, 15)), bad},
		{"nonce of 17 bytes", set(6, make([]byte, 17)), bad}, {"nonce is text", set(6, "0123456789abcdef"), bad},
		{"X25519 key of 31 bytes", set(7, make([]byte, 31)), bad}, {"token format 2", set(8, 2), bad},
		{"audience too long", set(9, strings.Repeat("a", 256)), bad}, {"scope too long", set(10, strings.Repeat("a", 1025)), bad},
		{"17 pairs of metadata", set(11, pairs(17)), bad}, {"metadata without a name", set(11, map[string]string{"": "x"}), bad},
		{"statement id of 7 bytes", set(12, make([]byte, 7)), bad},
		{"more than 8 KiB", set(100, make([]byte, protocol.MaxMessage)), protocol.CodeTooLarge},
	}
}

func badMessages(t *testing.T) []invalidMessage {
	bad := protocol.CodeMalformed
	var out []invalidMessage
	for _, g := range []struct {
		what    string
		base    protocol.Message
		call    byte
		changes []change
	}{
		{"start", &protocol.Start{Head: head(2), Wish: wish(t)}, 2, wishChanges()},
		{"enrol", &protocol.Enrol{Head: head(4), Wish: wish(t), Key: []byte{1}}, 4, []change{
			{"no key", drop(13), bad}, {"token id of 7 bytes", set(14, make([]byte, 7)), bad}, {"17 attributes", set(15, pairs(17)), bad}, {"no nonce", drop(6), bad}}},
		{"challenge", &protocol.Challenge{Head: head(6), Session: []byte{1}, Body: []byte{2}}, 6, []change{
			{"no session", drop(3), bad}, {"session of 1537 bytes", set(3, make([]byte, 1537)), bad}}},
		{"answer", &protocol.Answer{Head: head(7), Session: []byte{1}, Proof: []byte{1}}, 7, []change{
			{"no session", drop(3), bad}, {"neither proof nor secret", drop(4), bad}, {"critical field", set(-70000, 1), protocol.CodeCritical}}},
		{"refresh", &protocol.Refresh{Head: head(10), Body: []byte{1}, Proof: []byte{1}}, 10, []change{{"no proof", drop(4), bad}}},
		{"grant", &protocol.Grant{Head: head(11), Sealed: []byte{1}}, 11, []change{{"neither sealed nor open", drop(3), bad}, {"both sealed and open", set(4, []byte{1}), bad}}},
	} {
		for _, c := range g.changes {
			out = append(out, refusedAs(g.what+": "+c.name, edited(t, g.base, c.do), c.want, g.call))
		}
	}
	text := append(encode(t, &protocol.Start{Head: head(2), Wish: wish(t)}), 0x61, 'x', 0x01)
	text[0]++ // one pair more
	out = append(out, refusedAs("text key", text, protocol.CodeCritical, 2))
	huge := edited(t, &protocol.Enrol{Head: head(4), Wish: wish(t), Key: []byte{1}}, set(100, make([]byte, protocol.MaxEnrol)))
	return append(out, refusedAs("more than 16 KiB", huge, protocol.CodeTooLarge, 0))
}

func badBodies(t *testing.T) []invalidMessage {
	challenge := protocol.ChallengeBody{Kind: "key", Nonce: fixed("server nonce", 32), Issuer: issuer}
	var out []invalidMessage
	for _, g := range []struct {
		what    string
		base    any
		changes []change
	}{
		{"challenge-body", challenge, []change{{name: "no kind", do: drop(1)}, {name: "kind of 65 bytes", do: set(1, strings.Repeat("a", 65))}, {name: "nonce of 31 bytes", do: set(2, make([]byte, 31))}, {name: "no issuer", do: drop(3)}, {name: "17 parameters", do: set(4, pairs(17))}}},
		{"refresh-body", refreshBody(t), []change{{name: "no session", do: drop(13)}, {name: "handle of 31 bytes", do: set(14, make([]byte, 31))}, {name: "no nonce", do: drop(6)}}},
		{"grant-body", grantBody(t), []change{{name: "no access token", do: drop(1)}, {name: "no ID token", do: drop(2)}, {name: "no subject", do: drop(7)}, {name: "no issuer", do: drop(8)}}},
	} {
		for _, c := range g.changes {
			v := refusedAs(g.what+": "+c.name, edited(t, g.base, c.do), protocol.CodeMalformed, 0)
			v.What = g.what
			out = append(out, v)
		}
	}
	return out
}
