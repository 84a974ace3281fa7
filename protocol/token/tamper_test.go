package token_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/signetd/signet/protocol/detcbor"
	"github.com/signetd/signet/protocol/token"
)

// TestTamperedCWT: each way of changing a token is refused for its own reason,
// also when the thief could sign the result with the pool's own key.
func TestTamperedCWT(t *testing.T) {
	s, other := newSigner(t, token.ES256), newSigner(t, token.EdDSA)
	good, err := token.SignCWT(token.Access, fullClaims(t), s)
	if err != nil {
		t.Fatal(err)
	}
	edit := func(change func(*sign1)) func() []byte {
		return func() []byte { m := split(t, good); change(&m); return m.join(t) }
	}
	signed := func(change func(*sign1)) func() []byte {
		return func() []byte { m := split(t, good); change(&m); return m.resign(t, s) }
	}
	header := func(h map[int64]any) func() []byte {
		return func() []byte { return reheader(t, good, s, h) }
	}
	kid := s.Key().COSEKID()
	for _, tt := range []struct {
		name string
		make func() []byte
		want error
	}{
		{"payload bit", edit(func(m *sign1) { m.Payload[20] ^= 1 }), token.ErrSignature},
		{"signature bit", edit(func(m *sign1) { m.Signature[9] ^= 1 }), token.ErrSignature},
		{"signature cut", edit(func(m *sign1) { m.Signature = m.Signature[:63] }), token.ErrSignature},
		{"signature of zeros", edit(func(m *sign1) { clear(m.Signature) }), token.ErrSignature},
		{"other alg", edit(func(m *sign1) { m.Protected = encode(t, map[int64]any{1: -8, 16: 65001}) }), token.ErrAlgorithm},
		{"other key's kid", edit(func(m *sign1) { m.Unprotected = encode(t, map[int64]any{4: other.Key().COSEKID()}) }), token.ErrAlgorithm},
		{"unknown kid", edit(func(m *sign1) { m.Unprotected = encode(t, map[int64]any{4: []byte("none")}) }), token.ErrUnknownKey},
		{"no kid", edit(func(m *sign1) { m.Unprotected = encode(t, map[int64]any{}) }), token.ErrHeader},
		{"long kid", edit(func(m *sign1) { m.Unprotected = encode(t, map[int64]any{4: make([]byte, 65)}) }), token.ErrHeader},
		{"alg unprotected too", edit(func(m *sign1) { m.Unprotected = encode(t, map[int64]any{1: -7, 4: kid}) }), token.ErrHeader},
		{"detached payload", func() []byte {
			m := split(t, good)
			return append([]byte{0xd2}, encode(t, []any{m.Protected, m.Unprotected, nil, m.Signature})...)
		}, token.ErrMalformed},
		{"payload as array", func() []byte {
			m := split(t, good)
			return append([]byte{0xd2}, encode(t, []any{m.Protected, m.Unprotected, m.Payload, []int{1, 2}})...)
		}, token.ErrMalformed},
		{"no tag", func() []byte { return good[1:] }, token.ErrMalformed},
		{"Mac0 tag", func() []byte { return append([]byte{0xd1}, good[1:]...) }, token.ErrMalformed},
		{"CWT tag", func() []byte { return append([]byte{0xd8, 0x3d}, good...) }, token.ErrMalformed},
		{"trailing byte", func() []byte { return append(bytes.Clone(good), 0) }, token.ErrMalformed},
		{"cut", func() []byte { return good[:len(good)-1] }, token.ErrMalformed},
		{"empty", func() []byte { return nil }, token.ErrMalformed},
		{"huge", func() []byte { return make([]byte, token.MaxSize+1) }, token.ErrMalformed},
		{"signed: crit", header(map[int64]any{1: -7, 2: []int{16}, 16: 65001}), token.ErrHeader},
		{"signed: x5chain", header(map[int64]any{1: -7, 16: 65001, 33: []byte{1}}), token.ErrHeader},
		{"signed: x5u", header(map[int64]any{1: -7, 16: 65001, 35: "https://evil.example"}), token.ErrHeader},
		{"signed: extra header", header(map[int64]any{1: -7, 16: 65001, 99: 1}), token.ErrHeader},
		{"signed: negative header", header(map[int64]any{1: -7, 16: 65001, -99: 1}), token.ErrHeader},
		{"signed: no alg", header(map[int64]any{16: 65001}), token.ErrHeader},
		{"signed: alg 0", header(map[int64]any{1: 0, 16: 65001}), token.ErrHeader},
		{"signed: no typ", header(map[int64]any{1: -7}), token.ErrType},
		{"signed: other typ", header(map[int64]any{1: -7, 16: 65003}), token.ErrType},
		{"signed: long header integer", signed(func(m *sign1) { m.Protected = unhex(t, "a20126101a0000fde9") }), token.ErrMalformed},
		{"signed: duplicate header", signed(func(m *sign1) { m.Protected = unhex(t, "a30126012610190000") }), token.ErrMalformed},
		{"signed: header not a map", signed(func(m *sign1) { m.Protected = []byte{0x80} }), token.ErrMalformed},
		{"signed: empty header", signed(func(m *sign1) { m.Protected = nil }), token.ErrMalformed},
		{"signed: unsorted claims", signed(func(m *sign1) { m.Payload = unhex(t, "a203616102f6") }), token.ErrMalformed},
		{"signed: duplicate claim", signed(func(m *sign1) { m.Payload = unhex(t, "a2036161036161") }), token.ErrMalformed},
		{"signed: claims not a map", signed(func(m *sign1) { m.Payload = []byte{0x80} }), token.ErrMalformed},
		{"signed: float exp", signed(func(m *sign1) { m.Payload = unhex(t, "a104f93c00") }), token.ErrMalformed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := token.ParseCWT(tt.make(), token.Access, lookup(s.Key(), other.Key())); !errors.Is(err, tt.want) {
				t.Errorf("%v, want %v", err, tt.want)
			}
		})
	}
}

