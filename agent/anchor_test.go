package agent_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/token"
)

// replace gives the pool another anchor, by the old one's word or without it.
func (b *fakeBroker) replace(t *testing.T, byItsWord bool) (old *token.Signer) {
	t.Helper()
	old, b.anchor, b.moved = b.anchor, newSigner(t), true
	if !byItsWord {
		b.successions = nil
		return old
	}
	s, err := protocol.Succeed(old, b.anchor.Key(), time.Unix(1_780_000_000, 0))
	if err != nil {
		t.Fatal(err)
	}
	b.successions = append(b.successions, s)
	return old
}

func pinned(t *testing.T, cfg agent.Config) []byte {
	t.Helper()
	r, err := cfg.State.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return r.Pin
}

func thumb(s *token.Signer) []byte {
	sum := s.Key().Thumbprint()
	return sum[:protocol.PinLen]
}

// TestAnchorIsReplaced: a device that slept through several replacements follows all of
// them at its next call, and then knows the newest anchor only.
func TestAnchorIsReplaced(t *testing.T) {
	b, cfg := newFakeBroker(t), config(t)
	a := enroll(t, b, cfg)
	first := b.replace(t, true)
	b.replace(t, true)
	b.replace(t, true)
	if _, err := a.Refresh(t.Context(), b, agent.Ask{}); err != nil {
		t.Fatalf("it does not follow: %v", err)
	}
	if got := pinned(t, cfg); string(got) != string(thumb(b.anchor)) {
		t.Fatalf("it pins %x, want the newest, %x", got, thumb(b.anchor))
	}
	again := newAgent(t, cfg) // after a reboot
	if _, err := again.Authenticate(t.Context(), b, agent.Ask{}); err != nil {
		t.Fatal(err)
	}
	// Who has the first anchor's key leads the device nowhere any more.
	honest, evil := b.anchor, newSigner(t)
	s, err := protocol.Succeed(first, evil.Key(), time.Unix(1_790_000_000, 0))
	if err != nil {
		t.Fatal(err)
	}
	for name, speaks := range map[string]func(){
		"its own word":       func() { b.anchor, b.successions = first, nil },
		"another successor":  func() { b.anchor, b.successions = evil, []protocol.Succession{s} },
		"before the pool's":  func() { b.anchor, b.successions = evil, append([]protocol.Succession{s}, b.successions...) },
		"a statement merely": func() { b.anchor, b.statementBy = honest, first },
	} {
		speaks()
		if _, err := again.Authenticate(t.Context(), b, agent.Ask{}); !errors.Is(err, agent.ErrAnchor) || again.Status().Phase != agent.PhaseDistrust {
			t.Errorf("the owner of a replaced anchor, %s: %v (%s), want ErrAnchor", name, err, again.Status().Phase)
		}
		b.anchor, b.successions, b.statementBy = honest, []protocol.Succession{s}, nil
	}
	if got := pinned(t, cfg); string(got) != string(thumb(honest)) {
		t.Errorf("it pins %x now", got)
	}
}

// TestTokenOfAReplacedAnchor: an enrollment token that pins an earlier anchor enrolls, and
// the device knows the newest one from the start.
func TestTokenOfAReplacedAnchor(t *testing.T) {
	b, cfg := newFakeBroker(t), config(t)
	b.replace(t, true)
	b.replace(t, true)
	a := enroll(t, b, cfg)
	if got := pinned(t, cfg); string(got) != string(thumb(b.anchor)) {
		t.Errorf("it pins %x, want the newest, %x", got, thumb(b.anchor))
	}
	if _, err := a.Enroll(t.Context(), b, agent.Admission{Token: b.admit}); err != nil {
		t.Errorf("once more with the same token: %v", err)
	}
}

