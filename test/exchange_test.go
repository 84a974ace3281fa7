package test

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/boltstore"
	"github.com/signetd/signet/broker/control"
	"github.com/signetd/signet/broker/control/controltest"
	"github.com/signetd/signet/broker/exchange"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/challenge"
	"github.com/signetd/signet/protocol/token"
	"github.com/signetd/signet/protocol/verify"
	"github.com/signetd/signet/test/harness"
)

func newAgent(t *testing.T, s *harness.Signet, name string, p agent.Prover, change func(*agent.Config)) *agent.Agent {
	t.Helper()
	cfg := agent.Config{Device: s.Name(t, name), Prover: p, State: &agent.Memory{}}
	if change != nil {
		change(&cfg)
	}
	a, err := agent.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func enrolled(t *testing.T, s *harness.Signet, name string, p agent.Prover) *agent.Agent {
	t.Helper()
	a := newAgent(t, s, name, p, nil)
	if _, err := a.Enroll(t.Context(), s, agent.Admission{Token: s.Token(t, 1)}); err != nil {
		t.Fatal(err)
	}
	return a
}

// TestFromFirstMessageToVerdict is the whole of Signet in one test: a device
// enrolls, authenticates, refreshes, and a backend believes it, or not.
func TestFromFirstMessageToVerdict(t *testing.T) {
	for name, key := range map[string]agent.Prover{"p256": harness.NewP256(t), "ed25519": harness.NewEd25519(t)} {
		t.Run(name, func(t *testing.T) {
			s := harness.New(t)
			a := enrolled(t, s, "lamp-1", key)
			for _, f := range []protocol.Format{protocol.FormatCWT, protocol.FormatJWT} {
				g, err := a.Authenticate(t.Context(), s, agent.Ask{Format: &f})
				if err != nil {
					t.Fatal(err)
				}
				believe(t, s, a, g.Access)
			}
			g, err := a.Refresh(t.Context(), s, agent.Ask{})
			if err != nil {
				t.Fatal(err)
			}
			believe(t, s, a, g.Access)
		})
	}
}

func believe(t *testing.T, s *harness.Signet, a *agent.Agent, access []byte) {
	t.Helper()
	ring, err := s.Keys.Ring(t.Context(), s.Pool)
	if err != nil {
		t.Fatal(err)
	}
	set, err := verify.NewKeySet(ring.Verifiers...)
	if err != nil {
		t.Fatal(err)
	}
	v, err := verify.New(verify.Config{Issuer: ring.Issuer, Audience: "demo", Algorithms: []token.Alg{token.ES256}, Keys: set})
	if err != nil {
		t.Fatal(err)
	}
	claims, err := v.Verify(t.Context(), access)
	if err != nil {
		t.Fatal(err)
	}
	d, err := s.Store.Device(t.Context(), a.Device())
	if err != nil {
		t.Fatal(err)
	}
	if claims.Subject != d.Subject {
		t.Errorf("token is for %s, the device is %s", claims.Subject, d.Subject)
	}
	forged := append([]byte(nil), access...)
	forged[len(forged)-5] ^= 1
	if _, err := v.Verify(t.Context(), forged); err == nil {
		t.Error("a forged token was believed")
	}
}

// TestUnknownAndWrongLookAlike: neither the code nor the number of messages tells
// a name that exists from one that does not.
func TestUnknownAndWrongLookAlike(t *testing.T) {
	s := harness.New(t)
	enrolled(t, s, "lamp-1", harness.NewP256(t))
	answers := make(map[string][]int)
	for _, name := range []string{"lamp-1", "lamp-2"} {
		spy := &spyLink{Link: s}
		_, err := newAgent(t, s, name, harness.NewP256(t), func(c *agent.Config) { c.Pin = s.Pin(t) }).Authenticate(t.Context(), spy, agent.Ask{})
		if !errors.Is(err, protocol.CodeDenied) {
			t.Fatalf("%s: %v, want denied", name, err)
		}
		answers[name] = spy.replies
	}
	if len(answers["lamp-1"]) != len(answers["lamp-2"]) {
		t.Fatalf("known %v, unknown %v", answers["lamp-1"], answers["lamp-2"])
	}
	for i := range answers["lamp-1"] {
		if answers["lamp-1"][i] != answers["lamp-2"][i] {
			t.Errorf("reply %d has %d bytes for a known device, %d for an unknown one", i, answers["lamp-1"][i], answers["lamp-2"][i])
		}
	}
}

// spyLink keeps what passes.
type spyLink struct {
	agent.Link
	replies  []int
	requests [][]byte
}

func (l *spyLink) RoundTrip(ctx context.Context, request []byte) ([]byte, error) {
	l.requests = append(l.requests, request)
	reply, err := l.Link.RoundTrip(ctx, request)
	l.replies = append(l.replies, len(reply))
	return reply, err
}

func TestAnswerIsGoodOnce(t *testing.T) {
	s := harness.New(t)
	a := enrolled(t, s, "lamp-1", harness.NewP256(t))
	spy := &spyLink{Link: s}
	if _, err := a.Authenticate(t.Context(), spy, agent.Ask{}); err != nil {
		t.Fatal(err)
	}
	answer := spy.requests[len(spy.requests)-1]
	var granted atomic.Int32
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if s.Exchange.Respond(t.Context(), exchange.Caller{}, answer).Admitted != nil {
				granted.Add(1)
			}
		})
	}
	wg.Wait()
	if n := granted.Load(); n != 0 {
		t.Errorf("a replayed answer was granted %d times", n)
	}
}

