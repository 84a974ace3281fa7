package token_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/signetd/signet/protocol/detcbor"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/ident/identtest"
	"github.com/signetd/signet/protocol/token"
)

var rsaOnce = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

// newSigner makes a signer with a fresh key, except for RSA, whose one key is
// shared because it takes long to make.
func newSigner(t testing.TB, alg token.Alg) *token.Signer {
	t.Helper()
	var private crypto.Signer
	var err error
	switch alg {
	case token.ES256:
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case token.EdDSA:
		_, private, err = ed25519.GenerateKey(rand.Reader)
	default:
		private, err = rsaOnce()
	}
	if err != nil {
		t.Fatal(err)
	}
	s, err := token.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// lookup finds keys by both of their ids.
func lookup(keys ...*token.Key) token.Lookup {
	return func(kid []byte) (*token.Key, error) {
		for _, k := range keys {
			if string(kid) == k.KID() || string(kid) == string(k.COSEKID()) {
				return k, nil
			}
		}
		return nil, token.ErrUnknownKey
	}
}

func device(t testing.TB, s string) ident.Device {
	t.Helper()
	return identtest.Device(t, s)
}

// fullClaims has every claim.
func fullClaims(t testing.TB) *token.Claims {
	at := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	return &token.Claims{
		Issuer: "https://localhost:8443/pools/demo", Subject: ident.UUID{1, 2, 3, 15: 16}, Audience: "demo",
		Expires: at.Add(time.Hour), NotBefore: at, IssuedAt: at, ID: []byte("0123456789abcdef"),
		Confirmation: token.Confirm(newSigner(t, token.EdDSA).Key()), ClientID: "gateway", Scope: "a b",
		OriginID: ident.UUID{9}, AuthTime: at, Nonce: []byte("nonce of device."), Device: device(t, "demo:sensor-1"),
		Groups: []string{"north", "lab"}, Roles: []string{"reader"}, ACR: "key",
		Attributes: map[string]string{"site": "b<&>\"1", "line": "é", "a": ""},
	}
}

// claimsOf has every claim that a token of the class may have.
func claimsOf(t testing.TB, class token.Class) *token.Claims {
	c := fullClaims(t)
	if class == token.MQTTPassword {
		c.Confirmation = token.Confirmation{}
	}
	return c
}

func TestRoundTrip(t *testing.T) {
	for _, alg := range []token.Alg{token.ES256, token.EdDSA, token.RS256} {
		for _, class := range []token.Class{token.Access, token.ID, token.MQTTPassword} {
			t.Run(fmt.Sprint(alg, " ", class), func(t *testing.T) {
				s, in := newSigner(t, alg), claimsOf(t, class)
				cwt, err := token.SignCWT(class, in, s)
				if err != nil {
					t.Fatal(err)
				}
				got, err := token.ParseCWT(cwt, class, lookup(s.Key()))
				if err != nil {
					t.Fatal(err)
				}
				want := *in
				want.Use, want.Confirmation.JKT = map[token.Class]string{token.Access: "access", token.ID: "id", token.MQTTPassword: "mqtt"}[class], nil
				if diff := cmp.Diff(&want, got, cmp.Comparer(sameDevice)); diff != "" {
					t.Error("CWT: " + diff)
				}
				jwt, err := token.SignJWT(class, in, s)
				if err != nil {
					t.Fatal(err)
				}
				got, err = token.ParseJWT([]byte(jwt), class, lookup(s.Key()))
				if err != nil {
					t.Fatal(err)
				}
				want.Confirmation = token.Confirmation{JKT: in.Confirmation.JKT}
				if diff := cmp.Diff(&want, got, cmp.Comparer(sameDevice)); diff != "" {
					t.Error("JWT: " + diff)
				}
			})
		}
	}
}

func sameDevice(a, b ident.Device) bool { return a == b }

// TestSessionPrefix: a compact CWT says in its id how its session's begins and what sets
// it apart from the session's others; nothing else is read as one.
func TestSessionPrefix(t *testing.T) {
	s, in := newSigner(t, token.ES256), fullClaims(t)
	in.OriginID = ident.UUID{1, 2, 3, 4, 5, 6, 0x77, 8, 0x89, 10}
	id := bytes.Clone(in.ID)
	cwt, err := token.SignCWT(token.Access, in.Compact(), s)
	if err != nil {
		t.Fatal(err)
	}
	got, err := token.ParseCWT(cwt, token.Access, lookup(s.Key()))
	if err != nil {
		t.Fatal(err)
	}
	if prefix, ok := got.SessionPrefix(); !ok || prefix != in.OriginID.Prefix() || string(got.ID[8:]) != "cdef" || !got.OriginID.IsZero() {
		t.Errorf("%x, %v; id %x", prefix, ok, got.ID)
	}
	if again := got.Compact(); !bytes.Equal(again.ID, got.ID) || !bytes.Equal(in.ID, id) || in.OriginID.IsZero() {
		t.Errorf("compact again: %x; what it was made of: %x", again.ID, in.ID)
	}
	for name, change := range map[string]func(c *token.Claims){
		"shorter":             func(c *token.Claims) { c.ID = c.ID[:11] },
		"longer":              func(c *token.Claims) { c.ID = append(bytes.Clone(c.ID), 0) },
		"no id":               func(c *token.Claims) { c.ID = nil },
		"its session as well": func(c *token.Claims) { c.OriginID = in.OriginID },
		"of a JWT":            func(c *token.Claims) { c.Confirmation.JKT = make([]byte, 32) },
		"short id of its own": func(c *token.Claims) { c.ID, c.OriginID = []byte("abc"), in.OriginID; *c = *c.Compact() },
		"an id without any":   func(c *token.Claims) { c.ID = []byte("12345678"); *c = *c.Compact() },
		"the claims of both":  func(c *token.Claims) { *c = *in },
	} {
		c := *got
		change(&c)
		if prefix, ok := c.SessionPrefix(); ok {
			t.Errorf("%s: %x", name, prefix)
		}
	}
}

// TestSizes is the promise of DESIGN: small enough for one MQTT packet on a bad link.
func TestSizes(t *testing.T) {
	s := newSigner(t, token.ES256)
	access := fullClaims(t)
	access.Scope, access.ClientID, access.Groups, access.Roles, access.Attributes = "", "", nil, nil, nil
	id := *access
	id.OriginID, id.AuthTime, id.NotBefore, id.ACR, id.Confirmation = ident.UUID{}, time.Time{}, time.Time{}, "", token.Confirmation{}
	id.Issuer, id.ID = "", nil
	for _, tt := range []struct {
		name   string
		class  token.Class
		claims *token.Claims
		most   int
	}{
		{"compact access", token.Access, access.Compact(), 150},
		{"full access", token.Access, access, 330},
		{"ID with nonce and name", token.ID, &id, 220},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cwt, err := token.SignCWT(tt.class, tt.claims, s)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d bytes", len(cwt))
			if len(cwt) > tt.most {
				t.Errorf("%d bytes, at most %d", len(cwt), tt.most)
			}
			if err := detcbor.Check(cwt[1:]); err != nil {
				t.Error(err)
			}
		})
	}
	jwt, err := token.SignJWT(token.Access, access, s)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("JWT: %d bytes", len(jwt))
}

