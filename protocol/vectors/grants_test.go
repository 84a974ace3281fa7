package vectors_test

import (
	"crypto/ecdh"
	"slices"
	"testing"
	"time"

	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/detcbor"
	"github.com/signetd/signet/protocol/token"
)

// grantFile is one call of a device, and grants that may come as its end.
type grantFile struct {
	About      string       `json:"about"`
	Call       string       `json:"call"`
	Nonce      string       `json:"nonce"`
	Ephemeral  string       `json:"ephemeral_private"`
	Transcript string       `json:"transcript"`
	Issuer     string       `json:"issuer"` // as the challenges named it
	Pin        string       `json:"pin"`
	Grants     []grantJudge `json:"grants"`
}

// A grantJudge is one grant and what the device has stored when it comes.
type grantJudge struct {
	Name      string `json:"name"`
	Pin       string `json:"stored_pin,omitempty"` // instead of the file's
	Anchor    string `json:"stored_anchor,omitempty"`
	Statement string `json:"stored_statement,omitempty"`
	Subject   string `json:"stored_subject,omitempty"`
	Hex       string `json:"hex"`
	Failure   string `json:"failure"` // "" if it is to be believed
}

// A grantCase changes what a good first grant is made of.
type grantCase struct {
	name, failure string
	stored        func(*grantJudge)
	body          func(*protocol.GrantBody)
	seal          func(raw []byte) *protocol.Grant
}

func grants(t *testing.T) grantFile {
	id, said := head(30).ID, protocol.Transcript(fixed("transcript", 32))
	thumb := p256(t, "anchor").signer.Key().Thumbprint()
	f := grantFile{
		About: "Grants that end the call described here. failure: the check of docs/protocol.md, section 8, that refuses it; empty if the device believes it. stored_...: what the device has from before; nothing means a first grant. stored_pin takes the place of pin.",
		Call:  hexOf(id[:]), Nonce: hexOf(fixed("nonce", 16)), Ephemeral: hexOf(x25519(t, "ephemeral").Bytes()), Transcript: hexOf(said[:]), Issuer: issuer, Pin: hexOf(thumb[:16]),
	}
	usual := func(raw []byte) *protocol.Grant {
		sealed, _ := sealFixed(t, x25519(t, "ephemeral"), x25519(t, "broker's ephemeral"), "signet grant v1", said[:], raw)
		return &protocol.Grant{Sealed: sealed}
	}
	for _, c := range slices.Concat(goodGrants(t), goodSuccessions(t), badSeals(t, said, usual), badAnchors(t), badSuccessions(t), badStatements(t), badIDTokens(t)) {
		body := grantBody(t)
		body.Access, body.ID = accessCWT(t, claims(t), p256(t, "signer")), idToken(t, fixed("nonce", 16), p256(t, "signer"))
		body.Statement, body.Anchor = statement(t, p256(t, "anchor")), p256(t, "anchor").signer.Key().MarshalCOSE()
		v := grantJudge{Name: c.name, Failure: c.failure}
		if c.stored != nil {
			c.stored(&v)
		}
		if c.body != nil {
			c.body(body)
		}
		seal := usual
		if c.seal != nil {
			seal = c.seal
		}
		m := seal(encode(t, body))
		m.ID = id
		v.Hex = hexOf(encode(t, m))
		f.Grants = append(f.Grants, v)
	}
	return f
}

// known stores what a device has from an earlier grant, with its statement.
func known(t *testing.T, stated []byte) func(*grantJudge) {
	return func(v *grantJudge) {
		sub := subject("subject")
		v.Anchor, v.Statement, v.Subject = hexOf(p256(t, "anchor").signer.Key().MarshalCOSE()), hexOf(stated), hexOf(sub[:])
	}
}