// backupLink backs the store up before the device's answer is passed on.
type backupLink struct {
	spyLink
	store *boltstore.Store
	file  string
}

func (l *backupLink) RoundTrip(ctx context.Context, request []byte) ([]byte, error) {
	if len(l.requests) == 1 {
		f, err := os.Create(l.file)
		if err != nil {
			return nil, err
		}
		_, err = l.store.Backup(ctx, f)
		if err := errors.Join(err, f.Close()); err != nil {
			return nil, err
		}
	}
	return l.spyLink.RoundTrip(ctx, request)
}

// TestAnswerIsGoodOnceOverARestore: of a backup made between challenge and answer, the store
// does not know the login that followed, and what the network kept of it is worth nothing.
func TestAnswerIsGoodOnceOverARestore(t *testing.T) {
	s := harness.New(t)
	a := enrolled(t, s, "lamp-1", harness.NewP256(t))
	link := &backupLink{spyLink: spyLink{Link: s}, store: s.Store, file: filepath.Join(t.TempDir(), "backup")}
	if _, err := a.Authenticate(t.Context(), link, agent.Ask{}); err != nil {
		t.Fatal(err)
	}
	if len(link.requests) != 2 {
		t.Fatalf("the login took %d requests", len(link.requests))
	}
	restored := s.Restored(t, link.file)
	if restored.Exchange.Respond(t.Context(), exchange.Caller{}, link.requests[1]).Admitted != nil {
		t.Error("an answer from before the restore was granted once more")
	}
	if _, err := a.Authenticate(t.Context(), restored, agent.Ask{}); err != nil {
		t.Errorf("the device itself: %v", err)
	}
}

func TestEnrollmentTokenAdmitsAsOftenAsItSays(t *testing.T) {
	s := harness.New(t)
	tok := s.Token(t, 1)
	var admitted atomic.Int32
	var wg sync.WaitGroup
	for i := range 20 {
		a := newAgent(t, s, "lamp-"+string(rune('a'+i)), harness.NewP256(t), nil)
		wg.Go(func() {
			if _, err := a.Enroll(t.Context(), s, agent.Admission{Token: tok}); err == nil {
				admitted.Add(1)
			}
		})
	}
	wg.Wait()
	if n := admitted.Load(); n != 1 {
		t.Errorf("a token for one device admitted %d", n)
	}
}

