package test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/auth"
	"github.com/signetd/signet/broker/control"
	"github.com/signetd/signet/broker/control/controltest"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/test/harness"
)

// TestDefineCreateVerify: several rounds in one exchange, as at Cognito, and what
// each hook is told in each of them.
func TestDefineCreateVerify(t *testing.T) {
	s, h, key := harness.New(t), counting(4), harness.NewP256(t)
	quiz(t, s, h)
	register(t, s, s.Name(t, "lamp-1"), key)
	k := quizzed(t, s, "lamp-1")
	k.start()
	k.answer(k.proof(key))
	var m protocol.Message
	for round := 1; round <= 5; round++ {
		if k.body.Kind != "CUSTOM_CHALLENGE" || k.body.Params["question"] != fmt.Sprint(round) || len(k.body.Params) != 1 {
			t.Fatalf("round %d: %q asks %v", round, k.body.Kind, k.body.Params)
		}
		answer := k.body.Params["question"]
		if round == 2 {
			answer = "nonsense" // costs a round here: the hook decides what follows
		}
		m = k.answer(k.secret(answer))
	}
	k.opened(m)
	var got [][]auth.Result
	for _, e := range h.seen(define) {
		got = append(got, e.Request.Session)
	}
	full := []auth.Result{
		{Name: "key", OK: true}, {Name: "CUSTOM_CHALLENGE", OK: true, Meta: "META-1"}, {Name: "CUSTOM_CHALLENGE", OK: false, Meta: "META-2"},
		{Name: "CUSTOM_CHALLENGE", OK: true, Meta: "META-3"}, {Name: "CUSTOM_CHALLENGE", OK: true, Meta: "META-4"}, {Name: "CUSTOM_CHALLENGE", OK: true, Meta: "META-5"},
	}
	for i, results := range got {
		if diff := cmp.Diff(full[:len(results)], results); diff != "" || len(results) != i {
			t.Errorf("define %d was told (-want +got):\n%s", i, diff)
		}
	}
	hookSees(t, h)
}

// TestDefineAfterAProof: a hook that decides what comes after the key is called for nobody who
// has not proved it, so for no stranger and no disabled device, and nobody learns which are.
func TestDefineAfterAProof(t *testing.T) {
	s, h, key := harness.New(t), counting(4), harness.NewP256(t)
	quizBy(t, s, h, broker.Flow{Steps: []string{"key"}, Define: "door"})
	register(t, s, s.Name(t, "lamp-1"), key)
	off := harness.NewP256(t)
	register(t, s, s.Name(t, "lamp-2"), off)
	if _, err := s.Control.DisableDevice(t.Context(), broker.By{Actor: broker.ActorLocal}, s.Name(t, "lamp-2")); err != nil {
		t.Fatal(err)
	}
	for name, by := range map[string]harness.Key{"lamp-1": harness.NewP256(t), "lamp-2": harness.NewP256(t), "nobody": harness.NewP256(t)} {
		k := quizzed(t, s, name)
		k.start()
		if k.body.Kind != "key" || len(k.body.Params) != 0 {
			t.Errorf("%s is asked for %q %v", name, k.body.Kind, k.body.Params)
		}
		wantCode(t, k.answer(k.proof(by)), protocol.CodeDenied, "a stranger as "+name)
	}
	k := quizzed(t, s, "lamp-2")
	k.start()
	wantCode(t, k.answer(k.proof(off)), protocol.CodeDisabled, "the disabled device")
	if n := len(h.calls); n != 0 {
		t.Fatalf("the hook was called %d times before a proof", n)
	}
	k = quizzed(t, s, "lamp-1")
	k.start()
	m := k.answer(k.proof(key))
	for round := 1; round <= 5; round++ {
		if k.body.Kind != "CUSTOM_CHALLENGE" {
			t.Fatalf("round %d: %q", round, k.body.Kind)
		}
		answer := k.body.Params["question"]
		if round == 2 {
			answer = "nonsense" // the hook decides what follows
		}
		m = k.answer(k.secret(answer))
	}
	k.opened(m)
	if first := h.seen(define)[0].Request.Session; len(first) != 1 || first[0].Name != "key" || !first[0].OK {
		t.Errorf("define is first told %v", first)
	}
	hookSees(t, h)
}

