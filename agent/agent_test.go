package agent_test

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/ident/identtest"
	"github.com/signetd/signet/protocol/token"
)

func device(t *testing.T) ident.Device {
	t.Helper()
	return identtest.Device(t, "demo:lamp-1")
}

func config(t *testing.T) agent.Config {
	return agent.Config{Device: device(t), Prover: memoryKey{newSigner(t)}, State: &memoryState{}}
}

func newAgent(t *testing.T, cfg agent.Config) *agent.Agent {
	t.Helper()
	a, err := agent.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func enroll(t *testing.T, b *fakeBroker, cfg agent.Config) *agent.Agent {
	t.Helper()
	a := newAgent(t, cfg)
	if _, err := a.Enroll(t.Context(), b, agent.Admission{Token: b.admit}); err != nil {
		t.Fatal(err)
	}
	return a
}

func TestEnrollAuthenticateRefresh(t *testing.T) {
	b, cfg := newFakeBroker(t), config(t)
	a := enroll(t, b, cfg)
	if !a.Enrolled() || a.Status().Phase != agent.PhaseOnline {
		t.Fatalf("enrolled %t, status %v", a.Enrolled(), a.Status())
	}
	again := newAgent(t, cfg) // after a reboot: state only
	first, err := again.Authenticate(t.Context(), b, agent.Ask{})
	if err != nil {
		t.Fatal(err)
	}
	second, err := again.Refresh(t.Context(), b, agent.Ask{})
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(first.Access, second.Access) || again.Current() != second {
		t.Error("the refreshed grant is not the current one")
	}
	if got := again.Credential(); got == nil || got.Username != "demo:lamp-1" {
		t.Errorf("credential %v", got)
	}
	if _, err := again.Renew(t.Context(), b, agent.Ask{Audience: "else"}); err != nil || again.Current() != second {
		t.Errorf("a special demand replaced the usual grant (%v)", err)
	}
	if _, err := again.Enroll(t.Context(), b, agent.Admission{Token: b.admit}); err != nil {
		t.Errorf("enroll again with the same key: %v", err)
	}
}

// TestAnotherSecretIsNamed: a refusal of another key than the device was let in with says so,
// of a login as of a refresh, and of nothing else; and a key that the broker takes is the
// device's from then on.
func TestAnotherSecretIsNamed(t *testing.T) {
	b, cfg := newFakeBroker(t), config(t)
	enroll(t, b, cfg)
	b.tries = 1 // as a broker has it for keys
	right, other := cfg.Prover, config(t).Prover
	cfg.Prover = other
	wrong := newAgent(t, cfg)
	for name, call := range map[string]func(context.Context, agent.Link, agent.Ask) (*agent.Tokens, error){"login": wrong.Authenticate, "refresh": wrong.Refresh, "renewal": wrong.Renew} {
		if _, err := call(t.Context(), b, agent.Ask{}); !errors.Is(err, agent.ErrOtherSecret) || !errors.Is(err, protocol.CodeDenied) {
			t.Errorf("%s with another key: %v", name, err)
		}
	}
	if st := wrong.Status(); st.Phase != agent.PhaseRefused || !errors.Is(st.Err, agent.ErrOtherSecret) {
		t.Errorf("status %+v", st)
	}
	cfg.Prover = right
	good := newAgent(t, cfg)
	if _, err := good.Authenticate(t.Context(), b, agent.Ask{}); err != nil {
		t.Errorf("with its own key again: %v", err)
	}
	key := b.devices[cfg.Device.Name]
	delete(b.devices, cfg.Device.Name)
	if _, err := good.Authenticate(t.Context(), b, agent.Ask{}); err == nil || errors.Is(err, agent.ErrOtherSecret) {
		t.Errorf("its own key, which the broker does not know any more: %v", err)
	}
	public, err := token.ParseCOSEKey(other.PublicKey())
	if err != nil {
		t.Fatal(err)
	}
	b.devices[cfg.Device.Name] = public // an operator gave it another
	cfg.Prover = other
	if _, err := newAgent(t, cfg).Authenticate(t.Context(), b, agent.Ask{}); err != nil {
		t.Errorf("the key that an operator gave it: %v", err)
	}
	b.devices[cfg.Device.Name] = key
	cfg.Prover = right
	if _, err := newAgent(t, cfg).Authenticate(t.Context(), b, agent.Ask{}); err != nil {
		t.Errorf("and its first key again: %v", err)
	}
}

func TestNoClock(t *testing.T) {
	for _, year := range []int{1970, 2038, 2099} {
		b, cfg := newFakeBroker(t), config(t)
		shift := time.Until(time.Date(year, 1, 2, 0, 0, 0, 0, time.UTC))
		cfg.Clock = func() time.Time { return time.Now().Add(shift) }
		cfg.Built = time.Unix(1_760_000_000, 0)
		before := newAgent(t, cfg)
		if got, known := before.Time(); known || !got.Equal(cfg.Built) {
			t.Errorf("%d: before the first grant it is %v (%t), want the build time", year, got, known)
		}
		a := enroll(t, b, cfg)
		if _, err := a.Authenticate(t.Context(), b, agent.Ask{}); err != nil {
			t.Fatalf("%d: %v", year, err)
		}
		now, known := a.Time()
		if d := now.Sub(b.now); !known || d < 0 || d > time.Minute {
			t.Errorf("%d: agent's time is %v, broker's %v", year, now, b.now)
		}
		if off, known := a.Offset(); !known || cfg.Clock().Add(off).Sub(b.now).Abs() > time.Minute {
			t.Errorf("%d: offset %v", year, off)
		}
		if a.Credential() == nil {
			t.Errorf("%d: a fresh token counts as expired", year)
		}
		after := newAgent(t, cfg)
		if got := after.Floor(); !got.Equal(b.now) {
			t.Errorf("%d: floor after a reboot is %v, want %v", year, got, b.now)
		}
	}
}

// TestNewestTimeCounts: a broker whose clock was years ahead, or behind, is believed
// again with the next grant; nothing goes below the build time.
func TestNewestTimeCounts(t *testing.T) {
	for _, years := range []int{10, -10} {
		b, cfg := newFakeBroker(t), config(t)
		right := b.now
		cfg.Built = right.AddDate(-1, 0, 0)
		b.now = right.AddDate(years, 0, 0)
		a := enroll(t, b, cfg)
		want := b.now
		if years < 0 {
			want = cfg.Built
		}
		if got := newAgent(t, cfg).Floor(); !got.Equal(want) {
			t.Errorf("%d years off: floor %v, want %v", years, got, want)
		}
		b.now = right
		if _, err := a.Authenticate(t.Context(), b, agent.Ask{}); err != nil {
			t.Fatal(err)
		}
		if got := newAgent(t, cfg).Floor(); !got.Equal(right) {
			t.Errorf("%d years off, and right again: floor %v, want %v", years, got, right)
		}
		if off, known := a.Offset(); !known || time.Now().Add(off).Sub(right).Abs() > time.Minute {
			t.Errorf("%d years off, and right again: offset %v", years, off)
		}
	}
}

// Each way in which an evil broker, or anyone between, may bend a grant.
func TestGrantRefused(t *testing.T) {
	other := newSigner(t)
	for name, bend := range map[string]func(b *fakeBroker){
		"old nonce":             func(b *fakeBroker) { b.bendClaims = func(c *token.Claims) { c.Nonce = make([]byte, 16) } },
		"no nonce":              func(b *fakeBroker) { b.bendClaims = func(c *token.Claims) { c.Nonce = nil } },
		"other issuer in ID":    func(b *fakeBroker) { b.bendClaims = func(c *token.Claims) { c.Issuer = "https://evil.example" } },
		"other subject in ID":   func(b *fakeBroker) { b.bendClaims = func(c *token.Claims) { c.Subject = ident.UUID{1} } },
		"other issuer in grant": func(b *fakeBroker) { b.bendGrant = func(g *protocol.GrantBody) { g.Issuer = "https://evil.example" } },
		"issuer of challenge": func(b *fakeBroker) {
			b.bendChallenge = func(c *protocol.ChallengeBody) { c.Issuer = "https://evil.example" }
		},
		"access token as ID": func(b *fakeBroker) { b.bendGrant = func(g *protocol.GrantBody) { g.ID = g.Access } },
		"ID by a stranger's key": func(b *fakeBroker) {
			b.bendClaims = func(c *token.Claims) {
				mine := *c
				b.bendGrant = func(g *protocol.GrantBody) { g.ID, _ = token.SignCWT(token.ID, &mine, other) }
			}
		},
		"statement by stranger": func(b *fakeBroker) { b.statementBy = other },
		"other anchor":          func(b *fakeBroker) { b.anchor = other },
		"no anchor":             func(b *fakeBroker) { b.bendGrant = func(g *protocol.GrantBody) { g.Anchor = nil } },
		"no statement":          func(b *fakeBroker) { b.bendGrant = func(g *protocol.GrantBody) { g.Statement = nil } },
		"truncated statement":   func(b *fakeBroker) { b.bendGrant = func(g *protocol.GrantBody) { g.Statement = g.Statement[:20] } },
	} {
		t.Run(name, func(t *testing.T) {
			b, cfg := newFakeBroker(t), config(t)
			bend(b)
			a := newAgent(t, cfg)
			g, err := a.Enroll(t.Context(), b, agent.Admission{Token: b.admit})
			if g != nil || !errors.Is(err, agent.ErrGrant) {
				t.Fatalf("got %v, %v", g, err)
			}
			if a.Enrolled() || a.Current() != nil || a.Status().Phase != agent.PhaseDistrust {
				t.Errorf("a refused grant left traces: %v", a.Status())
			}
			if r, _ := cfg.State.Load(t.Context()); r.Enrolled || r.Refresh != nil {
				t.Error("a refused grant was saved")
			}
		})
	}
}

func TestTamperedMessages(t *testing.T) {
	for name, bend := range map[string]func([]byte) []byte{
		"last byte": func(b []byte) []byte { b[len(b)-1] ^= 1; return b },
		"call id":   func(b []byte) []byte { b[8] ^= 1; return b },
		"garbage":   func([]byte) []byte { return []byte("garbage") },
		"nothing":   func([]byte) []byte { return nil },
		"truncated": func(b []byte) []byte { return b[:len(b)/2] },
	} {
		t.Run(name, func(t *testing.T) {
			b := newFakeBroker(t)
			b.bendReply = bend
			a := newAgent(t, config(t))
			if g, err := a.Enroll(t.Context(), b, agent.Admission{Token: b.admit}); err == nil || g != nil {
				t.Fatalf("got %v", g)
			}
		})
	}
}

// A relay that changes the challenge on its way gets a proof that fits nothing.
func TestChangedChallengeFailsAtTheBroker(t *testing.T) {
	b, cfg := newFakeBroker(t), config(t)
	a := enroll(t, b, cfg)
	b.bendReply = func(raw []byte) []byte {
		m, err := protocol.Decode(raw)
		c, ok := m.(*protocol.Challenge)
		if err != nil || !ok {
			return raw
		}
		c.Body = bytes.Replace(c.Body, []byte("broker"), []byte("Broker"), 1)
		out, _ := protocol.Encode(c)
		return out
	}
	if _, err := a.Authenticate(t.Context(), b, agent.Ask{}); !errors.Is(err, protocol.CodeWrongAnswer) {
		t.Fatal(err)
	}
}

func TestNoAnchorNoTrust(t *testing.T) {
	b := newFakeBroker(t)
	a := newAgent(t, config(t))
	if _, err := a.Authenticate(t.Context(), b, agent.Ask{}); !errors.Is(err, agent.ErrNoAnchor) || b.calls != 0 {
		t.Errorf("%v after %d messages", err, b.calls)
	}
}

func TestGrantForAnotherExchange(t *testing.T) {
	b, cfg := newFakeBroker(t), config(t)
	a := enroll(t, b, cfg)
	var kept *protocol.Grant
	b.bendReply = func(raw []byte) []byte {
		m, _ := protocol.Decode(raw)
		g, ok := m.(*protocol.Grant)
		if !ok {
			return raw
		}
		if kept == nil {
			kept = g
			return raw
		}
		out, _ := protocol.Encode(&protocol.Grant{Head: protocol.Head{ID: g.ID}, Sealed: kept.Sealed})
		return out
	}
	if _, err := a.Authenticate(t.Context(), b, agent.Ask{}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Authenticate(t.Context(), b, agent.Ask{}); !errors.Is(err, agent.ErrGrant) {
		t.Errorf("a replayed grant: %v", err)
	}
}

func TestCustomChallenge(t *testing.T) {
	b, cfg := newFakeBroker(t), config(t)
	asked := 0
	cfg.Solver = func(_ context.Context, kind string, params map[string]string) ([]byte, error) {
		if asked++; kind != "colour" || params["ask"] != "colour" {
			t.Errorf("asked %q %v", kind, params)
		}
		return []byte(map[bool]string{true: "green", false: "blue"}[asked > 1]), nil
	}
	a := enroll(t, b, cfg)
	b.flow, b.secret = []string{"colour"}, "green"
	if _, err := a.Authenticate(t.Context(), b, agent.Ask{}); err != nil {
		t.Fatal(err)
	}
	if asked != 2 {
		t.Errorf("asked %d times, want 2: the first answer was wrong", asked)
	}
	b.secret, asked = "red", 1
	if _, err := a.Authenticate(t.Context(), b, agent.Ask{}); !errors.Is(err, protocol.CodeDenied) {
		t.Errorf("out of tries: %v", err)
	}
	b.bendChallenge = func(c *protocol.ChallengeBody) {
		if c.SealTo != nil {
			c.SealTo = make([]byte, 32)
		}
	}
	asked = 1
	if _, err := a.Authenticate(t.Context(), b, agent.Ask{}); !errors.Is(err, agent.ErrUnexpected) || asked != 1 {
		t.Errorf("a secret went to a key that the pool does not have: %v", err)
	}
	b.bendChallenge = func(c *protocol.ChallengeBody) { c.SealTo = nil }
	if _, err := a.Authenticate(t.Context(), b, agent.Ask{}); !errors.Is(err, agent.ErrUnexpected) || asked != 1 {
		t.Errorf("a secret went unsealed: %v", err)
	}
}

func TestDisabled(t *testing.T) {
	b, cfg := newFakeBroker(t), config(t)
	a := enroll(t, b, cfg)
	b.disabled = true
	if _, err := a.Renew(t.Context(), b, agent.Ask{}); !errors.Is(err, protocol.CodeDisabled) {
		t.Fatal(err)
	}
	if a.Status().Phase != agent.PhaseDisabled || a.Credential() != nil {
		t.Errorf("status %v", a.Status())
	}
}

func TestRefreshFallsBackToTheKey(t *testing.T) {
	b, cfg := newFakeBroker(t), config(t)
	a := enroll(t, b, cfg)
	clear(b.refresh)
	if _, err := a.Renew(t.Context(), b, agent.Ask{}); err != nil {
		t.Fatal(err)
	}
}