func goodGrants(t *testing.T) []grantCase {
	now := known(t, statement(t, p256(t, "anchor")))
	bare := func(b *protocol.GrantBody) { b.Statement, b.Anchor = nil, nil }
	return []grantCase{
		{name: "first"},
		{name: "later, without anchor and statement", stored: now, body: bare},
		{name: "later, with a newer statement", stored: known(t, stated(t, p256(t, "anchor"), issuer, issued-1000, 0)), body: func(b *protocol.GrantBody) { b.Anchor = nil }},
		{name: "later, with an older statement of a newer epoch", stored: now, body: func(b *protocol.GrantBody) {
			b.Anchor, b.Statement = nil, stated(t, p256(t, "anchor"), issuer, issued-1000, 1)
		}},
		{name: "another anchor beside the stored one is passed over", stored: now, body: func(b *protocol.GrantBody) {
			b.Statement, b.Anchor = nil, p256(t, "stranger").signer.Key().MarshalCOSE()
		}},
		{name: "ID token signed with Ed25519", body: func(b *protocol.GrantBody) { b.ID = idToken(t, fixed("nonce", 16), ed(t, "signer ed25519")) }},
		{name: "ID token signed with RSA", body: func(b *protocol.GrantBody) { b.ID = idToken(t, fixed("nonce", 16), rsa2048(t, "signer rsa")) }},
	}
}

func badSeals(t *testing.T, said protocol.Transcript, usual func([]byte) *protocol.Grant) []grantCase {
	sealed := func(to *ecdh.PrivateKey, info string, aad []byte) func([]byte) *protocol.Grant {
		return func(raw []byte) *protocol.Grant {
			b, _ := sealFixed(t, to, x25519(t, "broker's ephemeral"), info, aad, raw)
			return &protocol.Grant{Sealed: b}
		}
	}
	edit := func(change func([]byte) []byte) func([]byte) *protocol.Grant {
		return func(raw []byte) *protocol.Grant { return &protocol.Grant{Sealed: change(usual(raw).Sealed)} }
	}
	own := x25519(t, "ephemeral")
	return []grantCase{
		{name: "not sealed", failure: "sealing", seal: func(raw []byte) *protocol.Grant { return &protocol.Grant{Open: raw} }},
		{name: "sealed to another key", failure: "sealing", seal: sealed(x25519(t, "answer key"), "signet grant v1", said[:])},
		{name: "sealed under another transcript", failure: "sealing", seal: sealed(own, "signet grant v1", fixed("other transcript", 32))},
		{name: "sealed as an answer", failure: "sealing", seal: sealed(own, "signet answer v1", said[:])},
		{name: "one bit of the ciphertext", failure: "sealing", seal: edit(func(b []byte) []byte { b[40] ^= 1; return b })},
		{name: "cut off after the encapsulated key", failure: "sealing", seal: edit(func(b []byte) []byte { return b[:32] })},
		{name: "shorter than an encapsulated key", failure: "sealing", seal: edit(func(b []byte) []byte { return b[:31] })},
		{name: "encapsulated key of small order", failure: "sealing", seal: edit(func(b []byte) []byte { clear(b[:32]); return b })},
		{name: "body with a byte more", failure: "body", seal: func(raw []byte) *protocol.Grant { return usual(append(raw, 0)) }},
		{name: "body without ID token", failure: "body", seal: func(raw []byte) *protocol.Grant { return usual(edited(t, grantBody(t), drop(2))) }},
	}
}

func badAnchors(t *testing.T) []grantCase {
	return []grantCase{
		{name: "no anchor", failure: "anchor", body: func(b *protocol.GrantBody) { b.Anchor = nil }},
		{name: "anchor that is not the pinned one", failure: "anchor", body: func(b *protocol.GrantBody) {
			b.Anchor, b.Statement = p256(t, "stranger").signer.Key().MarshalCOSE(), statement(t, p256(t, "stranger"))
		}},
		{name: "anchor is no key", failure: "anchor", body: func(b *protocol.GrantBody) { b.Anchor = []byte("anchor") }},
		{name: "anchor with a byte more", failure: "anchor", body: func(b *protocol.GrantBody) { b.Anchor = append(b.Anchor, 0) }},
	}
}

