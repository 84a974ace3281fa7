package test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/control"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/challenge"
	"github.com/signetd/signet/protocol/token"
	"github.com/signetd/signet/test/harness"
)

// second makes client "quiz", whose flow asks for a code after the key.
func second(t *testing.T, s *harness.Signet) {
	t.Helper()
	quiz(t, s, pin("0"), challenge.Key, challenge.TOTP)
}

// TestOneTimeCodes: key and code let a device in; each code once, on whichever
// replica, and also when its answer comes twice.
func TestOneTimeCodes(t *testing.T) {
	s, key := harness.New(t), harness.NewP256(t)
	second(t, s)
	id := s.Name(t, "lamp-1")
	register(t, s, id, key)
	code := s.Codes(t, id, map[string]string{"algorithm": "SHA256"}, false)
	replicas := cluster(t, s, 2)

	k := pinned(t, s, "lamp-1", key)
	if k.body.Kind != challenge.TOTP || k.body.SealTo == nil {
		t.Fatalf("asked for %q", k.body.Kind)
	}
	wantCode(t, ask(t, replicas[1], k.secret("000000x")), protocol.CodeWrongAnswer, "no code")
	used := code(0)
	right := k.secret(used[:3] + " " + used[3:]) // as apps show it
	k.opened(k.answer(right))
	wantCode(t, ask(t, replicas[1], right), protocol.CodeReplayed, "the answer again")

	k = pinned(t, s, "lamp-1", key)
	wantCode(t, ask(t, replicas[1], k.secret(used)), protocol.CodeWrongAnswer, "a code that was used")
	wantCode(t, ask(t, replicas[0], k.secret(code(-1))), protocol.CodeWrongAnswer, "an older code than the one that was used")
	k.opened(k.answer(k.secret(code(1))))
	d, err := s.Store.Device(t.Context(), id)
	if err != nil || len(d.Authenticators) != 2 {
		t.Errorf("%d authenticators: %v", len(d.Authenticators), err)
	}
}

// TestOneTimeCodesAreGuessedAtByDevice: a fresh exchange brings no fresh tries.
func TestOneTimeCodesAreGuessedAtByDevice(t *testing.T) {
	s, key := harness.New(t), harness.NewP256(t)
	second(t, s)
	id := s.Name(t, "lamp-1")
	register(t, s, id, key)
	code := s.Codes(t, id, nil, false)
	looked := 0
	for range 20 {
		m := pinned(t, s, "lamp-1", key).answerWith("123 45")
		if r := m.(*protocol.Refusal); r.Problem.Signet.TriesLeft > 0 || r.Problem.Signet.RetryAfter == 30 {
			looked++
		}
	}
	if looked < broker.FreeTries {
		t.Errorf("%d guesses were looked at", looked)
	}
	wantCode(t, pinned(t, s, "lamp-1", key).answerWith(code(0)), protocol.CodeTries, "the right code while guesses wait")
	s.Offset = time.Minute
	k := pinned(t, s, "lamp-1", key)
	k.opened(k.answer(k.secret(code(0))))
}

// TestAGuessIsLookedAtOnce: a code that is not right yet is not kept ready by sending its
// answer again and again; later the answer is another guess, and waits like any other.
func TestAGuessIsLookedAtOnce(t *testing.T) {
	s, key := harness.New(t), harness.NewP256(t)
	second(t, s)
	id := s.Name(t, "lamp-1")
	register(t, s, id, key)
	code := s.Codes(t, id, nil, false)
	k := pinned(t, s, "lamp-1", key)
	early := k.secret(code(4)) // good in two minutes
	wantCode(t, ask(t, s.Exchange, early), protocol.CodeWrongAnswer, "a code of the future")
	wantCode(t, ask(t, s.Exchange, early), protocol.CodeWrongAnswer, "the same answer, whose verdict was lost")
	s.Offset = broker.RepeatTime
	wantCode(t, ask(t, s.Exchange, k.secret("000000x")), protocol.CodeWrongAnswer, "another answer")
	wantCode(t, ask(t, s.Exchange, early), protocol.CodeTries, "the first answer again, the third try")
	for s.Offset = 2 * broker.RepeatTime; s.Offset < broker.RepeatTime+broker.WaitAfter(broker.FreeTries); s.Offset += broker.RepeatTime {
		wantCode(t, ask(t, s.Exchange, early), protocol.CodeTries, "the first answer again while the device waits")
	}
}

