package vectors_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/detcbor"
)

// refusedAs makes the vector; call is 0 when nobody can be answered.
func refusedAs(name string, raw []byte, c protocol.Code, call byte) invalidMessage {
	v := invalidMessage{Name: name, What: "message", Hex: hexOf(raw), Code: codeName(c), Number: uint8(c)}
	if call != 0 {
		id := head(call).ID
		v.Call = hexOf(id[:])
	}
	return v
}

// badCBOR is bytes that are not deterministic CBOR: each a good start message
// with one fault, or shorter.
func badCBOR(t *testing.T) []invalidMessage {
	good := encode(t, &protocol.Start{Head: head(2), Request: request(t)})
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
	// more puts a pair with an unknown optional key at the end: item is its value.
	more := func(item string) []byte { return append(swap("a70001", "a80001"), unhex(t, "1863"+item)...) }
	id, demo := strings.Repeat("02", 16), hexOf([]byte("demo"))
	crowd := append(swap("a70001", "b901010001"), manyPairs(250)...)
	list := []struct {
		name string
		raw  []byte
	}{
		{"nothing", nil}, {"a break alone", []byte{0xff}},
		{"one byte after the message", append(slices.Clone(good), 0)}, {"the message twice", append(slices.Clone(good), good...)},
		{"last byte missing", good[:len(good)-1]}, {"cut off after the call id", good[:23]},
		{"version in two bytes", swap("a70001", "a7001801")}, {"type in three bytes", swap("0101025", "01190001025")},
		{"integer in nine bytes", more("1b0000000000000001")}, {"negative integer in two bytes", more("3800")},
		{"key in two bytes", swap("a70001", "a7180001")}, {"length of bytes in two bytes", swap("0250", "025810")},
		{"length of text in two bytes", swap("0364", "037804")}, {"number of pairs in two bytes", swap("a70001", "b8070001")},
		{"length of an array in two bytes", more("980101")},
		{"keys out of order", swap("00010101", "01010001")}, {"keys of an inner map out of order", more("a202000100")},
		{"shorter text key after a longer one", more("a262616100616200")},
		{"the same key twice", swap("00010101", "00010001")}, {"the same key twice in an inner map", more("a201000100")},
		{"map of indefinite length", append(swap("a70001", "bf0001"), 0xff)}, {"array of indefinite length", more("9f01ff")},
		{"bytes of indefinite length", swap("0250"+id, "025f50"+id+"ff")}, {"text of indefinite length", swap("0364"+demo, "037f64"+demo+"ff")},
		{"reserved length", swap("0364"+demo, "037c"+demo)},
		{"tagged version", swap("a70001", "a700c101")}, {"tagged bytes", swap("0250", "02c250")},
		{"version is a float", swap("a70001", "a700f93c00")}, {"float of 32 bits", more("fa3f800000")}, {"float of 64 bits", more("fb3ff0000000000000")},
		{"undefined", swap("a70001", "a700f7")}, {"simple value", more("e0")}, {"false in two bytes", more("f814")},
		{"integer of 2^63", more("1b8000000000000000")}, {"integer of -2^63-1", more("3b8000000000000000")},
		{"key is an array", more("a18000")}, {"key is false", more("a1f400")},
		{"text that is not UTF-8", swap("0364"+demo, "0364ff656d6f")}, {"text with a surrogate", more("63eda080")},
		{"string longer than the message", swap("0250"+id, "025affffffff"+id)}, {"string of 2^63-1 bytes", swap("0250"+id, "025b7fffffffffffffff"+id)},
		{"map with 2^32-1 pairs", []byte{0xba, 0xff, 0xff, 0xff, 0xff, 0x00, 0x01}}, {"array with 2^64-1 elements", []byte{0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}},
		{"map with 257 pairs", crowd}, {"array with 257 elements", more("990101" + strings.Repeat("00", 257))},
		{"nested too deep", append(bytes.Repeat([]byte{0x81}, protocol.IDLen), 0x01)}, {"one level too deep", more(strings.Repeat("81", detcbor.MaxDepth) + "00")},
	}
	out := make([]invalidMessage, 0, len(list))
	for _, l := range list {
		if detcbor.Check(l.raw) == nil {
			t.Fatalf("%s is deterministic", l.name)
		}
		out = append(out, refusedAs(l.name, l.raw, protocol.CodeMalformed, 0))
	}
	return out
}