// TestCWTClaims: signed by the right key, and still not acceptable.
func TestCWTClaims(t *testing.T) {
	s := newSigner(t, token.EdDSA)
	sub, thumb := make([]byte, 16), make([]byte, 16)
	sub[0] = 1
	base := func() map[int64]any {
		return map[int64]any{2: sub, 3: "demo", 4: 2000000000, 7: []byte{1}, 8: map[int64]any{3: thumb}}
	}
	for name, tt := range map[string]struct {
		change func(map[int64]any)
		ok     bool
	}{
		"plain":                   {func(m map[int64]any) {}, true},
		"unknown positive":        {func(m map[int64]any) { m[65535] = map[int64]any{1: []any{true, nil}} }, true},
		"unknown negative":        {func(m map[int64]any) { m[-70000] = 1 }, false},
		"text subject":            {func(m map[int64]any) { m[2] = "sensor" }, false},
		"short subject":           {func(m map[int64]any) { m[2] = sub[:8] }, false},
		"two audiences":           {func(m map[int64]any) { m[3] = []string{"a", "b"} }, false},
		"expiry as text":          {func(m map[int64]any) { m[4] = "2000000000" }, false},
		"expiry negative":         {func(m map[int64]any) { m[4] = -1 }, false},
		"expiry beyond 9999":      {func(m map[int64]any) { m[4] = int64(1) << 62 }, false},
		"cnf with COSE key":       {func(m map[int64]any) { m[8] = map[int64]any{1: map[int64]any{1: 1}} }, false},
		"cnf with two":            {func(m map[int64]any) { m[8] = map[int64]any{2: 1, 3: thumb} }, false},
		"cnf short":               {func(m map[int64]any) { m[8] = map[int64]any{3: thumb[:4]} }, false},
		"nonce short":             {func(m map[int64]any) { m[10] = []byte{1} }, false},
		"device bad":              {func(m map[int64]any) { m[token.ClaimDevice] = "demo:a/b" }, false},
		"groups not text":         {func(m map[int64]any) { m[token.ClaimGroups] = []int{1} }, false},
		"attributes with integer": {func(m map[int64]any) { m[token.ClaimAttributes] = map[int64]any{1: "x"} }, false},
	} {
		t.Run(name, func(t *testing.T) {
			m := base()
			tt.change(m)
			raw, err := token.Sign1(token.Access, encode(t, m), nil, s)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := token.ParseCWT(raw, token.Access, lookup(s.Key())); (err == nil) != tt.ok {
				t.Errorf("ParseCWT: %v, want success %v", err, tt.ok)
			}
		})
	}
}