func (k *talk) answerWith(answer string) protocol.Message {
	k.t.Helper()
	return k.answer(k.secret(answer))
}

// TestWithoutAGenerator: a flow that asks for codes lets nobody in who has none, and
// what an operator takes away is gone.
func TestWithoutAGenerator(t *testing.T) {
	s, key := harness.New(t), harness.NewP256(t)
	second(t, s)
	id := s.Name(t, "lamp-1")
	register(t, s, id, key)
	wantCode(t, pinned(t, s, "lamp-1", key).answerWith("123456"), protocol.CodeDenied, "a code without a generator")
	by := broker.By{Actor: broker.ActorLocal}
	code := s.Codes(t, id, nil, false)
	if _, _, err := s.Control.MakeAuthenticator(t.Context(), by, id, challenge.TOTP, nil, false); !errors.Is(err, broker.ErrConflict) {
		t.Errorf("a second generator: %v", err)
	}
	newer := s.Codes(t, id, nil, true)
	wantCode(t, pinned(t, s, "lamp-1", key).answerWith(code(0)), protocol.CodeWrongAnswer, "a code of the generator before")
	k := pinned(t, s, "lamp-1", key)
	k.opened(k.answer(k.secret(newer(0))))
	if err := s.Control.RemoveAuthenticator(t.Context(), by, id, challenge.TOTP); err != nil {
		t.Fatal(err)
	}
	wantCode(t, pinned(t, s, "lamp-1", key).answerWith(newer(1)), protocol.CodeDenied, "a code of a generator that was removed")
	if err := s.Control.RemoveAuthenticator(t.Context(), by, id, challenge.TOTP); !errors.Is(err, broker.ErrConflict) {
		t.Errorf("removed twice: %v", err)
	}
}

// TestANewKeyIsNoWayRoundTheCode: a generator waits for a device's first key, and
// outlives it.
func TestANewKeyIsNoWayRoundTheCode(t *testing.T) {
	s, first, other := harness.New(t), harness.NewP256(t), harness.NewP256(t)
	second(t, s)
	id := s.Name(t, "lamp-1")
	by := broker.By{Actor: broker.ActorLocal}
	if _, err := s.Control.CreateDevice(t.Context(), by, control.NewDevice{ID: id}); err != nil {
		t.Fatal(err)
	}
	code := s.Codes(t, id, nil, false)
	enroll := func(key harness.Key, replace bool, code string) protocol.Message {
		_, text, err := s.Control.CreateEnrollToken(t.Context(), by, control.NewEnrollToken{Pool: s.Pool, Uses: 1, Life: time.Hour, Replace: replace, NamePattern: "*-*"})
		if err != nil {
			t.Fatal(err)
		}
		tok, err := protocol.ParseEnrollToken(text)
		if err != nil {
			t.Fatal(err)
		}
		k := quizzed(t, s, "lamp-1")
		k.enroll(t, key, &tok)
		return k.answer(k.secret(code))
	}
	wantCode(t, enroll(first, false, "123456"), protocol.CodeWrongAnswer, "an enrollment with a wrong code")
	if _, ok := enroll(first, false, code(0)).(*protocol.Grant); !ok {
		t.Fatal("the first key with the right code is no grant")
	}
	wantCode(t, enroll(other, true, "123456"), protocol.CodeWrongAnswer, "another key with a wrong code")
	if _, ok := enroll(other, true, code(1)).(*protocol.Grant); !ok {
		t.Fatal("another key with the right code is no grant")
	}
	d, err := s.Store.Device(t.Context(), id)
	if err != nil || len(d.Authenticators) != 2 || d.Authenticators[1].Kind != challenge.TOTP {
		t.Errorf("authenticators %v: %v", d.Authenticators, err)
	}
}

