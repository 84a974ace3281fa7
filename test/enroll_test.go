package test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/access"
	"github.com/signetd/signet/broker/control"
	"github.com/signetd/signet/broker/control/controltest"
	"github.com/signetd/signet/broker/exchange"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/challenge"
	"github.com/signetd/signet/protocol/ident/identtest"
	"github.com/signetd/signet/protocol/token"
	"github.com/signetd/signet/test/harness"
)

func tokenFor(t *testing.T, s *harness.Signet, n control.NewEnrollToken) *protocol.EnrollToken {
	t.Helper()
	_, text, err := s.Control.CreateEnrollToken(t.Context(), broker.By{Actor: broker.ActorLocal}, n)
	if err != nil {
		t.Fatal(err)
	}
	tok, err := protocol.ParseEnrollToken(text)
	if err != nil {
		t.Fatal(err)
	}
	return &tok
}

// TestEnrollmentToken: uses, expiry, preset groups and attributes, and approval.
func TestEnrollmentToken(t *testing.T) {
	s := harness.New(t)
	tok := tokenFor(t, s, control.NewEnrollToken{
		Pool: s.Pool, Uses: 2, Life: time.Hour, Groups: []string{"lamps"}, Attributes: map[string]string{"site": "north"},
	})
	for _, name := range []string{"lamp-1", "lamp-2"} {
		a := newAgent(t, s, name, harness.NewP256(t), nil)
		if _, err := a.Enroll(t.Context(), s, agent.Admission{Token: tok, Attributes: map[string]string{"site": "south", "model": "x"}}); err != nil {
			t.Fatal(err)
		}
		d, err := s.Store.Device(t.Context(), a.Device())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"lamps"}, d.Groups); diff != "" {
			t.Errorf("groups (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(map[string]string{"site": "north", "model": "x"}, d.Attributes); diff != "" {
			t.Errorf("attributes (-want +got):\n%s", diff)
		}
	}
	refused := func(what, name string, tok *protocol.EnrollToken, code protocol.Code) {
		t.Helper()
		a := newAgent(t, s, name, harness.NewP256(t), nil)
		if _, err := a.Enroll(t.Context(), s, agent.Admission{Token: tok}); !errors.Is(err, code) {
			t.Errorf("%s: %v, want %q", what, err, code)
		}
		if _, err := s.Store.Device(t.Context(), a.Device()); (err == nil) != (code == protocol.CodePending) {
			t.Errorf("%s: the device in the directory: %v", what, err)
		}
	}
	refused("a third use of two", "lamp-3", tok, protocol.CodeDenied)
	refused("approval", "lamp-4", tokenFor(t, s, control.NewEnrollToken{Pool: s.Pool, Uses: 1, Life: time.Hour, Approve: true}), protocol.CodePending)
	late := tokenFor(t, s, control.NewEnrollToken{Pool: s.Pool, Uses: 1, Life: time.Hour})
	s.Offset = time.Hour + time.Second
	refused("an expired token", "lamp-5", late, protocol.CodeDenied)
	other := identtest.Pool(t, "other")
	if _, err := s.Control.CreatePool(t.Context(), broker.By{Actor: broker.ActorLocal}, other); err != nil {
		t.Fatal(err)
	}
	foreign := tokenFor(t, s, control.NewEnrollToken{Pool: other, Uses: 1, Life: time.Hour})
	refused("another pool's token", "lamp-6", foreign, protocol.CodeDenied)
}