// TestStepBeforeDefine: what a flow asks before its define hook must be right, and the hook has no
// say in it.
func TestStepBeforeDefine(t *testing.T) {
	s, h, key := harness.New(t), counting(1), harness.NewP256(t)
	quizBy(t, s, h, broker.Flow{Steps: []string{"key", "hook:door"}, Define: "door"})
	register(t, s, s.Name(t, "lamp-1"), key)
	k := quizzed(t, s, "lamp-1")
	k.start()
	k.answer(k.proof(key))
	if _, goesOn := k.answer(k.secret("nonsense")).(*protocol.Challenge); goesOn {
		t.Error("the flow goes on after a wrong answer to a step")
	}
	if n := len(h.seen(define)); n != 0 {
		t.Errorf("define was asked %d times after a wrong answer to a step", n)
	}
	k = quizzed(t, s, "lamp-1")
	k.start()
	k.answer(k.proof(key))
	if m := k.answer(k.secret(k.body.Params["question"])); len(h.seen(define)) != 1 {
		t.Errorf("after the steps define was asked %d times: %v", len(h.seen(define)), m)
	} else {
		k.opened(m)
	}
}

// hookSees checks what is the same for all calls.
func hookSees(t *testing.T, h *hookServer) {
	t.Helper()
	ids := make(map[string]bool)
	for _, e := range h.calls {
		if ids[e.ID] {
			t.Errorf("two calls have the id %s", e.ID)
		}
		ids[e.ID] = true
		if e.Request.Metadata["site"] != "north" || e.Device.Name != "lamp-1" || e.Device.Sub == "" || e.Request.NotFound {
			t.Errorf("%s knows %v of %v", e.Trigger, e.Request.Metadata, e.Device)
		}
		if (e.Trigger == check) != (e.Request.Private != nil) || (e.Trigger == check) != (e.Request.Answer != "") {
			t.Errorf("%s has private parameters %v and answer %q", e.Trigger, e.Request.Private, e.Request.Answer)
		}
	}
	if n := len(ids); n < 10 {
		t.Errorf("only %d calls", n)
	}
}

// TestManyRightAnswersAreNoTries: right answers are not held against an exchange,
// wrong ones are, whatever the hook says.
func TestManyRightAnswersAreNoTries(t *testing.T) {
	s, h, key := harness.New(t), counting(7), harness.NewEd25519(t)
	quiz(t, s, h)
	register(t, s, s.Name(t, "lamp-1"), key)
	k := quizzed(t, s, "lamp-1")
	k.start()
	m := k.answer(k.proof(key))
	for range 7 {
		m = k.answer(k.secret(k.body.Params["question"]))
	}
	k.opened(m)

	h.on[define] = func(e hookEvent) map[string]any { // never says fail
		return map[string]any{"challengeName": map[bool]string{true: "key", false: "x"}[len(e.Request.Session) == 0]}
	}
	k = quizzed(t, s, "lamp-1")
	k.start()
	k.answer(k.proof(key))
	before := len(h.seen(check))
	for range auth.MaxTries {
		m = k.answer(k.secret("nonsense"))
	}
	if _, ok := m.(*protocol.Challenge); !ok {
		t.Fatalf("the last wrong answer that is allowed: %v", m)
	}
	wantCode(t, k.answer(k.secret(k.body.Params["question"])), protocol.CodeTries, "a right answer after three wrong ones")
	if n := len(h.seen(check)) - before; n != auth.MaxTries {
		t.Errorf("the hook saw %d answers, want %d", n, auth.MaxTries)
	}
}

// TestRetriesHaveOneID: a message sent again reaches hooks under the same ids;
// another answer under another.
func TestRetriesHaveOneID(t *testing.T) {
	s, h, key := harness.New(t), counting(9), harness.NewP256(t)
	quiz(t, s, h)
	register(t, s, s.Name(t, "lamp-1"), key)
	k := quizzed(t, s, "lamp-1")
	k.start()
	ask(t, s.Exchange, k.opening)
	k.answer(k.proof(key))
	wrong := k.secret("nonsense")
	right := k.secret(k.body.Params["question"])
	for _, raw := range [][]byte{wrong, wrong, right} {
		ask(t, s.Exchange, raw)
	}
	if d := h.seen(define); len(d) < 2 || d[0].ID != d[1].ID {
		t.Errorf("a start sent again is told under ids %v", d)
	}
	c := h.seen(check)
	if len(c) != 3 || c[0].ID != c[1].ID || c[1].ID == c[2].ID {
		t.Errorf("answers are told under ids %v", c)
	}
}