// forge signs any header and payload as a compact JWS.
func forge(t testing.TB, s *token.Signer, header, payload string) string {
	t.Helper()
	b64 := base64.RawURLEncoding.EncodeToString
	signed := b64([]byte(header)) + "." + b64([]byte(payload))
	sig, err := s.Sign([]byte(signed))
	if err != nil {
		t.Fatal(err)
	}
	return signed + "." + b64(sig)
}

func TestTamperedJWT(t *testing.T) {
	s := newSigner(t, token.ES256)
	good, err := token.SignJWT(token.Access, fullClaims(t), s)
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(good, ".")
	claims, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	header := func(rest string) string {
		return forge(t, s, fmt.Sprintf(`{"alg":"ES256","kid":%q%s}`, s.Key().KID(), rest), string(claims))
	}
	body := func(old, new string) string {
		if !bytes.Contains(claims, []byte(old)) {
			t.Fatalf("claims hold no %s", old)
		}
		h := fmt.Sprintf(`{"alg":"ES256","kid":%q,"typ":"at+jwt"}`, s.Key().KID())
		return forge(t, s, h, strings.Replace(string(claims), old, new, 1))
	}
	zero := base64.RawURLEncoding.EncodeToString(make([]byte, 64))
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","kid":"` + s.Key().KID() + `","typ":"at+jwt"}`))
	hs := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256","kid":"` + s.Key().KID() + `","typ":"at+jwt"}`))
	for _, tt := range []struct {
		name, raw string
		want      error
	}{
		{"payload changed", parts[0] + "." + parts[1][:40] + "A" + parts[1][41:] + "." + parts[2], nil},
		{"signature changed", parts[0] + "." + parts[1] + "." + "AAAA" + parts[2][4:], token.ErrSignature},
		{"signature of zeros", parts[0] + "." + parts[1] + "." + zero, token.ErrSignature},
		{"signature missing", parts[0] + "." + parts[1] + ".", token.ErrSignature},
		{"alg none", none + "." + parts[1] + ".", token.ErrAlgorithm},
		{"alg HS256", hs + "." + parts[1] + "." + zero, token.ErrAlgorithm},
		{"padding", good + "==", token.ErrMalformed},
		{"line break", parts[0] + "." + parts[1] + "." + parts[2][:10] + "\n" + parts[2][10:], token.ErrMalformed},
		{"space", " " + good, token.ErrMalformed},
		{"standard base64", strings.NewReplacer("-", "+", "_", "/").Replace(good) + "+", token.ErrMalformed},
		{"two parts", parts[0] + "." + parts[1], token.ErrMalformed},
		{"four parts", good + ".x", token.ErrMalformed},
		{"JSON form", `{"payload":"` + parts[1] + `"}`, token.ErrMalformed},
		{"empty", "", token.ErrMalformed},
		{"huge", strings.Repeat("A", token.MaxSize+1), token.ErrMalformed},
		{"signed: no typ", header(""), token.ErrType},
		{"signed: typ in capitals", header(`,"typ":"AT+JWT"`), token.ErrType},
		{"signed: ID typ", header(`,"typ":"JWT"`), token.ErrType},
		{"signed: typ twice", header(`,"typ":"JWT","typ":"at+jwt"`), token.ErrMalformed},
		{"signed: crit", header(`,"typ":"at+jwt","crit":["x"],"x":1`), token.ErrHeader},
		{"signed: empty crit", header(`,"typ":"at+jwt","crit":[]`), token.ErrHeader},
		{"signed: jku", header(`,"typ":"at+jwt","jku":"https://evil.example"`), token.ErrHeader},
		{"signed: x5u", header(`,"typ":"at+jwt","x5u":"https://evil.example"`), token.ErrHeader},
		{"signed: jwk", header(`,"typ":"at+jwt","jwk":{}`), token.ErrHeader},
		{"signed: x5c", header(`,"typ":"at+jwt","x5c":[]`), token.ErrHeader},
		{"signed: other header", header(`,"typ":"at+jwt","cty":"x"`), token.ErrHeader},
		{"signed: alg twice", header(`,"typ":"at+jwt","alg":"none"`), token.ErrMalformed},
		{"signed: no kid", forge(t, s, `{"alg":"ES256","typ":"at+jwt"}`, string(claims)), token.ErrHeader},
		{"signed: long kid", forge(t, s, `{"alg":"ES256","typ":"at+jwt","kid":"`+strings.Repeat("k", 65)+`"}`, string(claims)), token.ErrHeader},
		{"signed: kid path", forge(t, s, `{"alg":"ES256","typ":"at+jwt","kid":"../../dev/null"}`, string(claims)), token.ErrUnknownKey},
		{"signed: kid number", forge(t, s, `{"alg":"ES256","typ":"at+jwt","kid":1}`, string(claims)), token.ErrMalformed},
		{"signed: claim twice", body(`"iss":`, `"sub":"00000000-0000-0000-0000-000000000001","iss":`), token.ErrMalformed},
		{"signed: deep twice", body(`"iss":`, `"x":{"a":1,"a":2},"iss":`), token.ErrMalformed},
		{"signed: exp float", body(`"exp":`, `"exp":1.5,"x":`), token.ErrClaims},
		{"signed: exp text", body(`"exp":`, `"exp":"2000000000","x":`), token.ErrClaims},
		{"signed: exp missing", body(`"exp":`, `"EXP":`), token.ErrClaims},
		{"signed: aud array", body(`"aud":"demo"`, `"aud":["demo","x"]`), token.ErrClaims},
		{"signed: sub", body(`"sub":"`, `"sub":"x`), token.ErrClaims},
		{"signed: use", body(`"token_use":"access"`, `"token_use":"id"`), token.ErrType},
		{"signed: cnf jwk", body(`"jkt":`, `"jwk":`), token.ErrClaims},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := token.ParseJWT([]byte(tt.raw), token.Access, lookup(s.Key()))
			if err == nil || tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("%v, want %v", err, tt.want)
			}
		})
	}
	if _, err := token.ParseJWT([]byte(header(`,"typ":"at+jwt"`)), token.Access, lookup(s.Key())); err != nil {
		t.Errorf("the untampered forgery: %v", err)
	}
}

