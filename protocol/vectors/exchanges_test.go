package vectors_test

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"reflect"
	"strings"
	"testing"

	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/challenge"
)

type enrollmentFile struct {
	About   string           `json:"about"`
	Valid   []enrollToken    `json:"valid"`
	Invalid []badEnrollToken `json:"invalid"`
}

type enrollToken struct {
	Text    string `json:"text"`
	ID      string `json:"id"`
	Seed    string `json:"seed"`
	Pin     string `json:"pin"`
	Private string `json:"ed25519_seed"`
	Public  string `json:"ed25519_public"`
}

type badEnrollToken struct {
	Name string `json:"name"`
	Text string `json:"text"`
}

func newEnrollToken(t *testing.T) protocol.EnrollToken {
	t.Helper()
	thumb := p256(t, "anchor").signer.Key().Thumbprint()
	tok, err := protocol.NewEnrollToken(append(fixed("token", 8), fixed("token seed", 20)...), thumb[:])
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func enrollment(t *testing.T) enrollmentFile {
	tok := newEnrollToken(t)
	key, err := tok.Key()
	if err != nil {
		t.Fatal(err)
	}
	text := tok.Reveal()
	last := text[:len(text)-1]
	return enrollmentFile{
		About: "Enrollment tokens: text, its parts, and the Ed25519 key that its seed gives. invalid: must be refused.",
		Valid: []enrollToken{{text, hexOf(tok.ID()), hexOf(fixed("token seed", 20)), hexOf(tok.Pin()), hexOf(key.Seed()), hexOf(key.Public().(ed25519.PublicKey))}},
		Invalid: []badEnrollToken{
			{"nothing", ""}, {"prefix alone", "sgne_"}, {"another prefix", "sgnx_" + text[5:]}, {"last character missing", last},
			{"one character more", text + "A"}, {"padded", text + "="}, {"not base64url", text[:10] + "+" + text[11:]},
			{"a character in the middle is a space", text[:10] + " " + text[11:]},
			{"a line break in the middle", text[:30] + "\n" + text[30:]}, {"stray bits at the end", last + straying(text[len(text)-1])},
			{"prefix in capitals", "SGNE_" + text[5:]}, {"twice", text + text},
		},
	}
}

// straying gives the character of base64url whose two lowest bits, which belong to
// no byte at a text's end, are not zero.
func straying(c byte) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return alphabet[strings.IndexByte(alphabet, c)|1:][:1]
}

type exchangeFile struct {
	About      string      `json:"about"`
	Transcript []hashed    `json:"transcript"`
	Proofs     []proofed   `json:"proof_inputs"`
	Exchanges  []exchanged `json:"exchanges"`
}

// hashed is the transcript after each of parts.
type hashed struct {
	Parts []string `json:"parts"`
	After []string `json:"after"`
}

type proofed struct {
	Purpose    string `json:"purpose"`
	Transcript string `json:"transcript"`
	Input      string `json:"input"`
}

type exchanged struct {
	Name       string `json:"name"`
	Comment    string `json:"comment"`
	Pool       string `json:"pool"`
	Device     string `json:"device"`
	Alg        string `json:"alg"` // ES256, EdDSA or HMAC
	Private    string `json:"private"`
	Ephemeral  string `json:"ephemeral_private"`
	Nonce      string `json:"nonce"`
	Call       string `json:"call"`
	Enrollment string `json:"enrollment_token,omitempty"`
	Refresh    string `json:"refresh_token,omitempty"` // the one that is used
	Anchor     string `json:"anchor"`                  // as stored or received
	Steps      []step `json:"steps"`
}

// A step is one message. Which members it has depends on it.
type step struct {
	From       string   `json:"from"`
	Message    string   `json:"message"`
	Hex        string   `json:"hex"`
	Added      string   `json:"transcript_adds,omitempty"`
	Transcript string   `json:"transcript,omitempty"` // after it
	Covers     []proof  `json:"proofs,omitempty"`
	Secret     *sealing `json:"secret,omitempty"`
	Grant      *sealing `json:"grant,omitempty"`
}

type proof struct {
	Purpose string `json:"purpose"`
	Input   string `json:"input"`
	Proof   string `json:"proof"`
}

// A talk builds an exchange as both sides make it.
type talk struct {
	t    *testing.T
	call byte
	said protocol.Transcript
	open []byte // the opening message
	out  exchanged
	sign func(input []byte) []byte
}

func newTalk(t *testing.T, name, comment string, call byte, alg, private string, sign func([]byte) []byte) *talk {
	d, id := device(t), head(call).ID
	return &talk{t: t, call: call, sign: sign, out: exchanged{
		Name: name, Comment: comment, Pool: d.Pool.String(), Device: d.Name.String(), Alg: alg, Private: private,
		Ephemeral: hexOf(x25519(t, "ephemeral").Bytes()), Nonce: hexOf(fixed("nonce", 16)), Call: hexOf(id[:]),
		Anchor: hexOf(p256(t, "anchor").signer.Key().MarshalCOSE()),
	}}
}