// TestHooksDecideNoMoreThanTheyMay: nobody gets in by a hook's word alone.
func TestHooksDecideNoMoreThanTheyMay(t *testing.T) {
	s, h, key := harness.New(t), counting(1), harness.NewP256(t)
	quiz(t, s, h)
	register(t, s, s.Name(t, "lamp-1"), key)
	for name, answer := range map[string]map[string]any{
		"tokens at once": {"issueTokens": true}, "failure": {"failAuthentication": true}, "both": {"issueTokens": true, "failAuthentication": true},
		"nothing": {}, "an enrollment": {"challengeName": "enroll"}, "no name": {"challengeName": "\x01"}, "a long name": {"challengeName": strings.Repeat("x", 65)},
		"a shared key that it hasn't": {"challengeName": "psk"},
	} {
		h.on[define] = func(hookEvent) map[string]any { return answer }
		for _, device := range []string{"lamp-1", "lamp-2"} {
			k := quizzed(t, s, device)
			m := k.start()
			if _, ok := m.(*protocol.Challenge); ok {
				m = k.answer(k.proof(key))
			}
			if _, ok := m.(*protocol.Refusal); !ok {
				t.Errorf("%s for %s: got %T", name, device, m)
			}
		}
	}
	h.on[define] = func(e hookEvent) map[string]any {
		if len(e.Request.Session) == 1 { // the custom challenge is done, the key never was
			return map[string]any{"issueTokens": true}
		}
		return map[string]any{"challengeName": "CUSTOM_CHALLENGE"}
	}
	k := quizzed(t, s, "lamp-1")
	k.start()
	wantCode(t, k.answer(k.secret("0")), protocol.CodeDenied, "tokens without a proof of the key")
}

// TestNoHookNoGrant: a flow whose hook fails at any point grants nothing (T-25).
func TestNoHookNoGrant(t *testing.T) {
	for _, broken := range []string{define, create, check} {
		s, h, key := harness.New(t), counting(1), harness.NewP256(t)
		quiz(t, s, h)
		register(t, s, s.Name(t, "lamp-1"), key)
		delete(h.on, broken)
		k := quizzed(t, s, "lamp-1")
		m := k.start()
		if _, ok := m.(*protocol.Challenge); ok {
			m = k.answer(k.proof(key))
		}
		if _, ok := m.(*protocol.Challenge); ok {
			m = k.answer(k.secret("1"))
		}
		wantCode(t, m, protocol.CodeDenied, "without "+broken)
	}
}

// TestTriesAreCountedBeforeTheAnswerIsLookedAt: of 60 answers sent at once to three
// replicas the hook sees three.
func TestTriesAreCountedBeforeTheAnswerIsLookedAt(t *testing.T) {
	s, h, key := harness.New(t), counting(1), harness.NewP256(t)
	quiz(t, s, h, "key", "hook:door")
	register(t, s, s.Name(t, "lamp-1"), key)
	k := quizzed(t, s, "lamp-1")
	k.start()
	k.answer(k.proof(key))
	replicas := cluster(t, s, 3)
	var wg sync.WaitGroup
	for i := range 60 {
		raw := k.secret(fmt.Sprint("guess ", i))
		wg.Go(func() {
			if _, ok := ask(t, replicas[i%3], raw).(*protocol.Refusal); !ok {
				t.Error("a guess was not refused")
			}
		})
	}
	wg.Wait()
	if n := len(h.seen(check)); n != auth.MaxTries {
		t.Errorf("the hook saw %d guesses, want %d", n, auth.MaxTries)
	}
	wantCode(t, ask(t, replicas[0], k.secret("1")), protocol.CodeTries, "the right answer after that")
}