// manyPairs gives n pairs with keys from 256, in order.
func manyPairs(n int) []byte {
	var out []byte
	for i := range n {
		out = append(out, 0x19, 1, byte(i), 0)
	}
	return out
}

// withoutCall is messages that do not say whose they are.
func withoutCall(t *testing.T) []invalidMessage {
	var out []invalidMessage
	for _, c := range []change{
		{name: "no call id", do: drop(2)}, {name: "call id of 15 bytes", do: set(2, make([]byte, 15))}, {name: "call id of 17 bytes", do: set(2, make([]byte, 17))},
		{name: "call id is an array of 16 integers", do: set(2, make([]int, 16))}, {name: "call id is text", do: set(2, "0123456789abcdef")},
		{name: "call id is null", do: set(2, nil)},
		{name: "version is text", do: set(0, "1")}, {name: "version is null", do: set(0, nil)}, {name: "version is negative", do: set(0, -1)},
		{name: "type is text", do: set(1, "start")}, {name: "type is null", do: set(1, nil)},
	} {
		out = append(out, refusedAs(c.name, edited(t, &protocol.Start{Head: head(2), Request: request(t)}, c.do), protocol.CodeMalformed, 0))
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

// null and ints put null and an array of integers in the keys' places.
func null(keys ...int64) []change {
	var out []change
	for _, k := range keys {
		out = append(out, change{fmt.Sprintf("null for key %d", k), set(k, nil), protocol.CodeMalformed})
	}
	return out
}

func ints(keys ...int64) []change {
	var out []change
	for _, k := range keys {
		out = append(out, change{fmt.Sprintf("array of integers for the bytes of key %d", k), set(k, []int{1, 2, 3}), protocol.CodeMalformed})
	}
	return out
}

func pairs(n int) map[string]string {
	out := make(map[string]string, n)
	for i := range n {
		out[fmt.Sprintf("k%02d", i)] = ""
	}
	return out
}

func requestChanges() []change {
	bad := protocol.CodeMalformed
	return slices.Concat(null(3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 16, 17), ints(6, 7, 12, 16), []change{
		{"version 2", set(0, 2), protocol.CodeVersion}, {"version 0", set(0, 0), protocol.CodeVersion}, {"no version", drop(0), protocol.CodeVersion},
		{"version 2^32", set(0, 1<<32), protocol.CodeVersion},
		{"unknown type", set(1, 99), bad}, {"type 2^32 + 1", set(1, 1<<32+1), bad}, {"no type", drop(1), bad},
		{"critical field", set(-1, true), protocol.CodeCritical}, {"critical field of a large number", set(-1<<40, 0), protocol.CodeCritical},
		{"no pool", drop(3), bad}, {"pool with a capital", set(3, "Demo"), bad}, {"pool too long", set(3, strings.Repeat("a", 33)), bad},
		{"pool is bytes", set(3, []byte("demo")), bad}, {"pool is empty", set(3, ""), bad},
		{"no name", drop(4), bad}, {"name with a wildcard", set(4, "a/#"), bad}, {"name too long", set(4, strings.Repeat("a", 129)), bad}, {"name is an integer", set(4, 1), bad},
		{"client too long", set(5, strings.Repeat("a", 65)), bad}, {"client is empty", set(5, ""), bad}, {"client is an integer", set(5, 1), bad},
		{"no nonce", drop(6), bad}, {"nonce of 15 bytes", set(6, make([]byte, 15)), bad}, {"nonce of 17 bytes", set(6, make([]byte, 17)), bad}, {"nonce is text", set(6, "0123456789abcdef"), bad},
		{"X25519 key of 31 bytes", set(7, make([]byte, 31)), bad}, {"X25519 key is empty", set(7, []byte{}), bad},
		{"token format 2", set(8, 2), bad}, {"token format is text", set(8, "cwt"), bad}, {"token format is negative", set(8, -1), bad},
		{"wants what nobody knows", set(17, 2), bad}, {"wants text", set(17, "mqtt"), bad},
		{"audience of an MQTT password", func(m map[int64]any) { m[17], m[9] = 1, "demo" }, bad},
		{"audience too long", set(9, strings.Repeat("a", 256)), bad}, {"audience is bytes", set(9, []byte("a")), bad}, {"audience is empty", set(9, ""), bad},
		{"scope too long", set(10, strings.Repeat("a", 1025)), bad},
		{"17 pairs of metadata", set(11, pairs(17)), bad}, {"metadata without a name", set(11, map[string]string{"": "x"}), bad}, {"metadata is empty", set(11, pairs(0)), bad},
		{"metadata with a name of 65 bytes", set(11, map[string]string{strings.Repeat("a", 65): ""}), bad}, {"metadata with a value of 1025 bytes", set(11, map[string]string{"a": strings.Repeat("a", 1025)}), bad},
		{"metadata with an integer", set(11, map[string]int{"a": 1}), bad}, {"metadata with null", set(11, map[string]any{"a": nil}), bad}, {"metadata is an array", set(11, []string{"a", "b"}), bad},
		{"statement id of 7 bytes", set(12, make([]byte, 7)), bad}, {"channel of 31 bytes", set(16, make([]byte, 31)), bad}, {"channel of 33 bytes", set(16, make([]byte, 33)), bad},
		{"more than 8 KiB", set(100, make([]byte, protocol.MaxMessage)), protocol.CodeTooLarge},
	})
}

// A spoilt is a good value and what is done to it.
type spoilt struct {
	what    string
	base    any
	call    byte
	changes []change
}

func (g spoilt) vectors(t *testing.T, what string) []invalidMessage {
	var out []invalidMessage
	for _, c := range g.changes {
		v := refusedAs(g.what+": "+c.name, edited(t, g.base, c.do), c.want, g.call)
		v.What = what
		out = append(out, v)
	}
	return out
}

func badMessages(t *testing.T) []invalidMessage {
	bad, body := protocol.CodeMalformed, encode(t, protocol.ChallengeBody{Kind: "key", Nonce: fixed("server nonce", 32), Issuer: issuer})
	var out []invalidMessage
	for _, g := range []spoilt{
		{"start", &protocol.Start{Head: head(2), Request: request(t)}, 2, requestChanges()},
		{"enroll", &protocol.Enroll{Head: head(4), Request: request(t), Key: p256(t, "device").signer.Key().MarshalCOSE()}, 4, slices.Concat(null(13, 14, 15), ints(13, 14), []change{
			{"no key", drop(13), bad}, {"key is empty", set(13, []byte{}), bad}, {"key is a map", set(13, map[int]int{1: 2}), bad}, {"token id of 7 bytes", set(14, make([]byte, 7)), bad},
			{"17 attributes", set(15, pairs(17)), bad}, {"no nonce", drop(6), bad}, {"critical field", set(-1, 0), protocol.CodeCritical}})},
		{"challenge", &protocol.Challenge{Head: head(6), Session: fixed("session", 32), Body: body}, 6, slices.Concat(null(3, 4), ints(3, 4), []change{
			{"no session", drop(3), bad}, {"session is empty", set(3, []byte{}), bad}, {"session of 1537 bytes", set(3, make([]byte, 1537)), bad}, {"no body", drop(4), bad},
			{"body is a map", set(4, map[int]int{1: 2}), bad}, {"critical field", set(-1, 0), protocol.CodeCritical}})},
		{"answer", &protocol.Answer{Head: head(7), Session: fixed("session", 32), Proof: make([]byte, 64), Opening: opening(t, 7)}, 7, slices.Concat(null(3, 4, 5, 6, 7), ints(3, 4, 5, 6, 7), []change{
			{"no opening", drop(7), bad}, {"opening is empty", set(7, []byte{}), bad}, {"opening of another call", set(7, opening(t, 8)), bad}, {"opening cut short", set(7, opening(t, 7)[:40]), bad},
			{"opening is a refresh", set(7, encode(t, &protocol.Refresh{Head: head(7), Body: encode(t, refreshBody(t)), Proof: make([]byte, 64)})), bad},
			{"opening of version 2", set(7, edited(t, &protocol.Start{Head: head(7), Request: request(t)}, set(0, 2))), bad},
			{"opening of more than 8 KiB", set(7, edited(t, &protocol.Enroll{Head: head(7), Request: request(t), Key: p256(t, "device").signer.Key().MarshalCOSE()}, set(100, make([]byte, protocol.MaxOpening)))), bad},
			{"no session", drop(3), bad}, {"session is empty", set(3, []byte{}), bad}, {"session of 1537 bytes", set(3, make([]byte, 1537)), bad},
			{"neither proof nor secret", drop(4), bad}, {"proof is empty", set(4, []byte{}), bad}, {"critical field", set(-70000, 1), protocol.CodeCritical}})},
		{"refresh", &protocol.Refresh{Head: head(10), Body: encode(t, refreshBody(t)), Proof: make([]byte, 64)}, 10, slices.Concat(null(3, 4), ints(3, 4), []change{
			{"no body", drop(3), bad}, {"body is a map", set(3, map[int]int{1: 2}), bad}, {"no proof", drop(4), bad}, {"proof is empty", set(4, []byte{}), bad}, {"critical field", set(-1, 0), protocol.CodeCritical}})},
		{"grant", &protocol.Grant{Head: head(11), Sealed: make([]byte, 64)}, 11, slices.Concat(null(3, 4), ints(3, 4), []change{
			{"neither sealed nor open", drop(3), bad}, {"both sealed and open", set(4, encode(t, grantBody(t))), bad}, {"empty", set(3, []byte{}), bad}, {"critical field", set(-1, 0), protocol.CodeCritical}})},
		{"refusal", protocol.Refuse(head(13).ID, protocol.ProblemDetail{Code: protocol.CodeBusy, RetryAfter: 1}), 13, slices.Concat(null(3), badProblems())},
		{"event", &protocol.Event{Head: head(14), Name: "disabled"}, 14, slices.Concat(null(3), []change{{"no name", drop(3), bad}, {"name is bytes", set(3, []byte("disabled")), bad}})},
	} {
		out = append(out, g.vectors(t, "message")...)
	}
	text := append(encode(t, &protocol.Start{Head: head(2), Request: request(t)}), 0x61, 'x', 0x01)
	text[0]++ // one pair more
	out = append(out, refusedAs("text key", text, protocol.CodeCritical, 2))
	huge := edited(t, &protocol.Enroll{Head: head(4), Request: request(t), Key: []byte{1}}, set(100, make([]byte, protocol.MaxEnroll)))
	out = append(out, refusedAs("not a map", []byte{0x80}, bad, 0), refusedAs("an integer", []byte{0x01}, bad, 0))
	return append(out, refusedAs("more than 16 KiB", huge, protocol.CodeTooLarge, 0))
}

func badProblems() []change {
	bad := protocol.CodeMalformed
	detail := func(v any) func(map[int64]any) { return set(3, map[int64]any{60001: v}) }
	return []change{
		{"no problem", drop(3), bad}, {"problem is text", set(3, "no"), bad}, {"no detail of Signet's", set(3, map[int64]any{-1: "busy"}), bad},
		{"detail is null", detail(nil), bad}, {"no code", detail(map[int64]any{1: 1}), bad}, {"code is text", detail(map[int64]any{0: "busy"}), bad},
		{"code is negative", detail(map[int64]any{0: -1}), bad}, {"code of 256", detail(map[int64]any{0: 256}), bad},
		{"seconds are negative", detail(map[int64]any{0: 10, 1: -1}), bad}, {"seconds of 2^32", detail(map[int64]any{0: 10, 1: int64(1) << 32}), bad},
		{"versions are no array", detail(map[int64]any{0: 2, 3: 1}), bad}, {"title is bytes", set(3, map[int64]any{-1: []byte("x"), 60001: map[int64]any{0: 10}}), bad},
	}
}

func badBodies(t *testing.T) []invalidMessage {
	bad := protocol.CodeMalformed
	var out []invalidMessage
	for _, g := range []spoilt{
		{"challenge-body", protocol.ChallengeBody{Kind: "key", Nonce: fixed("server nonce", 32), Issuer: issuer}, 0, slices.Concat(null(1, 2, 3, 4, 5, 11, 12, 14), ints(2, 5, 11, 12, 14), []change{
			{"no kind", drop(1), bad}, {"kind is empty", set(1, ""), bad}, {"kind of 65 bytes", set(1, strings.Repeat("a", 65)), bad}, {"kind is an integer", set(1, 1), bad},
			{"no nonce", drop(2), bad}, {"nonce of 31 bytes", set(2, make([]byte, 31)), bad}, {"no issuer", drop(3), bad}, {"issuer is empty", set(3, ""), bad},
			{"17 parameters", set(4, pairs(17)), bad}, {"parameter is an integer", set(4, map[string]int{"a": 1}), bad}, {"X25519 key of 31 bytes", set(5, make([]byte, 31)), bad},
			{"17 successions", set(14, slices.Repeat([]any{map[int64]any{1: []byte("anchor"), 2: []byte("succession")}}, 17)), bad}})},
		{"refresh-body", refreshBody(t), 0, slices.Concat(null(3, 6, 7, 13, 14), ints(6, 13, 14), []change{
			{"no session", drop(13), bad}, {"session of 15 bytes", set(13, make([]byte, 15)), bad}, {"no handle", drop(14), bad}, {"handle of 31 bytes", set(14, make([]byte, 31)), bad},
			{"no nonce", drop(6), bad}, {"no pool", drop(3), bad}})},
		{"grant-body", grantBody(t), 0, slices.Concat(null(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13), ints(1, 2, 3, 4, 7, 11, 12, 13), []change{
			{"no access token", drop(1), bad}, {"access token is text", set(1, "token"), bad}, {"no ID token", drop(2), bad}, {"ID token is empty", set(2, []byte{}), bad},
			{"refresh token of 31 bytes", set(3, make([]byte, 31)), bad}, {"no session", drop(4), bad}, {"session of 15 bytes", set(4, make([]byte, 15)), bad},
			{"no life", drop(5), bad}, {"life is negative", set(5, -1), bad}, {"life of 2^32 seconds", set(5, int64(1)<<32), bad}, {"no subject", drop(7), bad},
			{"subject of 17 bytes", set(7, make([]byte, 17)), bad}, {"no issuer", drop(8), bad}, {"nothing to publish to", drop(9), bad}, {"filters are one text", set(9, "devices/#"), bad},
			{"filter is bytes", set(10, [][]byte{{'#'}}), bad}, {"filter is null", set(10, []any{nil}), bad},
			{"no succession", set(14, []any{}), bad}, {"succession without signature", set(14, []any{map[int64]any{1: []byte("anchor")}}), bad},
			{"17 successions", set(14, slices.Repeat([]any{map[int64]any{1: []byte("anchor"), 2: []byte("succession")}}, 17)), bad},
			{"direct is an integer", set(15, 1), bad}, {"direct is null", set(15, nil), bad}})},
		{"connect-proof", protocol.ConnectProof{Access: []byte("access token"), Channel: fixed("channel", protocol.ChannelLen), Proof: make([]byte, 64)}, 0, slices.Concat(null(1, 2, 3), ints(1, 2, 3), []change{
			{"no access token", drop(1), bad}, {"access token is empty", set(1, []byte{}), bad}, {"access token is text", set(1, "token"), bad},
			{"no channel", drop(2), bad}, {"channel of 31 bytes", set(2, make([]byte, 31)), bad}, {"no proof", drop(3), bad},
			{"proof of 31 bytes", set(3, make([]byte, 31)), bad}, {"proof of 63 bytes", set(3, make([]byte, 63)), bad}, {"proof of 65 bytes", set(3, make([]byte, 65)), bad}, {"proof is text", set(3, strings.Repeat("a", 64)), bad},
			{"unknown member", set(4, []byte("x")), bad}, {"unknown critical member", set(-1, []byte("x")), bad}, {"more than 7 KiB", set(1, make([]byte, protocol.MaxConnect)), protocol.CodeTooLarge}})},
	} {
		out = append(out, g.vectors(t, g.what)...)
	}
	return out
}