func TestReenrollment(t *testing.T) {
	s := harness.New(t)
	key := harness.NewP256(t)
	enrolled(t, s, "lamp-1", key)
	again := newAgent(t, s, "lamp-1", key, nil)
	if _, err := again.Enroll(t.Context(), s, agent.Admission{Token: s.Token(t, 1)}); err != nil {
		t.Errorf("same key: %v", err)
	}
	other := newAgent(t, s, "lamp-1", harness.NewP256(t), nil)
	if _, err := other.Enroll(t.Context(), s, agent.Admission{Token: s.Token(t, 1)}); !errors.Is(err, protocol.CodeExists) {
		t.Errorf("other key: %v, want exists", err)
	}
	_, text, err := s.Control.CreateEnrollToken(t.Context(), broker.By{Actor: broker.ActorLocal}, control.NewEnrollToken{Pool: s.Pool, Uses: 1, Life: time.Hour, Replace: true, NamePattern: "?amp-*"})
	if err != nil {
		t.Fatal(err)
	}
	tok, err := protocol.ParseEnrollToken(text)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Enroll(t.Context(), s, agent.Admission{Token: &tok}); err != nil {
		t.Errorf("other key with a token that replaces: %v", err)
	}
	if _, err := again.Authenticate(t.Context(), s, agent.Ask{}); !errors.Is(err, protocol.CodeDenied) {
		t.Errorf("the replaced key: %v, want denied", err)
	}
}

func TestDisabledDeviceGetsNothing(t *testing.T) {
	s := harness.New(t)
	a := enrolled(t, s, "lamp-1", harness.NewP256(t))
	if _, err := s.Control.DisableDevice(t.Context(), broker.By{Actor: broker.ActorLocal}, a.Device()); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Authenticate(t.Context(), s, agent.Ask{}); !errors.Is(err, protocol.CodeDisabled) {
		t.Errorf("authenticate: %v, want disabled", err)
	}
	if _, err := a.Refresh(t.Context(), s, agent.Ask{}); !errors.Is(err, protocol.CodeDisabled) {
		t.Errorf("refresh: %v, want disabled", err)
	}
}

func TestSharedKey(t *testing.T) {
	s := harness.New(t)
	psk := harness.Shared("0123456789abcdef0123456789abcdef")
	if _, err := controltest.PutFlow(t.Context(), s.Control, broker.By{Actor: broker.ActorLocal}, broker.Flow{Pool: s.Pool, Name: "shared", Steps: []string{"psk"}}, true); err != nil {
		t.Fatal(err)
	}
	client := broker.Client{Pool: s.Pool, ID: "meters", Flow: "shared", AccessLife: time.Hour, RefreshLife: time.Hour}
	if _, err := controltest.PutClient(t.Context(), s.Control, broker.By{Actor: broker.ActorLocal}, client, true); err != nil {
		t.Fatal(err)
	}
	n := control.NewDevice{ID: s.Name(t, "meter-1"), PSK: hex.EncodeToString(psk)}
	if _, err := s.Control.CreateDevice(t.Context(), broker.By{Actor: broker.ActorLocal}, n); err != nil {
		t.Fatal(err)
	}
	pinned := func(c *agent.Config) { c.Client, c.Pin = "meters", s.Pin(t) }
	if _, err := newAgent(t, s, "meter-1", psk, pinned).Authenticate(t.Context(), s, agent.Ask{}); err != nil {
		t.Error(err)
	}
	wrong := harness.Shared("another key of thirty-two bytes!")
	if _, err := newAgent(t, s, "meter-1", wrong, pinned).Authenticate(t.Context(), s, agent.Ask{}); !errors.Is(err, protocol.CodeDenied) {
		t.Errorf("wrong key: %v", err)
	}
}