func (k *talk) say(from, message string, raw, added []byte, s step) {
	if k.open == nil {
		k.open = raw
	}
	k.said = k.said.Add(added)
	s.From, s.Message, s.Hex, s.Added, s.Transcript = from, message, hexOf(raw), hexOf(added), hexOf(k.said[:])
	k.out.Steps = append(k.out.Steps, s)
}

func (k *talk) challenge(body protocol.ChallengeBody, session string) []byte {
	raw := encode(k.t, body)
	m := &protocol.Challenge{Head: head(k.call), Session: fixed(session, 32), Body: raw}
	k.say("broker", "challenge", encode(k.t, m), raw, step{})
	return m.Session
}

func (k *talk) prove(purpose string, sign func([]byte) []byte) proof {
	input := protocol.ProofInput(purpose, k.said)
	return proof{purpose, hexOf(input), hexOf(sign(input))}
}

// grant ends the exchange. first: the device named no key statement, so the
// broker sends it, and the anchor with it.
func (k *talk) grant(first bool) {
	body := grantBody(k.t)
	body.Access, body.ID = accessCWT(k.t, claims(k.t), p256(k.t, "signer")), idToken(k.t, fixed("nonce", 16), p256(k.t, "signer"))
	if first {
		body.Statement, body.Anchor = statement(k.t, p256(k.t, "anchor")), p256(k.t, "anchor").signer.Key().MarshalCOSE()
	}
	key := x25519(k.t, "ephemeral")
	sealed, how := sealFixed(k.t, key, x25519(k.t, "broker's ephemeral"), "signet grant v1", k.said[:], encode(k.t, body))
	raw := encode(k.t, &protocol.Grant{Head: head(k.call), Sealed: sealed})
	k.out.Steps = append(k.out.Steps, step{From: "broker", Message: "grant", Hex: hexOf(raw), Grant: &how})
}

func authenticate(t *testing.T) exchanged {
	key := ed(t, "device ed25519")
	k := newTalk(t, "authenticate", "key proof, then a custom challenge whose answer is sealed", 20, "EdDSA", key.private, func(in []byte) []byte { return key.sign(t, in) })
	w := request(t)
	sum := sha256.Sum256(statement(t, p256(t, "anchor")))
	w.Statement = sum[:8]
	raw := encode(t, &protocol.Start{Head: head(k.call), Request: w})
	k.say("device", "start", raw, raw, step{})
	session := k.challenge(protocol.ChallengeBody{Kind: "key", Nonce: fixed("server nonce", 32), Issuer: issuer}, "session 1")
	p := k.prove(challenge.Key, k.sign)
	raw = encode(t, &protocol.Answer{Head: head(k.call), Session: session, Proof: k.sign(protocol.ProofInput(challenge.Key, k.said)), Opening: k.open})
	k.say("device", "answer", raw, raw, step{Covers: []proof{p}})
	answerKey := x25519(t, "answer key")
	session = k.challenge(protocol.ChallengeBody{Kind: "colour", Nonce: fixed("server nonce 2", 32), Issuer: issuer, Params: map[string]string{"ask": "colour of the lamp"}, SealTo: answerKey.PublicKey().Bytes()}, "session 2")
	secret, how := sealFixed(t, answerKey, x25519(t, "device's ephemeral for the answer"), "signet answer v1", k.said[:], []byte("amber"))
	input := protocol.SecretInput(k.said, secret)
	p = proof{protocol.PurposeAnswer, hexOf(input), hexOf(k.sign(input))}
	raw = encode(t, &protocol.Answer{Head: head(k.call), Session: session, Proof: k.sign(input), Secret: secret, Opening: k.open})
	k.say("device", "answer", raw, raw, step{Covers: []proof{p}, Secret: &how})
	k.grant(false)
	return k.out
}

