package vectors_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/signetd/signet/protocol/detcbor"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/token"
)

const (
	issuer = "https://broker.example/pools/demo"
	issued = 1_790_000_000 // Unix seconds
	never  = 4_102_444_800 // the tokens' expiry, in the year 2100
)

func subject(label string) ident.UUID {
	var u ident.UUID
	copy(u[:], fixed(label, 16))
	u[6], u[8] = u[6]&0x0f|0x70, u[8]&0x3f|0x80
	return u
}

type keyFile struct {
	About   string       `json:"about"`
	Valid   []keyVector  `json:"valid"`
	Invalid []invalidKey `json:"invalid"`
}

type keyVector struct {
	Name       string `json:"name"`
	Alg        string `json:"alg"`
	Private    string `json:"private"`
	COSE       string `json:"cose_key"`
	Thumbprint string `json:"thumbprint"`
	KID        string `json:"cwt_kid"`
	JWK        string `json:"jwk"`
	JKT        string `json:"jwt_kid"`
}

type invalidKey struct {
	Name string `json:"name"`
	COSE string `json:"cose_key"`
}

func pairsOfKeys(t *testing.T) []keyPair {
	return []keyPair{p256(t, "device"), ed(t, "device ed25519"), p256(t, "signer"), ed(t, "signer ed25519"), rsa2048(t, "signer rsa"), p256(t, "anchor"), p256(t, "second anchor"), p256(t, "stranger")}
}

func keys(t *testing.T) keyFile {
	f := keyFile{About: "COSE keys and their thumbprints. private: P-256 scalar, Ed25519 seed, or PKCS #8. thumbprint: RFC 9679; cwt_kid: its first four bytes; jwt_kid: RFC 7638. invalid: must be refused."}
	for _, p := range pairsOfKeys(t) {
		k := p.signer.Key()
		thumb := k.Thumbprint()
		f.Valid = append(f.Valid, keyVector{p.name, k.Alg().String(), p.private, hexOf(k.MarshalCOSE()), hexOf(thumb[:]), hexOf(k.COSEKID()), string(k.MarshalJWK()), k.KID()})
	}
	good := p256(t, "device").signer.Key().MarshalCOSE()
	goodEd := ed(t, "device ed25519").signer.Key().MarshalCOSE()
	for _, b := range []struct {
		name string
		raw  []byte
	}{
		{"point not on the curve", edited(t, detcbor.RawMessage(good), set(-3, make([]byte, 32)))},
		{"coordinate of 31 bytes", edited(t, detcbor.RawMessage(good), set(-2, make([]byte, 31)))},
		{"no y", edited(t, detcbor.RawMessage(good), drop(-3))},
		{"another curve", edited(t, detcbor.RawMessage(good), set(-1, 2))},
		{"private key in it", edited(t, detcbor.RawMessage(good), set(-4, make([]byte, 32)))},
		{"alg of another key type", edited(t, detcbor.RawMessage(good), set(3, -8))},
		{"Ed25519 of 31 bytes", edited(t, detcbor.RawMessage(goodEd), set(-2, make([]byte, 31)))},
		{"Ed25519 point of small order", edited(t, detcbor.RawMessage(goodEd), set(-2, append([]byte{1}, make([]byte, 31)...)))},
		{"symmetric key", encode(t, map[int64]any{1: 4, -1: make([]byte, 32)})},
	} {
		f.Invalid = append(f.Invalid, invalidKey{b.name, hexOf(b.raw)})
	}
	return f
}

type tokenFile struct {
	About    string         `json:"about"`
	Issuer   string         `json:"issuer"`
	Audience string         `json:"audience"`
	JWKS     string         `json:"jwks"`
	COSEKeys string         `json:"cose_keys"`
	Anchor   string         `json:"anchor"`
	Nonce    string         `json:"nonce"`
	Valid    []tokenVector  `json:"valid"`
	Invalid  []invalidToken `json:"invalid"`
}

// A tokenVector is a JWT as text or a COSE_Sign1 as hex.
type tokenVector struct {
	Name   string  `json:"name"`
	Form   string  `json:"form"`  // "jwt" or "cwt"
	Class  string  `json:"class"` // "access", "id", "keys", "anchor"
	Alg    string  `json:"alg"`
	Token  string  `json:"token"`
	Signed string  `json:"signed,omitempty"` // CWT: the bytes that the signature covers
	Claims string  `json:"claims,omitempty"` // JWT: the JSON
	Fields []field `json:"fields,omitempty"` // CWT: the payload's map

	Successor string `json:"successor,omitempty"` // COSE_Key that a succession names
}