// TestCodesComeAfterTheKey: no flow asks a stranger for a code.
func TestCodesComeAfterTheKey(t *testing.T) {
	s := harness.New(t)
	for _, steps := range [][]string{{"totp"}, {"totp", "key"}, {"hook:door", "totp"}, {"key", "hook:totp"}} {
		f := broker.Flow{Pool: s.Pool, Name: "x", Steps: steps, HookFirst: steps[0] == "hook:door"}
		if err := f.Validate(); !errors.Is(err, broker.ErrInvalid) {
			t.Errorf("%s: %v", strings.Join(steps, ", "), err)
		}
	}
	for _, steps := range [][]string{{"key", "totp"}, {"psk", "hook:door", "totp"}} {
		f := broker.Flow{Pool: s.Pool, Name: "x", Steps: steps, HookFirst: steps[0] == "hook:door"}
		if err := f.Validate(); err != nil {
			t.Errorf("%s: %v", strings.Join(steps, ", "), err)
		}
	}
	key, h := harness.NewP256(t), pin("0")
	h.on[define] = func(hookEvent) map[string]any { return map[string]any{"challengeName": challenge.TOTP} }
	quiz(t, s, h)
	register(t, s, s.Name(t, "lamp-1"), key)
	wantCode(t, quizzed(t, s, "lamp-1").start(), protocol.CodeDenied, "a hook that asks a stranger for a code")
}

// TestAgentAnswersOneTimeCodes: a device whose owner mistypes once, and then does not.
func TestAgentAnswersOneTimeCodes(t *testing.T) {
	s, key := harness.New(t), harness.NewP256(t)
	second(t, s)
	id := s.Name(t, "lamp-1")
	register(t, s, id, key)
	code := s.Codes(t, id, nil, false)
	asked := 0
	a := newAgent(t, s, "lamp-1", key, func(c *agent.Config) {
		c.Client, c.Pin = "quiz", s.Pin(t)
		c.Solver = func(_ context.Context, kind string, _ map[string]string) ([]byte, error) {
			if kind != challenge.TOTP {
				t.Errorf("asked for %q", kind)
			}
			if asked++; asked == 1 {
				return []byte("000000x"), nil
			}
			return []byte(code(0)), nil
		}
	})
	if _, err := a.Authenticate(t.Context(), s, agent.Ask{}); err != nil || asked != 2 {
		t.Errorf("after %d answers: %v", asked, err)
	}
}

// TestAnswerKeyIsVouchedFor: a challenge whose answer is a secret brings what the device
// lacks to believe its key, and nothing that it has.
func TestAnswerKeyIsVouchedFor(t *testing.T) {
	s, key := harness.New(t), harness.NewP256(t)
	second(t, s)
	r, err := s.Keys.Ring(t.Context(), s.Pool)
	if err != nil {
		t.Fatal(err)
	}
	anchor, err := token.ParseCOSEKey(r.Anchor)
	if err != nil {
		t.Fatal(err)
	}
	believed := func(k *talk) {
		t.Helper()
		st, err := protocol.DecodeStatement(k.body.Statement, anchor)
		if err != nil || string(st.SealTo) != string(k.body.SealTo) || k.body.Kind != challenge.TOTP || st.Issuer != k.body.Issuer {
			t.Errorf("challenge %q with the statement %x: %v", k.body.Kind, k.body.Statement, err)
		}
	}
	k := quizzed(t, s, "lamp-1")
	k.enroll(t, key, tokenFor(t, s, control.NewEnrollToken{Pool: s.Pool, Uses: 1, Life: time.Hour}))
	believed(k)
	if string(k.body.Anchor) != string(r.Anchor) {
		t.Errorf("in an enrollment it brings the anchor %x", k.body.Anchor)
	}

	id := s.Name(t, "lamp-2")
	register(t, s, id, key)
	s.Codes(t, id, nil, false)
	k = pinned(t, s, "lamp-2", key)
	believed(k)
	for name, has := range map[string][]byte{"an older statement": make([]byte, protocol.StatementIDLen), "the current one": r.StatementID} {
		k := quizzed(t, s, "lamp-2")
		k.request.Statement = has
		k.start()
		if k.body.Statement != nil {
			t.Errorf("%s: a proof of possession came with %x", name, k.body.Statement)
		}
		k.answer(k.proof(key))
		if name == "the current one" {
			if k.body.Statement != nil || k.body.Anchor != nil || k.body.SealTo == nil {
				t.Errorf("a device that has everything gets %x and %x", k.body.Statement, k.body.Anchor)
			}
			continue
		}
		believed(k)
	}
}