// TestTokenTakesNothingBack: whom a device believes is not for an enrollment token to change.
// What the token pins and what the device believes must lead to one anchor, and the keys be
// none older than it knows, be it enrolled as often as one likes. An operator's pin may change
// all of that, and the device says what it believed before.
func TestTokenTakesNothingBack(t *testing.T) {
	b, cfg := newFakeBroker(t), config(t)
	var log bytes.Buffer
	cfg.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))
	early := b.admit
	a := enroll(t, b, cfg)
	first := b.replace(t, true)
	if _, err := a.Enroll(t.Context(), b, agent.Admission{Token: early}); err != nil {
		t.Fatalf("an early token, and the pool leads from its anchor to the newest: %v", err)
	}
	honest, words, late := b.anchor, b.successions, b.tokenOf(t, b.anchor)
	refused := func(name string, by *token.Signer, successions []protocol.Succession, v agent.Admission, want error) {
		t.Helper()
		b.anchor, b.successions, b.admit = by, successions, v.Token
		for range 2 {
			if _, err := a.Enroll(t.Context(), b, v); !errors.Is(err, want) || a.Status().Phase != agent.PhaseDistrust {
				t.Errorf("%s: %v (%s), want %v", name, err, a.Status().Phase, want)
			}
		}
		if got := pinned(t, cfg); !bytes.Equal(got, thumb(honest)) {
			t.Fatalf("%s: it pins %x now", name, got)
		}
		b.anchor, b.successions, b.admit = honest, words, late
	}
	other := newSigner(t)
	refused("a replaced anchor's token and its owner", first, nil, agent.Admission{Token: early}, agent.ErrAnchor)
	refused("another anchor's token and its owner", other, nil, agent.Admission{Token: b.tokenOf(t, other)}, agent.ErrAnchor)
	refused("another anchor's token, and the pool's own anchor", honest, words, agent.Admission{Token: b.tokenOf(t, other)}, agent.ErrAnchor)
	refused("an early token, and the pool does not say how to go on", honest, nil, agent.Admission{Token: early}, agent.ErrAnchor)
	b.issued = b.issued.Add(-time.Hour)
	refused("older keys", honest, words, agent.Admission{Token: late}, agent.ErrOlder)
	if log.Len() > 0 {
		t.Errorf("it says: %s", log.String())
	}
	b.admit = late
	if _, err := a.Enroll(t.Context(), b, agent.Admission{Token: late, Pin: thumb(honest)}); err != nil {
		t.Errorf("older keys by the operator's word: %v", err)
	}
	if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "older keys than before") {
		t.Errorf("of older keys it says: %s", got)
	}
	log.Reset()
	b.anchor, b.successions = first, nil
	if _, err := a.Enroll(t.Context(), b, agent.Admission{Pin: thumb(first), Token: late}); err != nil || !bytes.Equal(pinned(t, cfg), thumb(first)) {
		t.Errorf("a replaced anchor by the operator's word: %v, it pins %x", err, pinned(t, cfg))
	}
	if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, hex.EncodeToString(thumb(honest))) || !strings.Contains(got, hex.EncodeToString(thumb(first))) {
		t.Errorf("of another anchor it says: %s", got)
	}
}

// TestAnchorIsRevoked: without the old anchor's word no device follows; the operator's word
// at the device itself, a new pin, is what it takes, and its key stays.
func TestAnchorIsRevoked(t *testing.T) {
	b, cfg := newFakeBroker(t), config(t)
	a := enroll(t, b, cfg)
	b.replace(t, true)
	b.replace(t, false)
	for range 2 {
		if _, err := a.Renew(t.Context(), b, agent.Ask{}); !errors.Is(err, agent.ErrAnchor) {
			t.Fatalf("after the revocation: %v, want ErrAnchor", err)
		}
	}
	if _, err := a.Enroll(t.Context(), b, agent.Admission{Token: b.admit}); !errors.Is(err, agent.ErrAnchor) {
		t.Errorf("with a token that pins the revoked anchor: %v, want ErrAnchor", err)
	}
	if _, err := a.Enroll(t.Context(), b, agent.Admission{Token: b.admit, Pin: []byte("short")}); err == nil {
		t.Error("a pin of five bytes was taken")
	}
	if _, err := a.Enroll(t.Context(), b, agent.Admission{Token: b.admit, Pin: thumb(b.anchor)}); err != nil {
		t.Fatalf("by the operator's word: %v", err)
	}
	if _, err := newAgent(t, cfg).Authenticate(t.Context(), b, agent.Ask{}); err != nil {
		t.Errorf("after that: %v", err)
	}
}