// TestReplacingTokenIsBound: a token that may replace keys is worth nothing for another
// device, or from elsewhere, and no hook hears of it; where it counts, the replaced key is
// told in log, metric and journal, also when the device then waits for approval.
func TestReplacingTokenIsBound(t *testing.T) {
	var log bytes.Buffer
	var mu sync.Mutex
	s := harness.NewLogging(t, slog.NewTextHandler(writerFunc(func(b []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return log.Write(b)
	}), nil))
	from := func(remote string) agent.Link {
		at, _ := netip.ParseAddrPort(remote) // zero: in this process
		return linkFunc(func(ctx context.Context, b []byte) ([]byte, error) {
			return s.Exchange.Respond(ctx, exchange.Caller{Remote: at}, b).Message, nil
		})
	}
	keys := func(name string) []broker.Authenticator {
		d, err := s.Store.Device(t.Context(), s.Name(t, name))
		if err != nil {
			t.Fatal(err)
		}
		return d.Authenticators
	}
	for _, name := range []string{"lamp-1", "lamp-2", "pump-1"} {
		if _, err := newAgent(t, s, name, harness.NewP256(t), nil).Enroll(t.Context(), s, agent.Admission{Token: tokenFor(t, s, control.NewEnrollToken{Pool: s.Pool})}); err != nil {
			t.Fatal(err)
		}
	}
	tok := tokenFor(t, s, control.NewEnrollToken{Pool: s.Pool, Uses: 3, Replace: true, NamePattern: "lamp-*", Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}})
	for _, c := range []struct{ name, remote string }{{"pump-1", "192.0.2.7:1"}, {"lamp-1", "198.51.100.1:1"}, {"lamp-1", ""}} {
		before := keys(c.name)
		_, err := newAgent(t, s, c.name, harness.NewP256(t), nil).Enroll(t.Context(), from(c.remote), agent.Admission{Token: tok})
		if diff := cmp.Diff(before, keys(c.name)); !errors.Is(err, protocol.CodeDenied) || diff != "" {
			t.Errorf("%s from %q: %v\n%s", c.name, c.remote, err, diff)
		}
	}
	if strings.Contains(log.String(), "another key") {
		t.Errorf("a key was replaced: %s", &log)
	}
	if _, err := newAgent(t, s, "lamp-1", harness.NewP256(t), nil).Enroll(t.Context(), from("[::ffff:192.0.2.7]:1"), agent.Admission{Token: tok}); err != nil {
		t.Error(err)
	}
	waits := tokenFor(t, s, control.NewEnrollToken{Pool: s.Pool, Replace: true, Name: s.Name(t, "lamp-2").Name, Approve: true})
	if _, err := newAgent(t, s, "lamp-2", harness.NewP256(t), nil).Enroll(t.Context(), from("192.0.2.8:1"), agent.Admission{Token: waits}); !errors.Is(err, protocol.CodePending) {
		t.Errorf("for approval: %v", err)
	}
	for _, want := range []string{"device=demo:lamp-1 enrollment=" + hexID(tok) + " remote=[::ffff:192.0.2.7]:1", "device=demo:lamp-2 enrollment=" + hexID(waits)} {
		if !strings.Contains(log.String(), `level=WARN msg="another key in the place of a device's own, by an enrollment token" `+want) {
			t.Errorf("the log lacks %s:\n%s", want, &log)
		}
	}
	if x, err := s.Store.EnrollToken(t.Context(), s.Pool, hexID(tok)); err != nil || x.Used != 1 {
		t.Errorf("%d uses are gone, %v", x.Used, err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

type linkFunc func(context.Context, []byte) ([]byte, error)

func (f linkFunc) RoundTrip(ctx context.Context, b []byte) ([]byte, error) { return f(ctx, b) }

// TestEnrollmentOfARegisteredKey: a key that an operator registered needs no token;
// another key for that name, or that key for another name, does.
func TestEnrollmentOfARegisteredKey(t *testing.T) {
	s := harness.New(t)
	key := harness.NewEd25519(t)
	register(t, s, s.Name(t, "lamp-1"), key)
	pinned := func(c *agent.Config) { c.Pin = s.Pin(t) }
	if _, err := newAgent(t, s, "lamp-1", key, pinned).Enroll(t.Context(), s, agent.Admission{}); err != nil {
		t.Error(err)
	}
	for name, p := range map[string]agent.Prover{"lamp-1": harness.NewEd25519(t), "lamp-2": key} {
		if _, err := newAgent(t, s, name, p, pinned).Enroll(t.Context(), s, agent.Admission{}); !errors.Is(err, protocol.CodeDenied) {
			t.Errorf("%s with a key that is not its own: %v, want denied", name, err)
		}
	}
}

// a prover that shows one key and signs with another.
type impostor struct {
	agent.Prover
	shown []byte
}

func (i impostor) PublicKey() []byte { return i.shown }

// TestEnrollmentProvesPossession: of the new key and of the token; a stranger's key
// cannot be enrolled, nor a token used that was only seen.
func TestEnrollmentProvesPossession(t *testing.T) {
	s := harness.New(t)
	victim, own := harness.NewP256(t), harness.NewP256(t)
	a := newAgent(t, s, "lamp-1", impostor{own, victim.PublicKey()}, nil)
	if _, err := a.Enroll(t.Context(), s, agent.Admission{Token: s.Token(t, 1)}); !errors.Is(err, protocol.CodeDenied) {
		t.Errorf("another's key: %v, want denied", err)
	}
	tok := s.Token(t, 5)
	id := s.Name(t, "lamp-2")
	for what, key := range map[string][]byte{"no key": {0xa0}, "half a key": victim.PublicKey()[:20], "a key and more": append(victim.PublicKey(), 0)} {
		if _, err := newAgent(t, s, "lamp-2", impostor{own, key}, nil).Enroll(t.Context(), s, agent.Admission{Token: tok}); !errors.Is(err, protocol.CodeMalformed) {
			t.Errorf("%s: %v, want malformed", what, err)
		}
	}
	for what, proof := range map[string]func(input []byte) []byte{
		"none":               func([]byte) []byte { return nil },
		"nothing":            func([]byte) []byte { return make([]byte, 64) },
		"the new key's":      func(in []byte) []byte { b, _ := own.Prove(in); return b },
		"of another purpose": nil,
	} {
		k := fixed(t, s, id)
		k.opening = k.encode(&protocol.Enroll{Head: protocol.Head{ID: k.id}, Request: k.request, Key: own.PublicKey(), TokenID: tok.ID()})
		k.said = k.said.Add(k.opening)
		k.take(ask(t, s.Exchange, k.opening))
		possession, err := own.Prove(protocol.ProofInput(protocol.PurposeEnroll, k.said))
		if err != nil {
			t.Fatal(err)
		}
		a := &protocol.Answer{Head: protocol.Head{ID: k.id}, Session: k.challenge.Session, Opening: k.opening, Proof: possession, TokenProof: possession}
		if proof != nil {
			a.TokenProof = proof(protocol.ProofInput(protocol.PurposeEnrollToken, k.said))
		}
		wantCode(t, ask(t, s.Exchange, k.encode(a)), protocol.CodeDenied, "a proof of the token that is "+what)
	}
	if x, err := s.Store.EnrollToken(t.Context(), s.Pool, hexID(tok)); err != nil || x.Used != 0 {
		t.Errorf("the token has %d uses, %v", x.Used, err)
	}
}

// an rsaProver proves possession of an RSA key, as no agent of ours does.
type rsaProver struct{ *token.Signer }

func (rsaProver) Kind() string                         { return challenge.Key }
func (p rsaProver) PublicKey() []byte                  { return p.Key().MarshalCOSE() }
func (p rsaProver) Prove(input []byte) ([]byte, error) { return p.Sign(input) }

// TestEnrollmentWithRSA: neither a device with its token nor an operator brings in
// a key of a kind that devices may not have.
func TestEnrollmentWithRSA(t *testing.T) {
	s := harness.New(t)
	private, err := rsa.GenerateKey(rand.Reader, token.MinRSABits)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := token.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	a := newAgent(t, s, "lamp-1", rsaProver{signer}, nil)
	if _, err := a.Enroll(t.Context(), s, agent.Admission{Token: s.Token(t, 1)}); !errors.Is(err, protocol.CodeMalformed) {
		t.Errorf("enrollment: %v, want malformed", err)
	}
	if _, err := s.Store.Device(t.Context(), a.Device()); !errors.Is(err, broker.ErrNotFound) {
		t.Errorf("the device in the directory: %v", err)
	}
	_, err = control.ParseDeviceKey(hex.EncodeToString(signer.Key().MarshalCOSE()))
	if !errors.Is(err, broker.ErrInvalid) {
		t.Errorf("by an operator: %v, want invalid", err)
	}
}

// TestFlowOfPoolAndClient: a client's own flow goes before its pool's.
func TestFlowOfPoolAndClient(t *testing.T) {
	s, key := harness.New(t), harness.NewP256(t)
	register(t, s, s.Name(t, "lamp-1"), key)
	for _, f := range []string{"key", "psk"} {
		if _, err := controltest.PutFlow(t.Context(), s.Control, broker.By{Actor: broker.ActorLocal}, broker.Flow{Pool: s.Pool, Name: f, Steps: []string{f}}, true); err != nil {
			t.Fatal(err)
		}
		if _, err := controltest.PutClient(t.Context(), s.Control, broker.By{Actor: broker.ActorLocal}, broker.Client{Pool: s.Pool, ID: f, Flow: f, AccessLife: time.Hour}, true); err != nil {
			t.Fatal(err)
		}
	}
	kind := func(client string) string {
		k := newTalk(t, s.Exchange, s.Name(t, "lamp-1"))
		k.request.Client = client
		k.start()
		return k.body.Kind
	}
	if got := []string{kind(""), kind("key"), kind("psk")}; !cmp.Equal(got, []string{"key", "key", "psk"}) {
		t.Errorf("challenges %v", got)
	}
	if _, err := s.Control.ChangePool(t.Context(), broker.By{Actor: broker.ActorLocal}, s.Pool, control.PoolChange{Flow: new("psk")}, nil); err != nil {
		t.Fatal(err)
	}
	if got := []string{kind(""), kind("key"), kind("psk")}; !cmp.Equal(got, []string{"psk", "key", "psk"}) {
		t.Errorf("challenges with another flow of the pool %v", got)
	}
	k := newTalk(t, s.Exchange, s.Name(t, "lamp-1"))
	k.request.Client = "nobody"
	wantCode(t, k.start(), protocol.CodeDenied, "a client that does not exist")
}

// TestGrantsAreSealed: an open grant goes only to a device that asked for one on
// its own TLS connection, which ends here.
func TestGrantsAreSealed(t *testing.T) {
	s, key := harness.New(t), harness.NewP256(t)
	register(t, s, s.Name(t, "lamp-1"), key)
	k := newTalk(t, s.Exchange, s.Name(t, "lamp-1"))
	own, relays := bytes.Repeat([]byte{1}, protocol.ChannelLen), bytes.Repeat([]byte{2}, protocol.ChannelLen)
	vouched := false
	over := func(channel, raw []byte) protocol.Message {
		m, err := protocol.Decode(s.Exchange.Respond(t.Context(), exchange.Caller{Channel: access.Channel{Name: channel, Vouched: vouched}}, raw).Message)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	direct := func(raw []byte) protocol.Message { return over(own, raw) }
	k.request.SealTo = nil
	wantCode(t, k.start(), protocol.CodeDenied, "an open grant over somebody's broker")
	wantCode(t, direct(k.opening), protocol.CodeDenied, "an open grant without naming the connection")
	k = newTalk(t, s.Exchange, s.Name(t, "lamp-1"))
	k.request.SealTo, k.request.Channel = nil, own
	wantCode(t, k.start(), protocol.CodeDenied, "an open grant over somebody's broker, to a device with TLS")
	wantCode(t, over(relays, k.opening), protocol.CodeDenied, "an open grant over a relay")
	k.take(direct(k.opening))
	answer := k.proof(key)
	wantCode(t, ask(t, s.Exchange, answer), protocol.CodeDenied, "an open grant's answer over somebody's broker")
	wantCode(t, over(relays, answer), protocol.CodeDenied, "an open grant's answer over a relay")
	vouched = true
	wantCode(t, over(relays, k.opening), protocol.CodeDenied, "an open grant behind the operator's balancer")
	wantCode(t, over(relays, answer), protocol.CodeDenied, "an open grant's answer behind the operator's balancer")
	vouched = false
	if g, ok := direct(answer).(*protocol.Grant); !ok || g.Open == nil || g.Sealed != nil {
		t.Errorf("an open grant that was asked for: %+v", g)
	}
	k = newTalk(t, s.Exchange, s.Name(t, "lamp-1"))
	k.start()
	if g, ok := direct(k.proof(key)).(*protocol.Grant); !ok || g.Open != nil || g.Sealed == nil {
		t.Errorf("a sealed grant on a direct connection: %+v", g)
	}
	k = newTalk(t, s.Exchange, s.Name(t, "lamp-1"))
	k.request.SealTo = make([]byte, 32) // of small order: everybody could open it
	k.start()
	if r := s.Exchange.Respond(t.Context(), exchange.Caller{}, k.proof(key)); r.Admitted != nil {
		t.Error("a grant was sealed to a key of small order")
	}
}

func hexID(tok *protocol.EnrollToken) string { return hex.EncodeToString(tok.ID()) }

// TestAttributesThatADeviceStates: a device can say of itself what an operator could, in
// bytes that are safe to show. Anything else ends its enrollment before it is stored.
func TestAttributesThatADeviceStates(t *testing.T) {
	s := harness.New(t)
	preset := map[string]string{}
	for i := range broker.MaxAttributes {
		preset[fmt.Sprintf("p%d", i)] = "x"
	}
	full := tokenFor(t, s, control.NewEnrollToken{Pool: s.Pool, Uses: 9, Life: time.Hour, Attributes: preset})
	for i, c := range []struct {
		what   string
		tok    *protocol.EnrollToken
		states map[string]string
		want   error
	}{
		{"printable ASCII", s.Token(t, 1), map[string]string{"serial number": " ~", strings.Repeat("n", broker.MaxAttrKey): strings.Repeat("v", broker.MaxAttrValue)}, nil},
		{"ESC", s.Token(t, 1), map[string]string{"serial": "\x1b]0;owned\x07"}, protocol.CodeMalformed},
		{"ESC in a name", s.Token(t, 1), map[string]string{"\x1b[2J": "042"}, protocol.CodeMalformed},
		{"U+202E", s.Token(t, 1), map[string]string{"serial": "\u202e240"}, protocol.CodeMalformed},
		{"newline", s.Token(t, 1), map[string]string{"serial": "042\nlamp-9  active"}, protocol.CodeMalformed},
		{"DEL", s.Token(t, 1), map[string]string{"serial": "\x7f"}, protocol.CodeMalformed},
		{"257 bytes", s.Token(t, 1), map[string]string{"serial": strings.Repeat("v", broker.MaxAttrValue+1)}, protocol.CodeMalformed},
		{"as many as the token presets", full, map[string]string{"p0": "mine"}, nil},
		{"more than fit beside what the token presets", full, map[string]string{"serial": "042"}, protocol.CodeTooLarge},
	} {
		a := newAgent(t, s, fmt.Sprintf("lamp-%d", i), harness.NewP256(t), nil)
		_, err := a.Enroll(t.Context(), s, agent.Admission{Token: c.tok, Attributes: c.states})
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.what, err, c.want)
		}
		if _, err := s.Store.Device(t.Context(), a.Device()); (err == nil) != (c.want == nil) {
			t.Errorf("%s: the device in the store: %v", c.what, err)
		}
	}
}