// TestRepeatedAnswersAreOneTry: a device that waits for a slow hook repeats its
// answer; all copies get the one verdict, and one try is spent.
func TestRepeatedAnswersAreOneTry(t *testing.T) {
	s, h, key := harness.New(t), counting(1), harness.NewP256(t)
	asked, goOn := make(chan struct{}, 8), make(chan struct{})
	verdict := h.on[check]
	h.on[check] = func(e hookEvent) map[string]any {
		asked <- struct{}{}
		<-goOn
		return verdict(e)
	}
	quiz(t, s, h, "key", "hook:door")
	register(t, s, s.Name(t, "lamp-1"), key)
	k := quizzed(t, s, "lamp-1")
	k.start()
	k.answer(k.proof(key))
	raw := k.secret("wrong")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			r, ok := ask(t, s.Exchange, raw).(*protocol.Refusal)
			if !ok || !errors.Is(r, protocol.CodeWrongAnswer) || r.Problem.Signet.TriesLeft != 2 {
				t.Errorf("a copy got %v", r)
			}
		})
	}
	<-asked
	time.Sleep(300 * time.Millisecond) // microseconds away from joining the first
	close(goOn)
	wg.Wait()
	if n := len(h.seen(check)); n != 1 {
		t.Errorf("the hook saw %d answers, want 1", n)
	}
}

// TestUnknownDevicesMeetTheSameHooks: a hook flow goes as far for them, and the
// hook is told.
func TestUnknownDevicesMeetTheSameHooks(t *testing.T) {
	s, h := harness.New(t), counting(1)
	quiz(t, s, h, "hook:door", "key")
	k := quizzed(t, s, "lamp-2")
	k.start()
	if k.body == nil || k.body.Kind != "door" {
		t.Fatalf("no challenge: %v", k.body)
	}
	k.answer(k.secret("0"))
	if k.body.Kind != "key" {
		t.Fatalf("the second challenge is %q", k.body.Kind)
	}
	wantCode(t, k.answer(k.proof(harness.NewP256(t))), protocol.CodeDenied, "an unknown device's proof")
	if c := h.seen(check); len(c) != 1 || !c[0].Request.NotFound || c[0].Device.Sub != "" {
		t.Errorf("the hook was told %+v", c)
	}
}

// TestFlowChangedMeanwhile: an exchange that began under another flow than it would
// end under begins anew; steps that it passed stand for no others.
func TestFlowChangedMeanwhile(t *testing.T) {
	for name, steps := range map[string][]string{
		"shorter": {"key"}, "another order": {"hook:door", "key"}, "another step": {"key", "psk", "key"}, "other steps": {"psk", "hook:door"},
	} {
		s, h, key := harness.New(t), counting(1), harness.NewP256(t)
		quiz(t, s, h, "key", "hook:door", "key")
		register(t, s, s.Name(t, "lamp-1"), key)
		k := quizzed(t, s, "lamp-1")
		k.start()
		k.answer(k.proof(key))
		if _, err := controltest.PutFlow(t.Context(), s.Control, broker.By{Actor: broker.ActorLocal}, broker.Flow{Pool: s.Pool, Name: "quiz", Steps: steps, HookFirst: steps[0] == "hook:door"}, false); err != nil {
			t.Fatal(err)
		}
		wantCode(t, k.answer(k.secret("1")), protocol.CodeExpired, name)
	}
	// A wrong answer under a define hook is a result; under steps it passes nothing.
	s, h, key := harness.New(t), counting(2), harness.NewP256(t)
	quiz(t, s, h)
	h.on[define] = func(e hookEvent) map[string]any {
		return map[string]any{"challengeName": []string{"key", "door", "key"}[len(e.Request.Session)]}
	}
	register(t, s, s.Name(t, "lamp-1"), key)
	k := quizzed(t, s, "lamp-1")
	k.start()
	k.answer(k.proof(key))
	k.answer(k.secret("nonsense"))
	if _, err := controltest.PutFlow(t.Context(), s.Control, broker.By{Actor: broker.ActorLocal}, broker.Flow{Pool: s.Pool, Name: "quiz", Steps: []string{"key", "hook:door", "key"}}, false); err != nil {
		t.Fatal(err)
	}
	wantCode(t, k.answer(k.proof(key)), protocol.CodeExpired, "a wrong answer under other rules")
}

// TestHooksTakeNoNameOfTheProtocols: a hook called like a built-in challenge would
// have its answers taken for that one's.
func TestHooksTakeNoNameOfTheProtocols(t *testing.T) {
	s, key := harness.New(t), harness.NewP256(t)
	register(t, s, s.Name(t, "lamp-1"), key)
	web := httptest.NewServer(counting(1))
	defer web.Close()
	for _, name := range []string{"key", "psk", "enroll"} {
		if _, _, err := controltest.CreateHook(t.Context(), s.Control, broker.By{Actor: broker.ActorLocal}, broker.Hook{Pool: s.Pool, Name: name, URL: web.URL}); err != nil {
			t.Fatal(err)
		}
		flow := broker.Flow{Pool: s.Pool, Name: name, Steps: []string{"key", "hook:" + name}}
		if _, err := controltest.PutFlow(t.Context(), s.Control, broker.By{Actor: broker.ActorLocal}, flow, true); !errors.Is(err, broker.ErrInvalid) {
			t.Errorf("a flow with hook:%s: %v, want invalid", name, err)
		}
	}
}

