package test

import (
	"fmt"
	"testing"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/test/harness"
)

// pin is a hook that asks for a four-digit code.
func pin(code string) *hookServer {
	return &hookServer{on: map[string]func(hookEvent) map[string]any{
		create: func(hookEvent) map[string]any { return map[string]any{} },
		check:  func(e hookEvent) map[string]any { return map[string]any{"answerCorrect": e.Request.Answer == code} },
	}}
}

// pinned opens a call up to the hook's challenge.
func pinned(t *testing.T, s *harness.Signet, name string, key harness.Key) *talk {
	t.Helper()
	k := quizzed(t, s, name)
	k.start()
	if _, ok := k.answer(k.proof(key)).(*protocol.Challenge); !ok {
		t.Fatal("no second challenge")
	}
	return k
}

// TestGuessesAreBoundedOverExchanges: whoever has the key, but not the code, gains
// nothing by opening one exchange after the other, on this broker or on another.
func TestGuessesAreBoundedOverExchanges(t *testing.T) {
	s, h, key := harness.New(t), pin("4711"), harness.NewP256(t)
	quiz(t, s, h, "key", "hook:door")
	register(t, s, s.Name(t, "lamp-1"), key)
	replicas := cluster(t, s, 2)
	guess := 0
	round := func(n int) (looked int, last *protocol.Refusal) {
		before := len(h.seen(check))
		for range n {
			k := pinned(t, s, "lamp-1", key)
			k.to = replicas[guess%2]
			last, _ = k.answer(k.secret(fmt.Sprintf("%04d", guess))).(*protocol.Refusal)
			guess++
		}
		return len(h.seen(check)) - before, last
	}
	looked, last := round(40)
	if looked != broker.FreeTries {
		t.Fatalf("the hook saw %d of 40 guesses, want %d", looked, broker.FreeTries)
	}
	wantCode(t, last, protocol.CodeTries, "the next one")
	if wait := last.Problem.Signet.RetryAfter; wait == 0 || wait > 30 {
		t.Errorf("told to wait %d s, want up to 30", wait)
	}
	looked = 0
	for s.Offset = time.Minute; s.Offset < 24*time.Hour; s.Offset += 11 * time.Minute {
		n, _ := round(2)
		looked += n
	}
	if looked < 10 || looked > 40 {
		t.Errorf("%d guesses in a day, want some 25", looked)
	}
	s.Offset += 2 * time.Hour // who knows the code is let in as soon as the wait is over
	k := pinned(t, s, "lamp-1", key)
	k.opened(k.answer(k.secret("4711")))
	if looked, _ := round(1); looked != 1 {
		t.Error("a right answer forgets no wrong ones")
	}
}

// TestStrangersCannotUseUpADevicesTries: neither with exchanges of their own nor with
// one of the device's that passed through their hands.
func TestStrangersCannotUseUpADevicesTries(t *testing.T) {
	s, h, key, other := harness.New(t), pin("4711"), harness.NewP256(t), harness.NewP256(t)
	quiz(t, s, h, "key", "hook:door")
	register(t, s, s.Name(t, "lamp-1"), key)
	k := pinned(t, s, "lamp-1", key)
	for i := range 20 {
		thief := *k
		thief.by = other
		if i%2 == 0 {
			thief.by = nil
		}
		raw := thief.secret(fmt.Sprintf("%04d", i))
		if thief.by == nil { // the proof of another answer
			m, err := protocol.Decode(k.secret("4711"))
			if err != nil {
				t.Fatal(err)
			}
			forged, err := protocol.Decode(raw)
			if err != nil {
				t.Fatal(err)
			}
			a := forged.(*protocol.Answer)
			a.Proof = m.(*protocol.Answer).Proof
			raw = k.encode(a)
		}
		wantCode(t, ask(t, s.Exchange, raw), protocol.CodeDenied, "an answer in the device's name")
	}
	wrong := k.secret("0000")
	for range 20 { // what the device said itself, again and again
		wantCode(t, ask(t, s.Exchange, wrong), protocol.CodeWrongAnswer, "the device's own wrong answer")
	}
	if n := len(h.seen(check)); n != 20 {
		t.Errorf("the hook saw %d answers, want the device's own 20 times", n)
	}
	k.opened(k.answer(k.secret("4711")))
}

// TestTriesBeforeAnyProof: where a flow begins with a guess, the exchange's tries are
// used up, and the device's are not.
func TestTriesBeforeAnyProof(t *testing.T) {
	s, h, key := harness.New(t), pin("4711"), harness.NewP256(t)
	quiz(t, s, h, "hook:door", "key")
	register(t, s, s.Name(t, "lamp-1"), key)
	for range 3 {
		k := quizzed(t, s, "lamp-1")
		k.start()
		var m protocol.Message
		for i := range broker.FreeTries + 1 {
			m = ask(t, s.Exchange, k.secret(fmt.Sprintf("%04d", i)))
		}
		wantCode(t, m, protocol.CodeDenied, "a fourth guess in one exchange")
	}
	k := quizzed(t, s, "lamp-1")
	k.start()
	k.answer(k.secret("4711"))
	k.opened(k.answer(k.proof(key)))
}