type invalidToken struct {
	Name    string `json:"name"`
	Form    string `json:"form"`
	Class   string `json:"class"`
	Token   string `json:"token"`
	Failure string `json:"failure"`
	want    error
}

func claims(t *testing.T) *token.Claims {
	return &token.Claims{
		Issuer: issuer, Subject: subject("subject"), Audience: "demo", IssuedAt: time.Unix(issued, 0), Expires: time.Unix(never, 0),
		ID: fixed("token id", 8), Confirmation: token.Confirm(p256(t, "device").signer.Key()), ClientID: "default",
		OriginID: subject("session"), AuthTime: time.Unix(issued, 0), Device: device(t), Groups: []string{"lamps"},
	}
}

// accessCWT gives what the broker's mint makes: the default client is left out.
func accessCWT(t *testing.T, c *token.Claims, by keyPair) []byte {
	compact := *c
	compact.ClientID = ""
	raw, err := token.SignCWT(token.Access, compact.Compact(), by.signer)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func accessJWT(t *testing.T, c *token.Claims, by keyPair) string {
	text, err := token.SignJWT(token.Access, c, by.signer)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func idToken(t *testing.T, nonce []byte, by keyPair) []byte {
	raw, err := token.SignCWT(token.ID, &token.Claims{
		Issuer: issuer, Subject: subject("subject"), Audience: "default", IssuedAt: time.Unix(issued, 0), Expires: time.Unix(never, 0), Nonce: nonce,
	}, by.signer)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// idJWT gives what the broker's mint makes beside an access token in JWT form.
func idJWT(t *testing.T, by keyPair) string {
	c := claims(t)
	c.Audience, c.Nonce, c.ClientID, c.Confirmation = "default", fixed("nonce", 16), "", token.Confirmation{}
	text, err := token.SignJWT(token.ID, c, by.signer)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// mqttClaims are those of an MQTT password.
func mqttClaims(t *testing.T) *token.Claims {
	c := claims(t)
	c.Audience, c.Confirmation = issuer+"/mqtt", token.Confirmation{}
	return c
}

func mqttCWT(t *testing.T, by keyPair) []byte {
	c := mqttClaims(t)
	c.ClientID = ""
	raw, err := token.SignCWT(token.MQTTPassword, c.Compact(), by.signer)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func mqttJWT(t *testing.T, by keyPair) string {
	text, err := token.SignJWT(token.MQTTPassword, mqttClaims(t), by.signer)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func signers(t *testing.T) []keyPair {
	return []keyPair{p256(t, "signer"), ed(t, "signer ed25519"), rsa2048(t, "signer rsa")}
}

func statement(t *testing.T, by keyPair) []byte { return stated(t, by, issuer, issued, 0) }

// stated is a statement of any issuer and time.
func stated(t *testing.T, by keyPair, iss string, at int64, epoch uint64) []byte {
	var list []detcbor.RawMessage
	for _, s := range signers(t) {
		list = append(list, s.signer.Key().MarshalCOSE())
	}
	m := map[int64]any{1: iss, 2: list, 3: x25519(t, "answer key").PublicKey().Bytes(), 4: at * 1000}
	if epoch != 0 {
		m[5] = epoch
	}
	payload := encode(t, m)
	raw, err := token.Sign1(token.KeyStatement, payload, nil, by.signer)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func publicKeys(t *testing.T) []*token.Key {
	var out []*token.Key
	for _, s := range signers(t) {
		out = append(out, s.signer.Key())
	}
	return out
}

func lookup(list []*token.Key) token.Lookup {
	return func(kid []byte) (*token.Key, error) {
		for _, k := range list {
			if string(kid) == k.KID() || bytes.Equal(kid, k.COSEKID()) {
				return k, nil
			}
		}
		return nil, token.ErrUnknownKey
	}
}

func tokens(t *testing.T) tokenFile {
	f := tokenFile{
		About:  "Tokens, a key statement and a succession of anchors, and what must be refused, with the reason: malformed, header, type, algorithm, signature, unknown-key, claims; issuer, audience and expired are for the reader to check against the issuer and audience here. JWTs are text, COSE_Sign1 objects hex.",
		Issuer: issuer, Audience: "demo", JWKS: string(token.MarshalJWKS(publicKeys(t))), COSEKeys: hexOf(token.MarshalCOSEKeySet(publicKeys(t))),
		Anchor: hexOf(p256(t, "anchor").signer.Key().MarshalCOSE()), Nonce: hexOf(fixed("nonce", 16)),
	}
	for _, s := range signers(t) {
		alg := s.signer.Key().Alg().String()
		text := accessJWT(t, claims(t), s)
		f.Valid = append(f.Valid, tokenVector{Name: "access JWT, " + alg, Form: "jwt", Class: "access", Alg: alg, Token: text, Claims: string(part(t, text, 1))})
		id := idJWT(t, s)
		f.Valid = append(f.Valid, tokenVector{Name: "ID JWT, " + alg, Form: "jwt", Class: "id", Alg: alg, Token: id, Claims: string(part(t, id, 1))})
		f.Valid = append(f.Valid, cwt(t, "access CWT, "+alg, "access", alg, accessCWT(t, claims(t), s)))
		f.Valid = append(f.Valid, cwt(t, "ID CWT, "+alg, "id", alg, idToken(t, fixed("nonce", 16), s)))
	}
	f.Valid = append(f.Valid, cwt(t, "key statement", "keys", "ES256", statement(t, p256(t, "anchor"))))
	moved := cwt(t, "succession", "anchor", "ES256", succession(t, "anchor", "second anchor").Signed)
	moved.Successor = hexOf(p256(t, "second anchor").signer.Key().MarshalCOSE())
	f.Valid = append(f.Valid, moved)
	f.Invalid = slices.Concat(badJWTs(t), badCWTs(t))
	for i := range f.Invalid {
		f.Invalid[i].Failure = failureName(f.Invalid[i].want)
	}
	return f
}

func failureName(err error) string {
	for name, e := range map[string]error{
		"malformed": token.ErrMalformed, "header": token.ErrHeader, "type": token.ErrType, "algorithm": token.ErrAlgorithm, "signature": token.ErrSignature,
		"unknown-key": token.ErrUnknownKey, "claims": token.ErrClaims, "issuer": errIssuer, "audience": errAudience, "expired": errExpired,
	} {
		if errors.Is(err, e) {
			return name
		}
	}
	return ""
}

// What a reader checks beyond the token itself.
var (
	errIssuer   = errors.New("another issuer")
	errAudience = errors.New("another audience")
	errExpired  = errors.New("expired")
)

// read reads one token as a backend does whose clock stands at issued.
func read(form, class string, raw []byte, keys []*token.Key) error {
	var c *token.Claims
	var err error
	switch {
	case class == "keys":
		_, err = token.OpenSign1(raw, token.KeyStatement, keys[0], nil)
		return err
	case class == "anchor":
		_, err = token.OpenSign1(raw, token.AnchorSuccession, keys[0], nil)
		return err
	case form == "jwt":
		c, err = token.ParseJWT(raw, classOf(class), lookup(keys))
	default:
		c, err = token.ParseCWT(raw, classOf(class), lookup(keys))
	}
	switch {
	case err != nil:
		return err
	case c.Issuer != "" && c.Issuer != issuer:
		return errIssuer
	case class == "access" && c.Audience != "demo":
		return errAudience
	case c.Expires.Unix() <= issued:
		return errExpired
	}
	return nil
}

func classOf(name string) token.Class {
	if name == "id" {
		return token.ID
	}
	return token.Access
}

func part(t *testing.T, jws string, n int) []byte {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(strings.Split(jws, ".")[n])
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func cwt(t *testing.T, name, class, alg string, raw []byte) tokenVector {
	parts := coseParts(t, raw)
	var fs []field
	if class != "keys" && class != "anchor" {
		fs = fieldsOf(t, parts[2], claimNames())
	}
	signed := encode(t, []any{"Signature1", parts[0], []byte{}, parts[2]})
	return tokenVector{Name: name, Form: "cwt", Class: class, Alg: alg, Token: hexOf(raw), Signed: hexOf(signed), Fields: fs}
}

// coseParts gives protected header, encoded unprotected header, payload and signature.
func coseParts(t *testing.T, raw []byte) [4][]byte {
	t.Helper()
	var parts [4]detcbor.RawMessage
	if err := detcbor.Unmarshal(raw[1:], &parts); err != nil {
		t.Fatal(err)
	}
	var out [4][]byte
	for i, p := range parts {
		if i == 1 {
			out[i] = p
		} else if err := detcbor.Unmarshal(p, &out[i]); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func coseOf(t *testing.T, tag byte, parts [4][]byte) []byte {
	return append([]byte{0xc0 | tag}, encode(t, []any{parts[0], detcbor.RawMessage(parts[1]), parts[2], parts[3]})...)
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func badJWTs(t *testing.T) []invalidToken {
	good := accessJWT(t, claims(t), p256(t, "signer"))
	p := strings.Split(good, ".")
	kid := p256(t, "signer").signer.Key().KID()
	header := func(alg, typ, more string) string {
		return b64([]byte(`{"alg":"` + alg + `","kid":"` + kid + `","typ":"` + typ + `"` + more + `}`))
	}
	signed := func(head, payload string, by keyPair) string {
		text := head + "." + payload
		return text + "." + b64(by.sign(t, []byte(text)))
	}
	mac := hmac.New(sha256.New, p256(t, "signer").signer.Key().MarshalJWK())
	mac.Write([]byte(header("HS256", "at+jwt", "") + "." + p[1]))
	flipped := part(t, good, 2)
	flipped[10] ^= 1
	changed := strings.Replace(string(part(t, good, 1)), `"signet:groups":["lamps"]`, `"signet:groups":["admin"]`, 1)
	with := func(change func(*token.Claims)) string {
		c := claims(t)
		change(c)
		return accessJWT(t, c, p256(t, "signer"))
	}
	own := p256(t, "signer")
	list := []invalidToken{
		{Name: "one bit of the signature", Token: p[0] + "." + p[1] + "." + b64(flipped), want: token.ErrSignature},
		{Name: "claims changed", Token: p[0] + "." + b64([]byte(changed)) + "." + p[2], want: token.ErrSignature},
		{Name: "alg none", Token: header("none", "at+jwt", "") + "." + p[1] + ".", want: token.ErrAlgorithm},
		{Name: "HMAC under the public key", Token: header("HS256", "at+jwt", "") + "." + p[1] + "." + b64(mac.Sum(nil)), want: token.ErrAlgorithm},
		{Name: "alg of another key", Token: signed(header("EdDSA", "at+jwt", ""), p[1], own), want: token.ErrAlgorithm},
		{Name: "another's signature", Token: signed(p[0], p[1], p256(t, "stranger")), want: token.ErrSignature},
		{Name: "signature of zeros", Token: p[0] + "." + p[1] + "." + b64(make([]byte, 64)), want: token.ErrSignature},
		{Name: "signature left out", Token: p[0] + "." + p[1] + ".", want: token.ErrSignature},
		{Name: "signature in ASN.1", Token: p[0] + "." + p[1] + "." + b64(append([]byte{0x30, 0x44, 2, 0x20}, part(t, good, 2)...)), want: token.ErrSignature},
		{Name: "unknown key", Token: accessJWT(t, claims(t), p256(t, "stranger")), want: token.ErrUnknownKey},
		{Name: "typ of an ID token", Token: signed(header("ES256", "JWT", ""), p[1], own), want: token.ErrType},
		{Name: "critical header", Token: signed(header("ES256", "at+jwt", `,"crit":["x"],"x":1`), p[1], own), want: token.ErrHeader},
		{Name: "brings its own key", Token: signed(header("ES256", "at+jwt", `,"jwk":`+string(p256(t, "stranger").signer.Key().MarshalJWK())), p[1], p256(t, "stranger")), want: token.ErrHeader},
		{Name: "payload padded", Token: signed(p[0], p[1]+"=", own), want: token.ErrMalformed},
		{Name: "two parts", Token: p[0] + "." + p[1], want: token.ErrMalformed},
		{Name: "expired", Token: with(func(c *token.Claims) { c.Expires = time.Unix(issued-1, 0) }), want: errExpired},
		{Name: "another audience", Token: with(func(c *token.Claims) { c.Audience = "other" }), want: errAudience},
		{Name: "another issuer", Token: with(func(c *token.Claims) { c.Issuer = "https://evil.example" }), want: errIssuer},
	}
	list = append(list, invalidToken{Name: "an ID token as access token", Token: idJWT(t, own), want: token.ErrType}, invalidToken{Name: "an access token as ID token", Class: "id", Token: good, want: token.ErrType},
		invalidToken{Name: "an MQTT password as access token", Token: mqttJWT(t, own), want: token.ErrType}, invalidToken{Name: "an MQTT password as ID token", Class: "id", Token: mqttJWT(t, own), want: token.ErrType})
	for i := range list {
		list[i].Form = "jwt"
		if list[i].Class == "" {
			list[i].Class = "access"
		}
	}
	return list
}

func badCWTs(t *testing.T) []invalidToken {
	own := p256(t, "signer")
	good := accessCWT(t, claims(t), own)
	parts := coseParts(t, good)
	resigned := func(protected, payload []byte, by keyPair) []byte {
		tbs := encode(t, []any{"Signature1", protected, []byte{}, payload})
		return coseOf(t, 18, [4][]byte{protected, parts[1], payload, by.sign(t, tbs)})
	}
	flipped := slices.Clone(parts[3])
	flipped[10] ^= 1
	changed := edited(t, detcbor.RawMessage(parts[2]), set(2, fixed("other subject", 16)))
	mac0 := encode(t, []any{"MAC0", parts[0], []byte{}, parts[2]})
	with := func(change func(*token.Claims)) []byte {
		c := claims(t)
		change(c)
		return accessCWT(t, c, own)
	}
	list := []struct {
		name, class string
		raw         []byte
		want        error
	}{
		{"one bit of the signature", "access", coseOf(t, 18, [4][]byte{parts[0], parts[1], parts[2], flipped}), token.ErrSignature},
		{"claims changed", "access", coseOf(t, 18, [4][]byte{parts[0], parts[1], changed, parts[3]}), token.ErrSignature},
		{"alg of another key", "access", resigned(edited(t, detcbor.RawMessage(parts[0]), set(1, -8)), parts[2], own), token.ErrAlgorithm},
		{"another's signature", "access", resigned(parts[0], parts[2], p256(t, "stranger")), token.ErrSignature},
		{"signature of zeros", "access", coseOf(t, 18, [4][]byte{parts[0], parts[1], parts[2], make([]byte, 64)}), token.ErrSignature},
		{"signature of 63 bytes", "access", coseOf(t, 18, [4][]byte{parts[0], parts[1], parts[2], parts[3][:63]}), token.ErrSignature},
		{"signature left out", "access", coseOf(t, 18, [4][]byte{parts[0], parts[1], parts[2], {}}), token.ErrSignature},
		{"signed in another context", "access", coseOf(t, 18, [4][]byte{parts[0], parts[1], parts[2], own.sign(t, mac0)}), token.ErrSignature},
		{"unknown key", "access", accessCWT(t, claims(t), p256(t, "stranger")), token.ErrUnknownKey},
		{"tag of a COSE_Mac0", "access", coseOf(t, 17, parts), token.ErrMalformed},
		{"no tag", "access", good[1:], token.ErrMalformed},
		{"one byte more", "access", append(slices.Clone(good), 0), token.ErrMalformed},
		{"critical header", "access", resigned(edited(t, detcbor.RawMessage(parts[0]), set(2, []int{99})), parts[2], own), token.ErrHeader},
		{"alg in the unprotected header", "access", coseOf(t, 18, [4][]byte{parts[0], edited(t, detcbor.RawMessage(parts[1]), set(1, -7)), parts[2], parts[3]}), token.ErrHeader},
		{"an ID token as access token", "access", idToken(t, fixed("nonce", 16), own), token.ErrType},
		{"an access token as ID token", "id", good, token.ErrType},
		{"an MQTT password as access token", "access", mqttCWT(t, own), token.ErrType},
		{"an MQTT password as ID token", "id", mqttCWT(t, own), token.ErrType},
		{"unknown critical claim", "access", resigned(parts[0], edited(t, detcbor.RawMessage(parts[2]), set(-70000, 1)), own), token.ErrClaims},
		{"expired", "access", with(func(c *token.Claims) { c.Expires = time.Unix(issued-1, 0) }), errExpired},
		{"another audience", "access", with(func(c *token.Claims) { c.Audience = "other" }), errAudience},
		{"statement by another anchor", "keys", statement(t, p256(t, "stranger")), token.ErrSignature},
		{"succession by another anchor", "anchor", succession(t, "stranger", "second anchor").Signed, token.ErrSignature},
		{"a key statement as succession", "anchor", statement(t, p256(t, "anchor")), token.ErrType},
		{"a succession as key statement", "keys", succession(t, "anchor", "second anchor").Signed, token.ErrType},
		{"an ID token as key statement", "keys", idToken(t, fixed("nonce", 16), p256(t, "anchor")), token.ErrType},
	}
	var out []invalidToken
	for _, l := range list {
		out = append(out, invalidToken{Name: l.name, Form: "cwt", Class: l.class, Token: hexOf(l.raw), want: l.want})
	}
	return out
}