// replaced lets the pool have the anchors of these names one after another, and the body
// what follows from that: successions, and a statement by the last.
func replaced(t *testing.T, b *protocol.GrantBody, anchors ...string) {
	b.Anchor = nil
	for i, to := range anchors[1:] {
		b.Successions = append(b.Successions, succession(t, anchors[i], to))
	}
	b.Statement = statement(t, p256(t, anchors[len(anchors)-1]))
}

// succession is the word of the anchor from that to takes its place.
func succession(t *testing.T, from, to string) protocol.Succession {
	s, err := protocol.Succeed(p256(t, from).signer, p256(t, to).signer.Key(), time.Unix(issued, 0))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// ahead stores a device's second anchor, to which it followed the pool.
func ahead(t *testing.T) func(*grantJudge) {
	return func(v *grantJudge) {
		known(t, statement(t, p256(t, "second anchor")))(v)
		second := p256(t, "second anchor").signer.Key()
		thumb := second.Thumbprint()
		v.Anchor, v.Pin = hexOf(second.MarshalCOSE()), hexOf(thumb[:16])
	}
}

func goodSuccessions(t *testing.T) []grantCase {
	now := known(t, statement(t, p256(t, "anchor")))
	return []grantCase{
		{name: "first, the pinned anchor was replaced", body: func(b *protocol.GrantBody) {
			replaced(t, b, "anchor", "second anchor")
			b.Anchor = p256(t, "second anchor").signer.Key().MarshalCOSE()
		}},
		{name: "later, the stored anchor was replaced", stored: now, body: func(b *protocol.GrantBody) { replaced(t, b, "anchor", "second anchor") }},
		{name: "later, the stored anchor was replaced, and that one too", stored: now, body: func(b *protocol.GrantBody) { replaced(t, b, "anchor", "second anchor", "third anchor") }},
		{name: "what was before the stored anchor is passed over", stored: now, body: func(b *protocol.GrantBody) {
			replaced(t, b, "stranger", "anchor", "second anchor")
			b.Successions[0].Signed = []byte("no COSE_Sign1")
		}},
		{name: "later, nothing is new to the device", stored: ahead(t), body: func(b *protocol.GrantBody) { replaced(t, b, "anchor", "second anchor") }},
	}
}

func badSuccessions(t *testing.T) []grantCase {
	now := known(t, statement(t, p256(t, "anchor")))
	bad := func(name, failure string, stored func(*grantJudge), body func(*protocol.GrantBody)) grantCase {
		return grantCase{name: name, failure: failure, stored: stored, body: body}
	}
	return []grantCase{
		bad("succession signed by another than the stored anchor", "anchor", now, func(b *protocol.GrantBody) {
			replaced(t, b, "anchor", "stranger")
			b.Successions[0].Signed = succession(t, "stranger", "stranger").Signed
		}),
		bad("one bit of the succession", "anchor", now, func(b *protocol.GrantBody) {
			replaced(t, b, "anchor", "second anchor")
			b.Successions[0].Signed[40] ^= 1
		}),
		bad("a key statement as succession", "anchor", now, func(b *protocol.GrantBody) {
			replaced(t, b, "anchor", "second anchor")
			b.Successions[0].Signed = statement(t, p256(t, "anchor"))
		}),
		bad("succession of a stranger to the device", "statement", now, func(b *protocol.GrantBody) { replaced(t, b, "stranger", "second anchor") }),
		bad("successions newest first", "statement", now, func(b *protocol.GrantBody) {
			replaced(t, b, "anchor", "second anchor", "third anchor")
			slices.Reverse(b.Successions)
		}),
		bad("statement by the anchor that was replaced beside its succession", "statement", now, func(b *protocol.GrantBody) {
			replaced(t, b, "anchor", "second anchor")
			b.Statement = statement(t, p256(t, "anchor"))
		}),
		bad("older statement than the one of the replaced anchor", "statement", known(t, stated(t, p256(t, "anchor"), issuer, issued+1, 0)), func(b *protocol.GrantBody) { replaced(t, b, "anchor", "second anchor") }),
		bad("a replaced anchor leads elsewhere", "statement", ahead(t), func(b *protocol.GrantBody) { replaced(t, b, "anchor", "stranger") }),
		bad("statement by a replaced anchor", "statement", ahead(t), func(b *protocol.GrantBody) {
			b.Statement, b.Anchor = statement(t, p256(t, "anchor")), p256(t, "anchor").signer.Key().MarshalCOSE()
		}),
		bad("replaced anchor, nothing stored", "anchor", func(v *grantJudge) {
			ahead(t)(v)
			v.Anchor, v.Statement = "", ""
		}, func(*protocol.GrantBody) {}),
	}
}

func badStatements(t *testing.T) []grantCase {
	anchor := p256(t, "anchor")
	with := func(name string, raw []byte) grantCase {
		return grantCase{name: name, failure: "statement", body: func(b *protocol.GrantBody) { b.Statement = raw }}
	}
	good := statement(t, anchor)
	flipped := slices.Clone(good)
	flipped[60] ^= 1
	older := with("older statement than the stored one", stated(t, anchor, issuer, issued-1, 0))
	older.stored = known(t, good)
	epoch := with("newer statement of an older epoch than the stored one", stated(t, anchor, issuer, issued+1, 6))
	epoch.stored = known(t, stated(t, anchor, issuer, issued, 7))
	return []grantCase{
		with("no statement", nil), with("statement by a stranger", statement(t, p256(t, "stranger"))), with("statement by a key that signs tokens", statement(t, p256(t, "signer"))),
		with("one bit of the statement", flipped), with("statement of another issuer", stated(t, anchor, "https://evil.example/pools/demo", issued, 0)),
		with("an ID token as statement", idToken(t, fixed("nonce", 16), anchor)), with("statement without its tag", good[1:]), older, epoch,
		{name: "grant of another issuer than the challenges", failure: "statement", body: func(b *protocol.GrantBody) {
			b.Issuer, b.Statement = "https://evil.example/pools/demo", stated(t, anchor, "https://evil.example/pools/demo", issued, 0)
		}},
	}
}

func badIDTokens(t *testing.T) []grantCase {
	own, nonce := p256(t, "signer"), fixed("nonce", 16)
	with := func(name string, raw []byte) grantCase {
		return grantCase{name: name, failure: "id-token", body: func(b *protocol.GrantBody) { b.ID = raw }}
	}
	signed := func(change func(map[int64]any)) []byte {
		parts := coseParts(t, idToken(t, nonce, own))
		raw, err := token.Sign1(token.ID, edited(t, detcbor.RawMessage(parts[2]), change), nil, own.signer)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	flipped := idToken(t, nonce, own)
	flipped[len(flipped)-1] ^= 1
	return []grantCase{
		with("ID token for another call", idToken(t, fixed("other nonce", 16), own)), with("ID token without nonce", signed(drop(10))),
		with("ID token by a key that is not in the statement", idToken(t, nonce, p256(t, "stranger"))), with("ID token by the anchor", idToken(t, nonce, p256(t, "anchor"))),
		with("ID token of another issuer", signed(set(1, "https://evil.example/pools/demo"))), with("ID token without issuer", signed(drop(1))),
		with("ID token about another subject", signed(set(2, fixed("other subject", 16)))), with("ID token without time of issue", signed(drop(6))),
		with("ID token with an unknown critical claim", signed(set(-70000, 1))), with("one bit of the ID token", flipped),
		with("an access token as ID token", accessCWT(t, claims(t), own)), with("a key statement as ID token", statement(t, own)),
		{name: "another subject than before", failure: "id-token", stored: func(v *grantJudge) {
			known(t, statement(t, p256(t, "anchor")))(v)
			v.Subject = hexOf(fixed("other subject", 16))
		}},
	}
}