// TestSharedKeyIsNamedByItself: what a token names a shared key by depends on the key
// alone, in both forms and after it is sealed anew, and is a MAC that no proof is.
func TestSharedKeyIsNamedByItself(t *testing.T) {
	s, ctx := harness.New(t), t.Context()
	psk := harness.Shared("0123456789abcdef0123456789abcdef")
	if _, err := controltest.PutFlow(ctx, s.Control, broker.By{Actor: broker.ActorLocal}, broker.Flow{Pool: s.Pool, Name: "shared", Steps: []string{"psk"}}, true); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Control.ChangePool(ctx, broker.By{Actor: broker.ActorLocal}, s.Pool, control.PoolChange{Flow: new("shared")}, nil); err != nil {
		t.Fatal(err)
	}
	id := s.Name(t, "meter-1")
	if _, err := s.Control.CreateDevice(ctx, broker.By{Actor: broker.ActorLocal}, control.NewDevice{ID: id, PSK: hex.EncodeToString(psk)}); err != nil {
		t.Fatal(err)
	}
	a, v := newAgent(t, s, "meter-1", psk, func(c *agent.Config) { c.Pin = s.Pin(t) }), verifier(t, s, "demo", token.ES256)
	mac, err := psk.Prove([]byte("signet cnf v1"))
	if err != nil {
		t.Fatal(err)
	}
	named := func(g *agent.Tokens, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		c, err := v.Verify(ctx, g.Access)
		if err != nil {
			t.Fatal(err)
		}
		short, long := c.Confirmation.Thumbprint, c.Confirmation.JKT
		if short != nil && !bytes.Equal(short, mac[:16]) || long != nil && !bytes.Equal(long, mac) || c.Confirmation.IsZero() {
			t.Errorf("cnf %x, %x", short, long)
		}
	}
	jwt := protocol.FormatJWT
	named(a.Authenticate(ctx, s, agent.Ask{}))
	named(a.Refresh(ctx, s, agent.Ask{Format: &jwt}))
	sealed, err := s.Control.Sealer.Seal(broker.AuthenticatorPurpose(challenge.PSK, id), psk)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Store.UpdateDevice(ctx, broker.By{Actor: broker.ActorLocal}, id, func(d *broker.Device) error { d.Authenticators[0].Sealed = sealed; return nil }); err != nil {
		t.Fatal(err)
	}
	named(a.Refresh(ctx, s, agent.Ask{}))
	named(a.Authenticate(ctx, s, agent.Ask{Format: &jwt}))
}

// TestSecondChallengeByHook runs a two-challenge flow whose second is a webhook's.
func TestSecondChallengeByHook(t *testing.T) {
	s := harness.New(t)
	web := httptest.NewServer(http.HandlerFunc(doorCode))
	defer web.Close()
	if _, _, err := controltest.CreateHook(t.Context(), s.Control, broker.By{Actor: broker.ActorLocal}, broker.Hook{Pool: s.Pool, Name: "door", URL: web.URL, Timeout: 5 * time.Second}); err != nil {
		t.Fatal(err)
	}
	if _, err := controltest.PutFlow(t.Context(), s.Control, broker.By{Actor: broker.ActorLocal}, broker.Flow{Pool: s.Pool, Name: "two", Steps: []string{"key", "hook:door"}}, true); err != nil {
		t.Fatal(err)
	}
	client := broker.Client{Pool: s.Pool, ID: "doors", Flow: "two", AccessLife: time.Hour}
	if _, err := controltest.PutClient(t.Context(), s.Control, broker.By{Actor: broker.ActorLocal}, client, true); err != nil {
		t.Fatal(err)
	}
	key := harness.NewP256(t)
	enrolled(t, s, "lock-1", key)
	tries := 0
	answering := func(right int) *agent.Agent {
		tries = 0
		state := &agent.Memory{}
		a := newAgent(t, s, "lock-1", key, func(c *agent.Config) { c.State = state })
		if _, err := a.Enroll(t.Context(), s, agent.Admission{Token: s.Token(t, 1)}); err != nil {
			t.Fatal(err)
		}
		return newAgent(t, s, "lock-1", key, func(c *agent.Config) {
			c.Client, c.State = "doors", state
			c.Solver = func(_ context.Context, kind string, params map[string]string) ([]byte, error) {
				tries++
				if kind != "door" || params["hint"] != "two times 21" {
					t.Errorf("challenge %q with %v", kind, params)
				}
				if tries == right {
					return []byte("42"), nil
				}
				return []byte("wrong"), nil
			}
		})
	}
	if _, err := answering(1).Authenticate(t.Context(), s, agent.Ask{}); err != nil {
		t.Errorf("right answer: %v", err)
	}
	if _, err := answering(2).Authenticate(t.Context(), s, agent.Ask{}); err != nil {
		t.Errorf("right at the second try: %v", err)
	}
	if _, err := answering(0).Authenticate(t.Context(), s, agent.Ask{}); err == nil || tries > 3 {
		t.Errorf("always wrong: %v after %d tries", err, tries)
	}
}