// TestGuessesWithoutProofHaveNoRecords: where a flow begins with a guess, strangers' exchanges in
// made-up names leave none in the journal, whatever they guess.
func TestGuessesWithoutProofHaveNoRecords(t *testing.T) {
	s, h := harness.New(t), pin("4711")
	quiz(t, s, h, "hook:door", "key")
	last := func() uint64 {
		n, err := s.Store.Last(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := last()
	for i := range 20 {
		k := quizzed(t, s, fmt.Sprintf("made-up-%d", i))
		k.start()
		wantCode(t, ask(t, s.Exchange, k.secret("0000")), protocol.CodeWrongAnswer, "a wrong answer")
		k.answer(k.secret("4711"))
	}
	if n := last() - before; n != 0 || len(h.seen(check)) != 40 {
		t.Errorf("%d records of %d guesses", n, len(h.seen(check)))
	}
}

// TestGuessesWithAnEnrollmentTokenAreTheTokens: who has a token, and guesses, has an
// account with it for that name, and does not use up the device's.
func TestGuessesWithAnEnrollmentTokenAreTheTokens(t *testing.T) {
	s, h, key, thief := harness.New(t), pin("4711"), harness.NewP256(t), harness.NewP256(t)
	quiz(t, s, h, "key", "hook:door")
	register(t, s, s.Name(t, "lamp-1"), key)
	tok := s.Token(t, 100)
	var m protocol.Message
	for i := range 10 {
		k := quizzed(t, s, "lamp-1")
		k.enroll(t, thief, tok)
		m = k.answer(k.secret(fmt.Sprintf("%04d", i)))
	}
	wantCode(t, m, protocol.CodeTries, "the tenth guess with a token")
	if n := len(h.seen(check)); n != broker.FreeTries {
		t.Errorf("the hook saw %d guesses with a token, want %d", n, broker.FreeTries)
	}
	k := pinned(t, s, "lamp-1", key)
	k.opened(k.answer(k.secret("4711")))
}

// TestGuessesOutliveQuestions: of two questions by one hook the one that is known
// takes nothing off what was guessed at the other.
func TestGuessesOutliveQuestions(t *testing.T) {
	s, h, key := harness.New(t), counting(2), harness.NewP256(t)
	quiz(t, s, h)
	register(t, s, s.Name(t, "lamp-1"), key)
	guesses := 0
	for i := range 20 {
		k := pinned(t, s, "lamp-1", key)
		before := len(h.seen(check))
		m := k.answer(k.secret(k.body.Params["question"]))
		if _, ok := m.(*protocol.Challenge); !ok {
			continue
		}
		k.answer(k.secret(fmt.Sprint("guess ", i)))
		guesses += len(h.seen(check)) - before - 1
	}
	if guesses > broker.FreeTries {
		t.Errorf("the hook saw %d guesses at its second question, want at most %d", guesses, broker.FreeTries)
	}
}

// TestADisabledDeviceIsNoOracle: whoever has proved the key of a device that is disabled is
// told so at once, and learns nothing of whether a further answer is right; no hook hears
// of it, and no try is counted.
func TestADisabledDeviceIsNoOracle(t *testing.T) {
	by := broker.By{Actor: broker.ActorLocal}
	disable := func(t *testing.T, s *harness.Signet) {
		t.Helper()
		if _, err := s.Store.UpdateDevice(t.Context(), by, s.Name(t, "lamp-1"), func(d *broker.Device) error { d.Status = broker.StatusDisabled; return nil }); err != nil {
			t.Fatal(err)
		}
	}
	for what, steps := range map[string][]string{"steps": {"key", "hook:door"}, "steps with a code": {"key", "totp", "hook:door"}, "a define hook": nil} {
		t.Run(what, func(t *testing.T) {
			s, h, key := harness.New(t), pin("4711"), harness.NewP256(t)
			h.on[define] = func(e hookEvent) map[string]any {
				return map[string]any{"challengeName": map[bool]string{true: "key", false: "door"}[len(e.Request.Session) == 0]}
			}
			quiz(t, s, h, steps...)
			register(t, s, s.Name(t, "lamp-1"), key)
			right := "4711"
			if what == "steps with a code" {
				right = s.Codes(t, s.Name(t, "lamp-1"), nil, false)(0)
			}
			one, two, three := pinned(t, s, "lamp-1", key), pinned(t, s, "lamp-1", key), quizzed(t, s, "lamp-1")
			three.start()
			disable(t, s)
			before := len(h.calls)
			for range 2 * broker.FreeTries { // each would be counted
				wantCode(t, one.answerWith("0000"), protocol.CodeDisabled, "a wrong answer")
				wantCode(t, two.answerWith(right), protocol.CodeDisabled, "the right answer")
			}
			wantCode(t, three.answer(three.proof(key)), protocol.CodeDisabled, "the proof of the key")
			if n := len(h.calls) - before; n != 0 {
				t.Errorf("the hook heard of the disabled device %d times", n)
			}
		})
	}
	t.Run("enrollment", func(t *testing.T) {
		s, h, key, other := harness.New(t), pin("4711"), harness.NewP256(t), harness.NewP256(t)
		quiz(t, s, h, "key", "hook:door")
		register(t, s, s.Name(t, "lamp-1"), key)
		tok := s.Token(t, 1)
		k := quizzed(t, s, "lamp-1")
		k.enroll(t, other, tok)
		disable(t, s)
		before := len(h.calls)
		for _, answer := range []string{"0000", "4711"} {
			wantCode(t, k.answerWith(answer), protocol.CodeDisabled, "an answer by token")
		}
		wantCode(t, quizzed(t, s, "lamp-1").enroll(t, other, tok), protocol.CodeDisabled, "the token's proof")
		if n := len(h.calls) - before; n != 0 {
			t.Errorf("the hook heard of the disabled device %d times", n)
		}
		first := quizzed(t, s, "lamp-2") // uses it up
		first.enroll(t, harness.NewP256(t), tok)
		if _, ok := first.answerWith("4711").(*protocol.Grant); !ok {
			t.Fatal("no grant")
		}
		wantCode(t, quizzed(t, s, "lamp-1").enroll(t, other, tok), protocol.CodeDenied, "the proof of a token that is used up")
	})
}