func TestSignRefuses(t *testing.T) {
	s := newSigner(t, token.EdDSA)
	for name, change := range map[string]func(*token.Claims){
		"sub":       func(c *token.Claims) { c.Subject = ident.UUID{} },
		"aud":       func(c *token.Claims) { c.Audience = "" },
		"exp":       func(c *token.Claims) { c.Expires = time.Time{} },
		"exp 1960":  func(c *token.Claims) { c.Expires = time.Date(1960, 1, 1, 0, 0, 0, 0, time.UTC) },
		"exp 99999": func(c *token.Claims) { c.Expires = time.Date(99999, 1, 1, 0, 0, 0, 0, time.UTC) },
		"cnf":       func(c *token.Claims) { c.Confirmation = token.Confirmation{} },
		"cnf size":  func(c *token.Claims) { c.Confirmation = token.Confirmation{Thumbprint: []byte{1}, JKT: []byte{1}} },
		"jti":       func(c *token.Claims) { c.ID = nil },
		"text":      func(c *token.Claims) { c.Scope = strings.Repeat("x", token.MaxText+1) },
		"UTF-8":     func(c *token.Claims) { c.Roles = []string{"\xff"} },
		"nonce":     func(c *token.Claims) { c.Nonce = []byte("short") },
		"groups":    func(c *token.Claims) { c.Groups = make([]string, token.MaxList+1) },
		"device":    func(c *token.Claims) { c.Device.Name = ident.Name{} },
	} {
		t.Run(name, func(t *testing.T) {
			c := fullClaims(t)
			change(c)
			if _, err := token.SignCWT(token.Access, c, s); !errors.Is(err, token.ErrClaims) {
				t.Errorf("SignCWT: %v, want ErrClaims", err)
			}
			if _, err := token.SignJWT(token.Access, c, s); !errors.Is(err, token.ErrClaims) {
				t.Errorf("SignJWT: %v, want ErrClaims", err)
			}
		})
	}
}

