package token_test

import (
	"bytes"
	"crypto/ed25519"
	"testing"

	"github.com/signetd/signet/protocol/token"
)

// fuzzSigner has a fixed key, so that seeds and findings stay good.
func fuzzSigner(t testing.TB) *token.Signer {
	t.Helper()
	s, err := token.NewSigner(ed25519.NewKeyFromSeed(make([]byte, 32)))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// FuzzParseCWT parses as it is and with the input as signed payload: whatever
// claims are accepted can be signed again and read the same.
func FuzzParseCWT(f *testing.F) {
	s := fuzzSigner(f)
	raw, err := token.SignCWT(token.Access, fullClaims(f), s)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add(split(f, raw).Payload)
	compact, err := token.SignCWT(token.Access, fullClaims(f).Compact(), s)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(split(f, compact).Payload)
	f.Add(unhex(f, "d28443a10126a0f640"))
	f.Fuzz(func(t *testing.T, data []byte) {
		_, _ = token.ParseCWT(data, token.Access, lookup(s.Key()))
		signed, err := token.Sign1(token.Access, data, nil, s)
		if err != nil {
			return
		}
		claims, err := token.ParseCWT(signed, token.Access, lookup(s.Key()))
		if err != nil {
			return
		}
		again, err := token.SignCWT(token.Access, claims, s)
		if err != nil {
			t.Fatalf("read what cannot be written: %v", err)
		}
		reread, err := token.ParseCWT(again, token.Access, lookup(s.Key()))
		if err != nil {
			t.Fatal(err)
		}
		if reread.Subject != claims.Subject || !reread.Expires.Equal(claims.Expires) || reread.Audience != claims.Audience {
			t.Fatalf("%+v became %+v", claims, reread)
		}
		if session, ok := claims.SessionPrefix(); ok && (len(claims.ID) != 12 || string(session[:]) != string(claims.ID[:8])) {
			t.Fatalf("id %x names session %x", claims.ID, session)
		}
	})
}

// FuzzParseJWT does the same for the header, the payload and the whole.
func FuzzParseJWT(f *testing.F) {
	s := fuzzSigner(f)
	raw, err := token.SignJWT(token.Access, fullClaims(f), s)
	if err != nil {
		f.Fatal(err)
	}
	m, err := token.VerifyJWS([]byte(raw), s.Key())
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(raw))
	f.Add(m.Payload)
	f.Add([]byte(`{"alg":"EdDSA","kid":"` + s.Key().KID() + `","typ":"at+jwt"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		_, _ = token.ParseJWT(data, token.Access, lookup(s.Key()))
		_, _ = token.ParseJWT([]byte(forge(t, s, string(data), string(m.Payload))), token.Access, lookup(s.Key()))
		signed, err := token.SignJWS("at+jwt", data, s)
		if err != nil {
			return
		}
		claims, err := token.ParseJWT([]byte(signed), token.Access, lookup(s.Key()))
		if err != nil {
			return
		}
		if _, err := token.SignJWT(token.Access, claims, s); err != nil {
			t.Fatalf("read what cannot be written: %v", err)
		}
	})
}

// FuzzParseCOSEKey: an accepted key has one spelling, and that spelling is stable.
func FuzzParseCOSEKey(f *testing.F) {
	for _, alg := range []token.Alg{token.ES256, token.EdDSA, token.RS256} {
		k := newSigner(f, alg).Key()
		f.Add(k.MarshalCOSE())
		f.Add(token.MarshalCOSEKeySet([]*token.Key{k}))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		_, _ = token.ParseCOSEKeySet(data)
		k, err := token.ParseCOSEKey(data)
		if err != nil {
			return
		}
		again, err := token.ParseCOSEKey(k.MarshalCOSE())
		if err != nil || !bytes.Equal(again.MarshalCOSE(), k.MarshalCOSE()) {
			t.Fatalf("%x is not stable: %v", data, err)
		}
		if k.Verify([]byte("x"), make([]byte, 64)) == nil {
			t.Fatalf("%x accepts a signature of zeros", data)
		}
	})
}

// FuzzCOSE: objects of any type, with a signature or a MAC. What is accepted was
// made with the key: type and payload are. (Its kid and other unprotected headers
// are covered by nothing; OpenSign1 refuses all but kid.)
func FuzzCOSE(f *testing.F) {
	s := fuzzSigner(f)
	secret, err := token.NewSecret(bytes.Repeat([]byte{7}, 32))
	if err != nil {
		f.Fatal(err)
	}
	signed, err := token.Sign1(token.KeyStatement, []byte("statement"), nil, s)
	if err != nil {
		f.Fatal(err)
	}
	mac, err := token.Mac0(token.Access, []byte("x"), nil, []byte("k"), secret)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(signed)
	f.Add(mac)
	f.Add(unhex(f, "d28443a10127a10442aabb40"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if m, err := token.VerifySign1(data, s.Key(), nil); err == nil && (m.Type != token.TypeKeyStatement || string(m.Payload) != "statement") {
			t.Fatalf("%x is accepted as %+v", data, m)
		}
		if m, err := token.VerifyMac0(data, secret, nil); err == nil && (m.Type != token.TypeAccess || string(m.Payload) != "x") {
			t.Fatalf("%x is accepted as %+v", data, m)
		}
		if _, err := token.OpenSign1(data, token.Access, s.Key(), nil); err == nil {
			t.Fatalf("%x is accepted as another class", data)
		}
	})
}