// TestEveryBit flips each bit of a CWT and each character of a JWT.
func TestEveryBit(t *testing.T) {
	s := newSigner(t, token.EdDSA)
	cwt, err := token.SignCWT(token.Access, fullClaims(t).Compact(), s)
	if err != nil {
		t.Fatal(err)
	}
	for i := range len(cwt) * 8 {
		bad := bytes.Clone(cwt)
		bad[i/8] ^= 1 << (i % 8)
		if _, err := token.ParseCWT(bad, token.Access, lookup(s.Key())); err == nil {
			t.Fatalf("accepted with bit %d flipped", i)
		}
	}
	jwt, err := token.SignJWT(token.Access, fullClaims(t), s)
	if err != nil {
		t.Fatal(err)
	}
	for i := range jwt {
		for _, c := range []byte("A_.+\n") {
			if jwt[i] == c {
				continue
			}
			bad := []byte(jwt)
			bad[i] = c
			if _, err := token.ParseJWT(bad, token.Access, lookup(s.Key())); err == nil {
				t.Fatalf("accepted with %q at %d", c, i)
			}
		}
	}
}

func TestMac0(t *testing.T) {
	secret, err := token.NewSecret(bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := token.Mac0(token.KeyStatement, []byte("payload"), []byte("aad"), []byte("kid"), secret)
	if err != nil {
		t.Fatal(err)
	}
	m, err := token.VerifyMac0(raw, secret, []byte("aad"))
	if err != nil {
		t.Fatal(err)
	}
	if string(m.Payload) != "payload" || string(m.KID) != "kid" || m.Type != token.TypeKeyStatement {
		t.Errorf("read %+v", m)
	}
	if _, err := token.VerifyMac0(raw, secret, nil); !errors.Is(err, token.ErrSignature) {
		t.Errorf("other external bytes: %v, want ErrSignature", err)
	}
	for i := range len(raw) * 8 {
		bad := bytes.Clone(raw)
		bad[i/8] ^= 1 << (i % 8)
		// The kid is a hint and not covered.
		if m, err := token.VerifyMac0(bad, secret, []byte("aad")); err == nil && (string(m.Payload) != "payload" || string(m.KID) == "kid") {
			t.Fatalf("accepted with bit %d flipped", i)
		}
	}
	if err := detcbor.Check(raw[1:]); err != nil {
		t.Error(err)
	}
}
