package test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"testing"
	"time"

	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/challenge"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/token"
	"github.com/signetd/signet/protocol/verify"
	"github.com/signetd/signet/test/harness"
)

// everything is one of each object that is signed or MACed anywhere in Signet, all
// by one key, although no key is ever used for two of them.
func everything(t *testing.T, s *token.Signer, secret token.Secret, said protocol.Transcript) map[string][]byte {
	t.Helper()
	name, err := ident.ParseName("lamp-1")
	if err != nil {
		t.Fatal(err)
	}
	pool, err := ident.ParsePool("demo")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	c := &token.Claims{
		Issuer: "https://signet.example/pools/demo", Subject: ident.UUID(sum16("x")), Audience: "demo", IssuedAt: now, Expires: now.Add(time.Hour),
		ID: make([]byte, 8), Confirmation: token.Confirm(s.Key()), ClientID: "default", OriginID: ident.UUID(sum16("y")), AuthTime: now,
		Device: ident.Device{Pool: pool, Name: name}, Nonce: make([]byte, 16),
	}
	all := make(map[string][]byte)
	bearer := *c
	bearer.Confirmation = token.Confirmation{}
	for class, what := range map[token.Class]string{token.Access: "access", token.ID: "ID", token.MQTTPassword: "MQTT password"} {
		c := c
		if class == token.MQTTPassword {
			c = &bearer
		}
		if all[what+" CWT"], err = token.SignCWT(class, c, s); err != nil {
			t.Fatal(err)
		}
		jwt, err := token.SignJWT(class, c, s)
		if err != nil {
			t.Fatal(err)
		}
		all[what+" JWT"] = []byte(jwt)
	}
	if all["key statement"], err = token.Sign1(token.KeyStatement, []byte{0xa0}, nil, s); err != nil {
		t.Fatal(err)
	}
	for _, purpose := range proofs() {
		if all[purpose], err = s.Sign(protocol.ProofInput(purpose, said)); err != nil {
			t.Fatal(err)
		}
		all[purpose+" by MAC"] = secret.Sum(protocol.ProofInput(purpose, said))
	}
	all["refresh token"] = make([]byte, 32)
	return all
}

func proofs() []string {
	return []string{challenge.Key, challenge.PSK, protocol.PurposeEnroll, protocol.PurposeEnrollToken, protocol.PurposeRefresh, protocol.PurposeAnswer, protocol.PurposeConnect}
}

// TestNothingStandsForAnother holds every signed object, and its bare signature,
// against every verifier: only its own accepts (T-14).
func TestNothingStandsForAnother(t *testing.T) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := token.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := token.NewSecret(private.Seed())
	if err != nil {
		t.Fatal(err)
	}
	said := protocol.Transcript{}.Add([]byte("hello"))
	set, err := verify.NewKeySet(s.Key())
	if err != nil {
		t.Fatal(err)
	}
	v, err := verify.New(verify.Config{Issuer: "https://signet.example/pools/demo", Audience: "demo", Algorithms: []token.Alg{token.EdDSA}, Keys: set})
	if err != nil {
		t.Fatal(err)
	}
	verifiers := map[string]func([]byte) error{
		"access":        func(b []byte) error { _, err := v.Verify(t.Context(), b); return err },
		"ID":            func(b []byte) error { _, err := v.VerifyID(t.Context(), b); return err },
		"MQTT password": func(b []byte) error { _, err := v.VerifyMQTTPassword(t.Context(), b); return err },
		"key statement": func(b []byte) error { _, err := token.OpenSign1(b, token.KeyStatement, s.Key(), nil); return err },
	}
	for _, purpose := range proofs() {
		verifiers[purpose] = func(b []byte) error { return s.Key().Verify(protocol.ProofInput(purpose, said), b) }
		verifiers[purpose+" by MAC"] = func(b []byte) error { return secret.Verify(protocol.ProofInput(purpose, said), b) }
	}
	accepted := 0
	for object, raw := range everything(t, s, secret, said) {
		own := object
		for _, form := range []string{" CWT", " JWT"} {
			own = string(bytes.TrimSuffix([]byte(own), []byte(form)))
		}
		for name, verifier := range verifiers {
			if err := verifier(raw); (err == nil) != (name == own) {
				t.Errorf("%s as %s: %v", object, name, err)
			} else if err == nil {
				accepted++
			}
			for _, bare := range [][]byte{raw[max(0, len(raw)-64):], signatureOf(raw)} {
				if !bytes.Equal(bare, raw) && verifier(bare) == nil {
					t.Errorf("the signature of %s as %s was accepted", object, name)
				}
			}
		}
	}
	if accepted != 7+2*len(proofs()) {
		t.Errorf("%d pairs were accepted", accepted)
	}
}

// signatureOf is a JWT's signature, nil for anything else.
func signatureOf(raw []byte) []byte {
	sig, err := base64.RawURLEncoding.DecodeString(string(raw[bytes.LastIndexByte(raw, '.')+1:]))
	if err != nil {
		return nil
	}
	return sig
}

// TestTokensAreNoProofs: nothing that a broker gave a device is a proof to the broker.
func TestTokensAreNoProofs(t *testing.T) {
	s, key := harness.New(t), harness.NewEd25519(t)
	id := s.Name(t, "lamp-1")
	register(t, s, id, key)
	k := newTalk(t, s.Exchange, id)
	k.start()
	g := k.opened(k.answer(k.proof(key)))
	for what, proof := range map[string][]byte{"access token": g.Access, "ID token": g.ID, "its signature": g.ID[len(g.ID)-64:], "key statement": g.Statement, "refresh token": g.Refresh} {
		k := newTalk(t, s.Exchange, id)
		k.start()
		wantCode(t, k.answer(k.encode(&protocol.Answer{Head: protocol.Head{ID: k.id}, Session: k.challenge.Session, Opening: k.opening, Proof: proof})), protocol.CodeDenied, what+" as a proof")
	}
	for _, purpose := range []string{protocol.PurposeRefresh, protocol.PurposeConnect, protocol.PurposeAnswer, protocol.PurposeEnroll, protocol.PurposeEnrollToken, challenge.PSK} {
		k := newTalk(t, s.Exchange, id)
		k.start()
		k.body.Kind = purpose
		wantCode(t, k.answer(k.proof(key)), protocol.CodeDenied, "a proof for "+purpose)
	}
}