// TestEnrollmentRunsTheFlow: enrolling does not go round the client's other challenges.
func TestEnrollmentRunsTheFlow(t *testing.T) {
	s := harness.New(t)
	web := httptest.NewServer(http.HandlerFunc(doorCode))
	defer web.Close()
	if _, _, err := controltest.CreateHook(t.Context(), s.Control, broker.By{Actor: broker.ActorLocal}, broker.Hook{Pool: s.Pool, Name: "door", URL: web.URL, Timeout: 5 * time.Second}); err != nil {
		t.Fatal(err)
	}
	if _, err := controltest.PutFlow(t.Context(), s.Control, broker.By{Actor: broker.ActorLocal}, broker.Flow{Pool: s.Pool, Name: "two", Steps: []string{"key", "hook:door"}}, true); err != nil {
		t.Fatal(err)
	}
	if _, err := controltest.PutClient(t.Context(), s.Control, broker.By{Actor: broker.ActorLocal}, broker.Client{Pool: s.Pool, ID: "doors", Flow: "two", AccessLife: time.Hour}, true); err != nil {
		t.Fatal(err)
	}
	for _, answer := range []string{"wrong", "42"} {
		asked := 0
		a := newAgent(t, s, "lock-1", harness.NewP256(t), func(c *agent.Config) {
			c.Client = "doors"
			c.Solver = func(context.Context, string, map[string]string) ([]byte, error) {
				asked++
				return []byte(answer), nil
			}
		})
		_, err := a.Enroll(t.Context(), s, agent.Admission{Token: s.Token(t, 1)})
		if (err == nil) != (answer == "42") || asked == 0 {
			t.Errorf("answer %q: %v, asked %d times", answer, err, asked)
		}
		if _, err := s.Store.Device(t.Context(), a.Device()); (err == nil) != (answer == "42") {
			t.Errorf("answer %q: device in the directory: %v", answer, err)
		}
	}
}

// doorCode is a hook: it asks for two times 21.
func doorCode(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Trigger string `json:"triggerSource"`
		Request struct {
			Private map[string]string `json:"privateChallengeParameters"`
			Answer  string            `json:"challengeAnswer"`
		} `json:"request"`
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	out := map[string]any{}
	switch in.Trigger {
	case "CreateAuthChallenge_Authentication":
		out["publicChallengeParameters"] = map[string]string{"hint": "two times 21"}
		out["privateChallengeParameters"] = map[string]string{"answer": "42"}
	case "VerifyAuthChallengeResponse_Authentication":
		out["answerCorrect"] = in.Request.Answer == in.Request.Private["answer"]
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"response": out})
}

// TestRefreshRotation: the old token brings the same successor within its grace,
// and later ends the family.
func TestRefreshRotation(t *testing.T) {
	s := harness.New(t)
	key := harness.NewP256(t)
	state := &agent.Memory{}
	a := newAgent(t, s, "lamp-1", key, func(c *agent.Config) { c.State = state })
	if _, err := a.Enroll(t.Context(), s, agent.Admission{Token: s.Token(t, 1)}); err != nil {
		t.Fatal(err)
	}
	old, err := state.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	copyOf := func() *agent.Agent {
		m := &agent.Memory{}
		if err := m.Save(t.Context(), old); err != nil {
			t.Fatal(err)
		}
		return newAgent(t, s, "lamp-1", key, func(c *agent.Config) { c.State = m })
	}
	if _, err := a.Refresh(t.Context(), s, agent.Ask{}); err != nil {
		t.Fatal(err)
	}
	if _, err := copyOf().Refresh(t.Context(), s, agent.Ask{}); err != nil {
		t.Errorf("old token within grace: %v", err)
	}
	s.Offset = broker.DefaultGrace + time.Second
	if _, err := copyOf().Refresh(t.Context(), s, agent.Ask{}); !errors.Is(err, protocol.CodeDenied) {
		t.Errorf("old token after grace: %v, want denied", err)
	}
	if _, err := a.Refresh(t.Context(), s, agent.Ask{}); !errors.Is(err, protocol.CodeDenied) {
		t.Errorf("after reuse the family lives: %v", err)
	}
	if _, err := a.Renew(t.Context(), s, agent.Ask{}); err != nil {
		t.Errorf("the honest device is locked out: %v", err)
	}
}
