package agent_test

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"testing"
	"time"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/token"
)

// middle ends the device's TLS and speaks for the broker: it changes what it likes, and
// tries to open what the device answers.
type middle struct {
	*fakeBroker
	key  *ecdh.PrivateKey
	said protocol.Transcript
	told []string // secrets that it opened
}

func newMiddle(t *testing.T, b *fakeBroker) *middle {
	t.Helper()
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &middle{fakeBroker: b, key: key}
}

// RoundTrip passes on, and reads what can be read.
func (m *middle) RoundTrip(ctx context.Context, request []byte) ([]byte, error) {
	said, err := protocol.Decode(request)
	if err != nil {
		return nil, err
	}
	if a, ok := said.(*protocol.Answer); ok {
		if plain, err := protocol.OpenAnswer(m.key, m.said, a.Secret); a.Secret != nil && err == nil {
			m.told = append(m.told, string(plain))
		}
		m.said = m.said.Add(request)
	} else {
		m.said = protocol.Transcript{}.Add(request)
	}
	reply, err := m.fakeBroker.RoundTrip(ctx, request)
	if err != nil {
		return nil, err
	}
	if r, err := protocol.Decode(reply); err == nil {
		if c, ok := r.(*protocol.Challenge); ok {
			m.said = m.said.Add(c.Body)
		}
	}
	return reply, nil
}

// statementOf is a key statement of the pool's issuer that names the middle's answer key.
func (m *middle) statementOf(t *testing.T, anchor *token.Signer, issuer string) []byte {
	t.Helper()
	raw, err := protocol.EncodeStatement(&protocol.Statement{
		Issuer: issuer, Keys: []*token.Key{anchor.Key()}, SealTo: m.key.PublicKey().Bytes(), Issued: time.Unix(1_790_000_000, 0),
	}, anchor)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// TestSecretsWaitForTheAnchor: a device that enrolls, and so knows nothing of the pool but
// its anchor's pin, gives no code to whoever is in the middle. Its owner is not even asked.
func TestSecretsWaitForTheAnchor(t *testing.T) {
	evil := newSigner(t)
	for name, bend := range map[string]func(*testing.T, *middle, *protocol.ChallengeBody){
		"another key to seal to": func(*testing.T, *middle, *protocol.ChallengeBody) {},
		"that and nothing to judge it by": func(_ *testing.T, _ *middle, c *protocol.ChallengeBody) {
			c.PoolKeys = protocol.PoolKeys{}
		},
		"no anchor":    func(_ *testing.T, _ *middle, c *protocol.ChallengeBody) { c.Anchor = nil },
		"no statement": func(_ *testing.T, _ *middle, c *protocol.ChallengeBody) { c.Statement = nil },
		"its own anchor": func(t *testing.T, m *middle, c *protocol.ChallengeBody) {
			c.Anchor, c.Statement = evil.Key().MarshalCOSE(), m.statementOf(t, evil, issuer)
		},
		"its own statement": func(t *testing.T, m *middle, c *protocol.ChallengeBody) {
			c.Statement = m.statementOf(t, evil, issuer)
		},
		"a successor of its own": func(t *testing.T, m *middle, c *protocol.ChallengeBody) {
			s, err := protocol.Succeed(evil, evil.Key(), time.Unix(1_790_000_000, 0))
			if err != nil {
				t.Fatal(err)
			}
			c.Anchor, c.Statement, c.Successions = evil.Key().MarshalCOSE(), m.statementOf(t, evil, issuer), []protocol.Succession{s}
		},
		"the statement of another pool of the anchor's": func(t *testing.T, m *middle, c *protocol.ChallengeBody) {
			c.Statement = m.statementOf(t, m.anchor, issuer+"-2")
		},
	} {
		t.Run(name, func(t *testing.T) {
			b, cfg := newFakeBroker(t), config(t)
			b.flow, b.secret = []string{"code"}, "1234"
			asked := 0
			cfg.Solver = func(context.Context, string, map[string]string) ([]byte, error) {
				asked++
				return []byte("1234"), nil
			}
			m := newMiddle(t, b)
			b.bendChallenge = func(c *protocol.ChallengeBody) {
				if c.SealTo != nil {
					c.SealTo = m.key.PublicKey().Bytes()
					bend(t, m, c)
				}
			}
			a := newAgent(t, cfg)
			if _, err := a.Enroll(t.Context(), m, agent.Admission{Token: b.admit}); err == nil {
				t.Error("it enrolled")
			}
			if asked != 0 || len(m.told) != 0 {
				t.Errorf("the owner was asked %d times, the middle read %q", asked, m.told)
			}
			b.bendChallenge = nil
			if _, err := a.Enroll(t.Context(), m, agent.Admission{Token: b.admit}); err != nil || asked != 1 || len(m.told) != 0 {
				t.Errorf("then with nobody in the middle: %v, asked %d times, the middle read %q", err, asked, m.told)
			}
		})
	}
}

// TestAnswerKeyChanges: a pool's answer key may become another between two calls, and
// within one; the newer statement vouches for it. An older one, whose answer key somebody
// may have got hold of, does not any more.
func TestAnswerKeyChanges(t *testing.T) {
	b, cfg := newFakeBroker(t), config(t)
	b.flow, b.secret = []string{"code", "code"}, "1234"
	asked := 0
	cfg.Solver = func(context.Context, string, map[string]string) ([]byte, error) {
		asked++
		return []byte("1234"), nil
	}
	a := enroll(t, b, cfg)
	change := func(by time.Duration) {
		m := newMiddle(t, b)
		b.sealKey, b.issued, b.moved = m.key, b.issued.Add(by), true
	}
	change(time.Hour)
	if _, err := a.Authenticate(t.Context(), b, agent.Ask{}); err != nil {
		t.Errorf("another answer key since the last call: %v", err)
	}
	within := func(by time.Duration) (int, error) {
		n := 0
		b.bendChallenge = func(c *protocol.ChallengeBody) {
			if c.SealTo == nil {
				return
			}
			if n++; n == 2 {
				change(by)
				c.SealTo, c.Statement = b.sealKey.PublicKey().Bytes(), b.statement()
			}
		}
		asked = 0
		_, err := a.Authenticate(t.Context(), b, agent.Ask{})
		return asked, err
	}
	if n, err := within(time.Hour); err != nil || n != 2 {
		t.Errorf("another answer key between two challenges: asked %d times, %v", n, err)
	}
	if n, err := within(-30 * time.Minute); err == nil || n != 1 {
		t.Errorf("an older statement's answer key: asked %d times, %v", n, err)
	}
}