// a locked buffer.
type sink struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (s *sink) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.Write(p)
}

// TestSecretsStayIn: private parameters, answers, tokens and the hook's own secrets
// are neither in a reply nor in the most talkative log (T-22, T-39).
func TestSecretsStayIn(t *testing.T) {
	log := new(sink)
	s := harness.NewLogging(t, slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug, AddSource: true}))
	h, key := counting(1), harness.NewP256(t)
	quiz(t, s, h)
	_, text, err := s.Control.CreateEnrollToken(t.Context(), broker.By{Actor: broker.ActorLocal}, control.NewEnrollToken{Pool: s.Pool, Uses: 2, Life: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	tok, err := protocol.ParseEnrollToken(text)
	if err != nil {
		t.Fatal(err)
	}
	state := &agent.Memory{}
	a := newAgent(t, s, "lamp-1", key, func(c *agent.Config) { c.State = state })
	g, err := a.Enroll(t.Context(), s, agent.Admission{Token: &tok})
	if err != nil {
		t.Fatal(err)
	}
	before, err := state.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Refresh(t.Context(), s, agent.Ask{}); err != nil {
		t.Fatal(err)
	}
	after, err := state.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var replies [][]byte
	for _, guess := range []string{"ANSWER-CANARY", "1"} {
		k := quizzed(t, s, "lamp-1")
		k.start()
		replies = append(replies, k.encode(k.challenge))
		k.answer(k.proof(key))
		replies = append(replies, k.encode(k.challenge))
		m := k.answer(k.secret(guess))
		replies = append(replies, k.encode(m))
	}
	delete(h.on, create)
	k := quizzed(t, s, "lamp-1")
	k.start()
	replies = append(replies, k.encode(k.answer(k.proof(key))))
	secrets := []string{"PRIVATE-CANARY", "ANSWER-CANARY", "URL-CANARY", "whsec_", text, text[len(text)-20:]}
	for _, raw := range [][]byte{g.Access, g.ID, before.Refresh, after.Refresh} {
		secrets = append(secrets, encodings(raw)...)
	}
	for _, secret := range secrets {
		if slices.ContainsFunc(replies, func(r []byte) bool { return bytes.Contains(r, []byte(secret)) }) {
			t.Errorf("a reply holds %q", secret)
		}
		if strings.Contains(log.buf.String(), secret) {
			t.Errorf("the log holds %q", secret)
		}
	}
	if !strings.Contains(log.buf.String(), "refused") {
		t.Error("nothing was logged")
	}
}

// TestNoHookIsCalledForADisabledDevice: not once it has proved itself. What is asked before that
// anybody may ask, and must not learn that it is disabled.
func TestNoHookIsCalledForADisabledDevice(t *testing.T) {
	for name, c := range map[string]struct {
		steps    []string
		disabled int // calls
		active   int
	}{"steps": {[]string{"key", "hook:door"}, 0, 1}, "define": {nil, 1, 3}} {
		t.Run(name, func(t *testing.T) {
			s, h := harness.New(t), counting(1)
			quiz(t, s, h, c.steps...)
			calls := func(device string, disable bool) (n int) {
				key, id := harness.NewP256(t), s.Name(t, device)
				register(t, s, id, key)
				if disable {
					if _, err := s.Control.DisableDevice(t.Context(), broker.By{Actor: broker.ActorLocal}, id); err != nil {
						t.Fatal(err)
					}
				}
				k := quizzed(t, s, device)
				k.start()
				k.answer(k.proof(key))
				for trigger := range h.on {
					for _, e := range h.seen(trigger) {
						if e.Device.Name == device {
							n++
						}
					}
				}
				return n
			}
			if n := calls("lamp-1", true); n != c.disabled {
				t.Errorf("%d calls for a disabled device, want %d", n, c.disabled)
			}
			if n := calls("lamp-2", false); n != c.active {
				t.Errorf("%d calls for another one, want %d", n, c.active)
			}
		})
	}
}