func enrolling(t *testing.T) exchanged {
	key, tok := p256(t, "device"), newEnrollToken(t)
	tokenKey, err := tok.Key()
	if err != nil {
		t.Fatal(err)
	}
	k := newTalk(t, "enroll", "with an enrollment token; the token pins the anchor", 21, "ES256", key.private, func(in []byte) []byte { return key.sign(t, in) })
	k.out.Enrollment = tok.Reveal()
	raw := encode(t, &protocol.Enroll{Head: head(k.call), Request: request(t), Key: key.signer.Key().MarshalCOSE(), TokenID: tok.ID(), Attributes: map[string]string{"serial": "0042"}})
	k.say("device", "enroll", raw, raw, step{})
	session := k.challenge(protocol.ChallengeBody{Kind: "enroll", Nonce: fixed("server nonce", 32), Issuer: issuer}, "session 1")
	byToken := func(in []byte) []byte { return ed25519.Sign(tokenKey, in) }
	both := []proof{k.prove(protocol.PurposeEnroll, k.sign), k.prove(protocol.PurposeEnrollToken, byToken)}
	raw = encode(t, &protocol.Answer{
		Head: head(k.call), Session: session,
		Proof:      k.sign(protocol.ProofInput(protocol.PurposeEnroll, k.said)),
		TokenProof: byToken(protocol.ProofInput(protocol.PurposeEnrollToken, k.said)),
		Opening:    k.open,
	})
	k.say("device", "answer", raw, raw, step{Covers: both})
	k.grant(true)
	return k.out
}

func sharedKey(t *testing.T) exchanged {
	psk := fixed("shared key", 32)
	mac := func(in []byte) []byte {
		h := hmac.New(sha256.New, psk)
		h.Write(in)
		return h.Sum(nil)
	}
	k := newTalk(t, "authenticate with a shared key", "HMAC-SHA-256 in place of a signature", 22, "HMAC", hexOf(psk), mac)
	raw := encode(t, &protocol.Start{Head: head(k.call), Request: request(t)})
	k.say("device", "start", raw, raw, step{})
	session := k.challenge(protocol.ChallengeBody{Kind: "psk", Nonce: fixed("server nonce", 32), Issuer: issuer}, "session 1")
	p := k.prove(challenge.PSK, k.sign)
	raw = encode(t, &protocol.Answer{Head: head(k.call), Session: session, Proof: k.sign(protocol.ProofInput(challenge.PSK, k.said)), Opening: k.open})
	k.say("device", "answer", raw, raw, step{Covers: []proof{p}})
	k.grant(true)
	return k.out
}

func refreshing(t *testing.T) exchanged {
	key := p256(t, "device")
	k := newTalk(t, "refresh", "one round trip", 23, "ES256", key.private, func(in []byte) []byte { return key.sign(t, in) })
	k.out.Refresh = hexOf(fixed("refresh", 32))
	handle := sha256.Sum256(fixed("refresh", 32))
	body := encode(t, protocol.RefreshBody{Request: request(t), Session: subject("session"), Handle: handle[:]})
	said := protocol.Transcript{}.Add(body)
	input := protocol.ProofInput(protocol.PurposeRefresh, said)
	sig := k.sign(input)
	raw := encode(t, &protocol.Refresh{Head: head(k.call), Body: body, Proof: sig})
	k.say("device", "refresh", raw, body, step{Covers: []proof{{protocol.PurposeRefresh, hexOf(input), hexOf(sig)}}})
	k.grant(true)
	return k.out
}

func exchanges(t *testing.T) exchangeFile {
	f := exchangeFile{
		About:     "Whole exchanges with fixed keys. transcript_adds is what the step adds to the transcript, transcript what it is afterwards. Each grant opens with ephemeral_private; ES256 signatures differ from run to run, all else is the same for everyone.",
		Exchanges: []exchanged{enrolling(t), authenticate(t), sharedKey(t), refreshing(t)},
	}
	var said protocol.Transcript
	var h hashed
	for _, p := range [][]byte{{}, []byte("a"), []byte("bc"), fixed("part", 32)} {
		said = said.Add(p)
		h.Parts, h.After = append(h.Parts, hexOf(p)), append(h.After, hexOf(said[:]))
	}
	f.Transcript = []hashed{h}
	for _, p := range []string{challenge.Key, challenge.PSK, protocol.PurposeEnroll, protocol.PurposeEnrollToken, protocol.PurposeRefresh, protocol.PurposeAnswer, protocol.PurposeConnect} {
		f.Proofs = append(f.Proofs, proofed{p, hexOf(said[:]), hexOf(protocol.ProofInput(p, said))})
	}
	return f
}

// cwtClaims names the labels of a CWT's payload.
type cwtClaims struct {
	Iss        string            `cbor:"1,keyasint"`
	Sub        []byte            `cbor:"2,keyasint"`
	Aud        string            `cbor:"3,keyasint"`
	Exp        int64             `cbor:"4,keyasint"`
	Iat        int64             `cbor:"6,keyasint"`
	Cti        []byte            `cbor:"7,keyasint"`
	Cnf        map[int64][]byte  `cbor:"8,keyasint"`
	Nonce      []byte            `cbor:"10,keyasint"`
	Groups     []string          `cbor:"-65541,keyasint"`
	Attributes map[string]string `cbor:"-65544,keyasint"`
}

func claimNames() reflect.Type { return reflect.TypeFor[cwtClaims]() }
