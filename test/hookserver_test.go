package test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/auth"
	"github.com/signetd/signet/broker/control/controltest"
	"github.com/signetd/signet/test/harness"
)

// A hookEvent is what a hook is sent, as far as it concerns tests.
type hookEvent struct {
	Trigger string `json:"triggerSource"`
	ID      string `json:"id"`
	Device  struct {
		Name string `json:"name"`
		Sub  string `json:"sub"`
	} `json:"device"`
	Request struct {
		Challenge string            `json:"challengeName"`
		Session   []auth.Result     `json:"session"`
		Private   map[string]string `json:"privateChallengeParameters"`
		Answer    string            `json:"challengeAnswer"`
		Metadata  map[string]string `json:"clientMetadata"`
		NotFound  bool              `json:"userNotFound"`
	} `json:"request"`
}

const (
	define = "DefineAuthChallenge_Authentication"
	create = "CreateAuthChallenge_Authentication"
	check  = "VerifyAuthChallengeResponse_Authentication"
)

// A hookServer is a webhook that answers by a function and remembers its calls.
type hookServer struct {
	mu    sync.Mutex // guards calls
	calls []hookEvent
	on    map[string]func(hookEvent) map[string]any
}

func (h *hookServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var e hookEvent
	if err := json.NewDecoder(r.Body).Decode(&e); err != nil || r.Header.Get("webhook-id") != e.ID {
		http.Error(w, "bad request", http.StatusBadRequest)
		return
	}
	h.mu.Lock()
	h.calls = append(h.calls, e)
	h.mu.Unlock()
	answer := h.on[e.Trigger]
	if answer == nil {
		http.Error(w, "not now", http.StatusInternalServerError)
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"response": answer(e)})
}

func (h *hookServer) seen(trigger string) (of []hookEvent) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range h.calls {
		if e.Trigger == trigger {
			of = append(of, e)
		}
	}
	return of
}

// counting gives the hooks of a quiz: the key first, then rounds questions, each
// answered by its number; three wrong answers end it.
func counting(rounds int) *hookServer {
	return &hookServer{on: map[string]func(hookEvent) map[string]any{
		define: func(e hookEvent) map[string]any {
			right, wrong := 0, 0
			for _, r := range e.Request.Session {
				if r.OK {
					right++
				} else {
					wrong++
				}
			}
			switch {
			case len(e.Request.Session) == 0:
				return map[string]any{"challengeName": "key"}
			case wrong == 3:
				return map[string]any{"failAuthentication": true}
			case right == rounds+1:
				return map[string]any{"issueTokens": true}
			}
			return map[string]any{"challengeName": "CUSTOM_CHALLENGE"}
		},
		create: func(e hookEvent) map[string]any {
			n := fmt.Sprint(len(e.Request.Session))
			return map[string]any{
				"publicChallengeParameters":  map[string]string{"question": n},
				"privateChallengeParameters": map[string]string{"answer": "PRIVATE-CANARY-" + n},
				"challengeMetadata":          "META-" + n,
			}
		},
		check: func(e hookEvent) map[string]any {
			return map[string]any{"answerCorrect": "PRIVATE-CANARY-"+e.Request.Answer == e.Request.Private["answer"]}
		},
	}}
}

// quiz makes client "quiz", whose flow h decides or, with steps, takes part in.
func quiz(t *testing.T, s *harness.Signet, h http.Handler, steps ...string) {
	t.Helper()
	flow := broker.Flow{Steps: steps}
	if len(steps) == 0 {
		flow.Define = "door"
	}
	flow.HookFirst = len(steps) == 0 || steps[0] == "hook:door"
	quizBy(t, s, h, flow)
}

// quizBy makes client "quiz" of that flow, whose hook "door" is h.
func quizBy(t *testing.T, s *harness.Signet, h http.Handler, flow broker.Flow) {
	t.Helper()
	web := httptest.NewServer(h)
	t.Cleanup(web.Close)
	flow.Pool, flow.Name = s.Pool, "quiz"
	_, _, err := controltest.CreateHook(t.Context(), s.Control, broker.By{Actor: broker.ActorLocal}, broker.Hook{Pool: s.Pool, Name: "door", URL: web.URL + "/?key=URL-CANARY", Timeout: 5 * time.Second})
	if err == nil {
		_, err = controltest.PutFlow(t.Context(), s.Control, broker.By{Actor: broker.ActorLocal}, flow, true)
	}
	if err == nil {
		_, err = controltest.PutClient(t.Context(), s.Control, broker.By{Actor: broker.ActorLocal}, broker.Client{Pool: s.Pool, ID: "quiz", Flow: "quiz", AccessLife: time.Hour}, true)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func quizzed(t *testing.T, s *harness.Signet, name string) *talk {
	t.Helper()
	k := newTalk(t, s.Exchange, s.Name(t, name))
	k.request.Client, k.request.Metadata = "quiz", map[string]string{"site": "north"}
	return k
}