func TestConfirmation(t *testing.T) {
	key, other := newSigner(t, token.ES256).Key(), newSigner(t, token.ES256).Key()
	both := token.Confirm(key)
	for name, c := range map[string]token.Confirmation{
		"both": both, "CWT": {Thumbprint: both.Thumbprint}, "JWT": {JKT: both.JKT},
	} {
		if !c.Matches(key) {
			t.Errorf("%s: does not match its own key", name)
		}
		if c.Matches(other) || c.Matches(nil) || c.Matches(new(token.Key)) {
			t.Errorf("%s: matches another key", name)
		}
	}
	if (token.Confirmation{}).Matches(key) || (token.Confirmation{Thumbprint: both.Thumbprint[:8]}).Matches(key) {
		t.Error("an empty or short confirmation matches")
	}
}

// TestTypes holds every signed object against every reader: only its own accepts.
func TestTypes(t *testing.T) {
	s, c, bearer := newSigner(t, token.ES256), fullClaims(t), claimsOf(t, token.MQTTPassword)
	secret, err := token.NewSecret(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	must := func(b []byte, err error) []byte {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	mustText := func(s string, err error) []byte { return must([]byte(s), err) }
	payload := []byte{0xa0}
	objects := map[string][]byte{
		"CWT access":     must(token.SignCWT(token.Access, c, s)),
		"CWT ID":         must(token.SignCWT(token.ID, c, s)),
		"CWT MQTT":       must(token.SignCWT(token.MQTTPassword, bearer, s)),
		"JWT MQTT":       mustText(token.SignJWT(token.MQTTPassword, bearer, s)),
		"JWT access":     mustText(token.SignJWT(token.Access, c, s)),
		"JWT ID":         mustText(token.SignJWT(token.ID, c, s)),
		"key statement":  must(token.Sign1(token.KeyStatement, payload, nil, s)),
		"Mac0 access":    must(token.Mac0(token.Access, payload, nil, nil, secret)),
		"JWS at+jwt+x":   mustText(token.SignJWS("at+jwt+x", payload, s)),
		"JWS dpop+jwt":   mustText(token.SignJWS("dpop+jwt", payload, s)),
		"Sign1 with aad": must(token.Sign1(token.KeyStatement, payload, []byte("x"), s)),
	}
	keys := lookup(s.Key())
	readers := map[string]func([]byte) error{
		"CWT access":    func(b []byte) error { _, err := token.ParseCWT(b, token.Access, keys); return err },
		"CWT ID":        func(b []byte) error { _, err := token.ParseCWT(b, token.ID, keys); return err },
		"CWT MQTT":      func(b []byte) error { _, err := token.ParseCWT(b, token.MQTTPassword, keys); return err },
		"JWT MQTT":      func(b []byte) error { _, err := token.ParseJWT(b, token.MQTTPassword, keys); return err },
		"JWT access":    func(b []byte) error { _, err := token.ParseJWT(b, token.Access, keys); return err },
		"JWT ID":        func(b []byte) error { _, err := token.ParseJWT(b, token.ID, keys); return err },
		"key statement": func(b []byte) error { _, err := token.OpenSign1(b, token.KeyStatement, s.Key(), nil); return err },
		"Sign1 with aad": func(b []byte) error {
			_, err := token.OpenSign1(b, token.KeyStatement, s.Key(), []byte("x"))
			return err
		},
		"Mac0 access":   func(b []byte) error { _, err := token.VerifyMac0(b, secret, nil); return err },
		"no such class": func(b []byte) error { _, err := token.ParseCWT(b, 0, keys); return err },
		"CWT statement": func(b []byte) error { _, err := token.ParseCWT(b, token.KeyStatement, keys); return err },
		"JWT statement": func(b []byte) error { _, err := token.ParseJWT(b, token.KeyStatement, keys); return err },
	}
	for object, raw := range objects {
		for reader, read := range readers {
			if err := read(raw); (err == nil) != (object == reader) {
				t.Errorf("%s read as %s: %v", object, reader, err)
			}
		}
	}
}

// TestTypeText: the media type is as good as its number, and only for its class.
func TestTypeText(t *testing.T) {
	for _, class := range []token.Class{token.Access, token.ID, token.MQTTPassword} {
		for text, want := range map[string]token.Class{
			"application/signet-at+cwt": token.Access, "application/signet-id+cwt": token.ID, "application/signet-mqtt+cwt": token.MQTTPassword, "signet-at+cwt": 0, "": 0,
		} {
			s := newSigner(t, token.EdDSA)
			plain, err := token.SignCWT(class, claimsOf(t, class), s)
			if err != nil {
				t.Fatal(err)
			}
			raw := reheader(t, plain, s, map[int64]any{1: int64(token.EdDSA), 16: text})
			_, err = token.ParseCWT(raw, class, lookup(s.Key()))
			if (err == nil) != (class == want) {
				t.Errorf("typ %q read as %s: %v", text, class, err)
			}
		}
	}
}

// A sign1 is the array under tag 18, to take messages apart and put them together wrongly.
type sign1 struct {
	_           struct{} `cbor:",toarray"`
	Protected   []byte
	Unprotected detcbor.RawMessage
	Payload     []byte
	Signature   []byte
}

func split(t testing.TB, raw []byte) sign1 {
	t.Helper()
	var m sign1
	if err := detcbor.Unmarshal(raw[1:], &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m sign1) join(t testing.TB) []byte {
	t.Helper()
	return append([]byte{0xd2}, encode(t, m)...)
}

func encode(t testing.TB, v any) []byte {
	t.Helper()
	b, err := detcbor.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// resign signs the message anew, whatever its headers now say.
func (m sign1) resign(t testing.TB, s *token.Signer) []byte {
	t.Helper()
	tbs := encode(t, []any{"Signature1", m.Protected, []byte{}, m.Payload})
	sig, err := s.Sign(tbs)
	if err != nil {
		t.Fatal(err)
	}
	m.Signature = sig
	return m.join(t)
}

// reheader replaces the protected header and signs anew.
func reheader(t testing.TB, raw []byte, s *token.Signer, header map[int64]any) []byte {
	t.Helper()
	m := split(t, raw)
	m.Protected = encode(t, header)
	return m.resign(t, s)
}
