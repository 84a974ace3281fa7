package test

import (
	"encoding/base64"
	"encoding/hex"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/control"
	"github.com/signetd/signet/broker/control/controltest"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/challenge"
	"github.com/signetd/signet/protocol/token"
	"github.com/signetd/signet/protocol/verify"
	"github.com/signetd/signet/test/harness"
)

func verifier(t *testing.T, s *harness.Signet, audience string, algs ...token.Alg) *verify.Verifier {
	t.Helper()
	ring, err := s.Keys.Ring(t.Context(), s.Pool)
	if err != nil {
		t.Fatal(err)
	}
	set, err := verify.ParseJWKS(token.MarshalJWKS(ring.Verifiers))
	if err != nil {
		t.Fatal(err)
	}
	v, err := verify.New(verify.Config{Issuer: ring.Issuer, Audience: audience, Algorithms: algs, Keys: set})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestTokensOfEveryKindOfKey: a pool signs with each algorithm, for devices with
// each kind of key, in both forms; the claims say who, for whom, and with which key.
func TestTokensOfEveryKindOfKey(t *testing.T) {
	shared := harness.Shared("0123456789abcdef0123456789abcdef")
	for _, alg := range []token.Alg{token.ES256, token.EdDSA, token.RS256} {
		s := harness.New(t)
		s.Rotate(t, alg)
		if _, err := controltest.PutFlow(t.Context(), s.Control, broker.By{Actor: broker.ActorLocal}, broker.Flow{Pool: s.Pool, Name: "shared", Steps: []string{"psk"}}, true); err != nil {
			t.Fatal(err)
		}
		if _, err := controltest.PutClient(t.Context(), s.Control, broker.By{Actor: broker.ActorLocal}, broker.Client{Pool: s.Pool, ID: "shared", Flow: "shared", AccessLife: time.Hour, RefreshLife: time.Hour}, true); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Control.CreateDevice(t.Context(), broker.By{Actor: broker.ActorLocal}, control.NewDevice{ID: s.Name(t, "lamp-hmac"), PSK: hex.EncodeToString(shared)}); err != nil {
			t.Fatal(err)
		}
		for name, p := range map[string]agent.Prover{"lamp-p256": harness.NewP256(t), "lamp-ed25519": harness.NewEd25519(t), "lamp-hmac": shared} {
			client := "default"
			if p.Kind() == challenge.PSK {
				client = "shared"
			} else {
				register(t, s, s.Name(t, name), p)
			}
			for _, format := range []protocol.Format{protocol.FormatCWT, protocol.FormatJWT} {
				k := newTalk(t, s.Exchange, s.Name(t, name))
				k.request.Client, k.request.Format = client, format
				k.start()
				g := k.opened(k.answer(k.proof(p)))
				tokenSays(t, s, verifier(t, s, "demo", alg), k, p, g)
				k2 := newTalk(t, s.Exchange, s.Name(t, name))
				k2.request.Client, k2.request.Format = client, format
				again := k2.opened(ask(t, s.Exchange, k2.refresh(p, g.Session, g.Refresh)))
				tokenSays(t, s, verifier(t, s, "demo", alg), k2, p, again)
			}
		}
	}
}

func tokenSays(t *testing.T, s *harness.Signet, v *verify.Verifier, k *talk, p agent.Prover, g *protocol.GrantBody) {
	t.Helper()
	c, err := v.Verify(t.Context(), g.Access)
	if err != nil {
		t.Fatal(err)
	}
	d, err := s.Store.Device(t.Context(), k.request.Device())
	if err != nil {
		t.Fatal(err)
	}
	if c.Subject != d.Subject || g.Subject != d.Subject || c.Audience != "demo" || len(c.ID) == 0 {
		t.Errorf("%s: %+v", d.ID, c)
	}
	if left := time.Until(c.Expires); left > time.Hour || left < 55*time.Minute || g.Life != 3600 {
		t.Errorf("%s: lives %v, the grant says %d s", d.ID, left, g.Life)
	}
	if p.Kind() == challenge.Key {
		key, err := token.ParseCOSEKey(p.PublicKey())
		if err != nil {
			t.Fatal(err)
		}
		if !c.Confirmation.Matches(key) {
			t.Errorf("%s: the token is not bound to its key", d.ID)
		}
	} else if c.Confirmation.IsZero() || slices.Contains(encodings(c.Confirmation.Thumbprint), string(p.(harness.Shared))) {
		t.Errorf("%s: confirmation %+v", d.ID, c.Confirmation)
	}
	if isJWT := strings.HasPrefix(string(g.Access), "ey"); isJWT != (k.request.Format == protocol.FormatJWT) {
		t.Errorf("%s: the token is in another form", d.ID)
	} else if !c.NotBefore.IsZero() || isJWT == c.IssuedAt.IsZero() { // a backend whose clock is behind would refuse a fresh one
		t.Errorf("%s: not before %v, issued at %v", d.ID, c.NotBefore, c.IssuedAt)
	}
	id, err := verifier(t, s, clientOf(k), token.ES256, token.EdDSA, token.RS256).VerifyID(t.Context(), g.ID)
	if err != nil {
		t.Fatal(err)
	}
	if !id.NotBefore.IsZero() {
		t.Errorf("%s: the ID token is not good before %v", d.ID, id.NotBefore)
	}
	if g.IDJWT != nil {
		j, err := verifier(t, s, clientOf(k), token.ES256, token.EdDSA, token.RS256).VerifyID(t.Context(), g.IDJWT)
		if err != nil || !j.NotBefore.IsZero() {
			t.Errorf("%s: the ID token for others is not good before %v, %v", d.ID, j, err)
		}
	}
	if string(id.Nonce) != string(k.request.Nonce) || id.Subject != d.Subject {
		t.Errorf("%s: ID token %+v", d.ID, id)
	}
}

func clientOf(k *talk) string {
	if k.request.Client == "" {
		return broker.DefaultClient
	}
	return k.request.Client
}

// TestAudiencesAndScopes: only the client's own audiences, and no scope that nobody gave.
func TestAudiencesAndScopes(t *testing.T) {
	s, key := harness.New(t), harness.NewP256(t)
	register(t, s, s.Name(t, "lamp-1"), key)
	if _, err := controltest.PutClient(t.Context(), s.Control, broker.By{Actor: broker.ActorLocal}, broker.Client{Pool: s.Pool, ID: "meters", Audiences: []string{"billing"}, AccessLife: time.Hour}, true); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		client, audience, scope, want string // "": denied
	}{
		{"default", "", "", "demo"}, {"default", "demo", "", "demo"}, {"default", "billing", "", ""}, {"meters", "billing", "", "billing"},
		{"meters", "", "", "demo"}, {"meters", "billing2", "", ""}, {"default", "", "admin", ""},
	} {
		k := newTalk(t, s.Exchange, s.Name(t, "lamp-1"))
		k.request.Client, k.request.Audience, k.request.Scope = c.client, c.audience, c.scope
		k.start()
		m := k.answer(k.proof(key))
		if c.want == "" {
			wantCode(t, m, protocol.CodeDenied, c.client+" for "+c.audience+c.scope)
			continue
		}
		if _, err := verifier(t, s, c.want, token.ES256).Verify(t.Context(), k.opened(m).Access); err != nil {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// TestRefreshTokensAreOpaque: 32 bytes that the store holds the hash of only, and
// without which a client that wants none is left.
func TestRefreshTokensAreOpaque(t *testing.T) {
	f := newFamily(t, harness.NewP256(t))
	x, err := f.s.Store.Session(t.Context(), f.session)
	if err != nil {
		t.Fatal(err)
	}
	if len(f.token) != 32 || string(x.Handle) == string(f.token) || len(x.Handle) != 32 {
		t.Errorf("token %x, handle %x", f.token, x.Handle)
	}
	if _, err := controltest.PutClient(t.Context(), f.s.Control, broker.By{Actor: broker.ActorLocal}, broker.Client{Pool: f.s.Pool, ID: "once", AccessLife: time.Hour}, true); err != nil {
		t.Fatal(err)
	}
	k := newTalk(t, f.s.Exchange, f.id)
	k.request.Client = "once"
	k.start()
	g := k.opened(k.answer(k.proof(f.key)))
	if g.Refresh != nil || g.Refreshes != 0 {
		t.Errorf("a client without refresh tokens got %s", base64.RawURLEncoding.EncodeToString(g.Refresh))
	}
	r := newTalk(t, f.s.Exchange, f.id)
	r.request.Client = "once"
	for what, guess := range map[string][]byte{"nothing": nil, "zeros": make([]byte, 32), "the handle": x.Handle} {
		if _, ok := ask(t, f.s.Exchange, r.refresh(f.key, g.Session, guess)).(*protocol.Refusal); !ok {
			t.Errorf("a session without a refresh token was refreshed with %s", what)
		}
	}
}
