package hook_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/auth"
	"github.com/signetd/signet/broker/hook"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/ident/identtest"
	webhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// The published example of the Standard Webhooks libraries.
const (
	exampleSecret    = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	exampleID        = "msg_p5jXN8AQM9LWM0D4loKWxJek"
	exampleTime      = 1614265330
	exampleBody      = `{"test": 2432232314}`
	exampleSignature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
)

// unsealed is an auth.Opener of secrets that are in the clear.
type unsealed struct{}

func (unsealed) Open(purpose broker.Purpose, sealed []byte) ([]byte, error) {
	if purpose != broker.HookPurpose(demo(), "door") {
		return nil, fmt.Errorf("purpose %q", purpose)
	}
	return sealed, nil
}

func demo() ident.Pool { p, _ := ident.ParsePool("demo"); return p }

type noStore struct{}

func (noStore) Hook(context.Context, ident.Pool, string) (*broker.Hook, error) {
	return nil, broker.ErrNotFound
}

// newCaller gives a Caller that may call url, and the hook there.
func newCaller(t *testing.T, url string) (*hook.Caller, broker.Hook) {
	t.Helper()
	c := hook.New(hook.Config{Store: noStore{}, Secrets: unsealed{}, Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Now: func() time.Time { return time.Unix(exampleTime, 0) }})
	t.Cleanup(c.Close)
	return c, broker.Hook{Pool: demo(), Name: "door", URL: url, Sealed: []byte(exampleSecret), Timeout: 5 * time.Second}
}

func web(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

// sign computes a Standard Webhooks signature without the library.
func sign(id string, at int64, body []byte) (string, error) {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(exampleSecret, "whsec_"))
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%d.%s", id, at, body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)), err
}

func TestPublishedSignature(t *testing.T) {
	own, err := sign(exampleID, exampleTime, []byte(exampleBody))
	if err != nil || own != exampleSignature {
		t.Errorf("computed here: %s, %v, want %s", own, err, exampleSignature)
	}
	wh, err := webhooks.NewWebhook(exampleSecret)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := wh.Sign(exampleID, time.Unix(exampleTime, 0), []byte(exampleBody)); err != nil || got != exampleSignature {
		t.Errorf("by the library: %s, %v, want %s", got, err, exampleSignature)
	}
}

// a call with everything in it.
func fullCall(t *testing.T) auth.HookCall {
	t.Helper()
	name := identtest.Name(t, "lamp-1")
	return auth.HookCall{
		ID: "0123-1-verify", Pool: "demo", Name: "lamp-1", Client: "doors", Challenge: "door",
		Results: []auth.Result{{Name: "key", OK: true}, {Name: "door", OK: false, Meta: "DOOR-1"}},
		Private: map[string]string{"answer": "42"}, Metadata: map[string]string{"site": "north"},
		Device: &broker.Device{
			ID: ident.Device{Pool: demo(), Name: name}, Attributes: map[string]string{"model": "x"}, Groups: []string{"lamps"},
			Authenticators: []broker.Authenticator{{Kind: "psk", Sealed: []byte("SEALED")}},
		},
	}
}

// fullRequest is what goes over the wire of it; docs/webhooks.md shows the same.
const fullRequest = `{"version":"1","triggerSource":"VerifyAuthChallengeResponse_Authentication","id":"0123-1-verify","pool":"demo","client":"doors",` +
	`"device":{"name":"lamp-1","sub":"00000000-0000-0000-0000-000000000000","attributes":{"model":"x"},"groups":["lamps"]},` +
	`"request":{"challengeName":"door","session":[{"challengeName":"key","challengeResult":true},{"challengeName":"door","challengeResult":false,"challengeMetadata":"DOOR-1"}],` +
	`"privateChallengeParameters":{"answer":"42"},"challengeAnswer":"42","clientMetadata":{"site":"north"},"userNotFound":false}}`

// TestRequest: what goes over the wire, to the byte, signed.
func TestRequest(t *testing.T) {
	called := false
	url := web(t, func(w http.ResponseWriter, r *http.Request) {
		called = true
		raw, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(fullRequest, string(raw)); diff != "" {
			t.Errorf("body (-want +got):\n%s", diff)
		}
		signature, err := sign("0123-1-verify", exampleTime, raw)
		if err != nil {
			t.Error(err)
		}
		for k, want := range map[string]string{
			"webhook-id": "0123-1-verify", "webhook-timestamp": fmt.Sprint(exampleTime), "webhook-signature": signature,
			"content-type": "application/json", "idempotency-key": "0123-1-verify", "accept-encoding": "",
		} {
			if got := r.Header.Get(k); got != want {
				t.Errorf("%s: %q, want %q", k, got, want)
			}
		}
		if r.Method != http.MethodPost {
			t.Errorf("method %s", r.Method)
		}
		fmt.Fprint(w, `{"response":{"answerCorrect":true}}`)
	})
	c, h := newCaller(t, url)
	ok, err := c.Verify(t.Context(), h, fullCall(t), "42")
	if err != nil || !ok || !called {
		t.Errorf("got %v, %v, called %v", ok, err, called)
	}
}

// TestRetriesAreOne: the same call has the same id and body each time, signed anew.
func TestRetriesAreOne(t *testing.T) {
	var seen []string
	url := web(t, func(w http.ResponseWriter, r *http.Request) {
		raw, _ := io.ReadAll(r.Body)
		seen = append(seen, r.Header.Get("webhook-id")+string(raw))
		fmt.Fprint(w, `{"response":{"answerCorrect":false}}`)
	})
	c, h := newCaller(t, url)
	for range 2 {
		if ok, err := c.Verify(t.Context(), h, fullCall(t), "41"); ok || err != nil {
			t.Fatalf("got %v, %v", ok, err)
		}
	}
	if len(seen) != 2 || seen[0] != seen[1] {
		t.Errorf("a retry differs: %q", seen)
	}
}

// TestAnswers: what hooks may say, as Cognito's whole event or as response alone.
func TestAnswers(t *testing.T) {
	answer := ""
	url := web(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, answer) })
	c, h := newCaller(t, url)
	call := fullCall(t)
	for text, want := range map[string]auth.Decision{
		`{"response":{"challengeName":"CUSTOM_CHALLENGE","issueTokens":false,"failAuthentication":false}}`: {Challenge: "CUSTOM_CHALLENGE"},
		`{"version":"1","request":{"session":[]},"response":{"challengeName":null,"issueTokens":true}}`:    {Issue: true},
		`{"response":{"failAuthentication":true,"later":[1]}}`:                                             {Fail: true},
	} {
		answer = text
		if got, err := c.Define(t.Context(), h, call); err != nil || got != want {
			t.Errorf("%s: %+v, %v, want %+v", text, got, err, want)
		}
	}
	answer = `{"response":{"publicChallengeParameters":{"hint":"h"},"privateChallengeParameters":{"answer":"a"},"challengeMetadata":"m"}}`
	made, err := c.Create(t.Context(), h, call)
	want := auth.Created{Public: map[string]string{"hint": "h"}, Private: map[string]string{"answer": "a"}, Meta: "m"}
	if diff := cmp.Diff(want, made); err != nil || diff != "" {
		t.Errorf("create: %v (-want +got):\n%s", err, diff)
	}
}

// TestFailsClosed: whatever goes wrong with an answer is an error, for each of the
// three kinds of call, and what the hook said is not in it.
func TestFailsClosed(t *testing.T) {
	many, _ := json.Marshal(map[string]any{"response": map[string]any{"publicChallengeParameters": numbered(17, "x"), "answerCorrect": 1, "issueTokens": 1}})
	one, _ := json.Marshal(map[string]any{"response": map[string]any{"publicChallengeParameters": numbered(1, strings.Repeat("x", 1025)), "answerCorrect": 1, "issueTokens": 1}})
	long, _ := json.Marshal(map[string]any{"response": map[string]any{"publicChallengeParameters": numbered(5, strings.Repeat("x", hook.MaxPublic/5)), "answerCorrect": 1, "issueTokens": 1}})
	private, _ := json.Marshal(map[string]any{"response": map[string]any{"privateChallengeParameters": numbered(1, strings.Repeat("x", hook.MaxPrivate)), "answerCorrect": 1, "issueTokens": 1}})
	good := `{"response":{"answerCorrect":true,"issueTokens":true,"publicChallengeParameters":{"canary":"canary"}}}`
	cases := map[string]http.HandlerFunc{
		"500":               status(http.StatusInternalServerError, good),
		"201":               status(http.StatusCreated, good),
		"204":               status(http.StatusNoContent, ""),
		"401":               status(http.StatusUnauthorized, good),
		"empty":             status(http.StatusOK, ""),
		"a page":            page,
		"garbage":           status(http.StatusOK, "canary\x00\xff"),
		"cut short":         status(http.StatusOK, good[:len(good)-2]),
		"trailing":          status(http.StatusOK, good+good),
		"an array":          status(http.StatusOK, `[`+good+`]`),
		"no response":       status(http.StatusOK, `{"answerCorrect":true,"issueTokens":true}`),
		"another case too":  status(http.StatusOK, `{"response":{"answerCorrect":true,"AnswerCorrect":true,"issueTokens":true,"IssueTokens":true,"publicChallengeParameters":{},"PublicChallengeParameters":{}}}`),
		"another case":      status(http.StatusOK, `{"response":{"answercorrect":true,"IssueTokens":true,"PublicChallengeParameters":{}}}`),
		"another spelling":  status(http.StatusOK, `{"response":{"answerCorrect":true,"issueTokens":true,"fail_authentication":true,"publicChallengeParameters":{}}}`),
		"twice":             status(http.StatusOK, `{"response":{"answerCorrect":false,"answerCorrect":true,"issueTokens":true,"issueTokens":true,"publicChallengeParameters":{},"publicChallengeParameters":{}}}`),
		"two responses":     status(http.StatusOK, `{"response":{"answerCorrect":false},"response":{"answerCorrect":true,"issueTokens":true}}`),
		"a Response too":    status(http.StatusOK, `{"response":{"answerCorrect":false},"Response":{"answerCorrect":true,"issueTokens":true}}`),
		"a parameter twice": status(http.StatusOK, `{"response":{"answerCorrect":true,"issueTokens":true,"publicChallengeParameters":{"a":"1","a":"2"}}}`),
		"text for true":     status(http.StatusOK, `{"response":{"answerCorrect":"true","issueTokens":"true","publicChallengeParameters":{"a":1}}}`),
		"number for true":   status(http.StatusOK, `{"response":{"answerCorrect":1,"issueTokens":1,"publicChallengeParameters":{"a":true}}}`),
		"null":              status(http.StatusOK, `{"response":null}`),
		"a text":            status(http.StatusOK, `{"response":"canary"}`),
		"other types":       status(http.StatusOK, `{"response":{"answerCorrect":"canary","issueTokens":"canary","publicChallengeParameters":"canary"}}`),
		"numbers":           status(http.StatusOK, `{"response":{"answerCorrect":4711,"issueTokens":4711,"privateChallengeParameters":{"code":4711}}}`),
		"17 parameters":     status(http.StatusOK, string(many)),
		"a long parameter":  status(http.StatusOK, string(one)),
		"a nameless one":    status(http.StatusOK, `{"response":{"publicChallengeParameters":{"":"x"},"answerCorrect":1,"issueTokens":1}}`),
		"long parameters":   status(http.StatusOK, string(long)),
		"long private ones": status(http.StatusOK, string(private)),
		"too long":          status(http.StatusOK, good+strings.Repeat(" ", hook.MaxResponse)),
		"endless":           endless,
		"long header":       longHeader,
		"half":              half,
		"reset":             reset,
		"redirect":          redirect(good),
		"compressed":        compressed,
	}
	for name, h := range cases {
		t.Run(name, func(t *testing.T) {
			c, h := newCaller(t, web(t, h))
			wantRefused(t, c, h)
		})
	}
	t.Run("nobody there", func(t *testing.T) {
		s := httptest.NewServer(http.NotFoundHandler())
		s.Close()
		c, h := newCaller(t, s.URL+"/?token=canary")
		wantRefused(t, c, h)
	})
}

func wantRefused(t *testing.T, c *hook.Caller, h broker.Hook) {
	t.Helper()
	d, defineErr := c.Define(t.Context(), h, fullCall(t))
	made, createErr := c.Create(t.Context(), h, fullCall(t))
	ok, verifyErr := c.Verify(t.Context(), h, fullCall(t), "42")
	for what, err := range map[string]error{"define": defineErr, "create": createErr, "verify": verifyErr} {
		if err == nil {
			t.Errorf("%s took it for an answer: %+v, %+v, %v", what, d, made, ok)
			continue
		}
		if s := err.Error(); strings.Contains(s, "canary") || strings.Contains(s, "4711") || strings.Contains(s, "MfKQ9r8") {
			t.Errorf("%s tells what was said: %s", what, s)
		}
	}
	if d != (auth.Decision{}) || made.Public != nil || ok {
		t.Errorf("an error came with an answer: %+v, %+v, %v", d, made, ok)
	}
}

func numbered(n int, value string) map[string]string {
	m := make(map[string]string)
	for i := range n {
		m[fmt.Sprint("p", i)] = value
	}
	return m
}

func status(code int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
	}
}

func page(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html")
	fmt.Fprint(w, "<html>canary</html>")
}

func endless(w http.ResponseWriter, r *http.Request) {
	for r.Context().Err() == nil {
		if _, err := io.WriteString(w, strings.Repeat(" ", 4096)); err != nil {
			return
		}
	}
}

func longHeader(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Long", strings.Repeat("x", 32<<10))
	fmt.Fprint(w, `{"response":{"answerCorrect":true,"issueTokens":true}}`)
}

func half(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Length", "1000")
	fmt.Fprint(w, `{"response":{"answerCorrect":true,"issueTokens":true}}`)
}

func reset(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

// redirect answers rightly, but elsewhere.
func redirect(good string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/there" {
			fmt.Fprint(w, good)
			return
		}
		http.Redirect(w, r, "/there", http.StatusTemporaryRedirect)
	}
}

func compressed(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Encoding", "gzip")
	_, _ = w.Write([]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3})
}

// TestBomb: an answer that would unpack to 64 MiB is not unpacked, and it was not asked for.
func TestBomb(t *testing.T) {
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	if _, err := z.Write(append([]byte(`{"response":{"answerCorrect":true}}`), bytes.Repeat([]byte(" "), 64<<20)...)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil || bomb.Len() > 128<<10 {
		t.Fatal(err, bomb.Len())
	}
	accepts := "nothing was asked"
	c, h := newCaller(t, web(t, func(w http.ResponseWriter, r *http.Request) {
		accepts = r.Header.Get("Accept-Encoding")
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(bomb.Bytes())
	}))
	if ok, err := c.Verify(t.Context(), h, fullCall(t), "42"); ok || !errors.Is(err, hook.ErrAnswer) || accepts != "" {
		t.Errorf("got %v, %v; asked for %q", ok, err, accepts)
	}
}

// TestRedirectsAreNotFollowed: not one request goes where a hook points.
func TestRedirectsAreNotFollowed(t *testing.T) {
	followed := 0
	elsewhere := web(t, func(http.ResponseWriter, *http.Request) { followed++ })
	for _, code := range []int{301, 302, 303, 307, 308} {
		c, h := newCaller(t, web(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere, code) }))
		if _, err := c.Verify(t.Context(), h, fullCall(t), "42"); !errors.Is(err, hook.ErrAnswer) {
			t.Errorf("%d: %v, want ErrAnswer", code, err)
		}
	}
	if followed != 0 {
		t.Errorf("%d redirects were followed", followed)
	}
}

// TestDeadline: a hook that hangs, before its answer or in the middle, is given up.
func TestDeadline(t *testing.T) {
	for name, begin := range map[string]string{"silent": "", "in the middle": `{"response":{"answerCorrect":true`} {
		t.Run(name, func(t *testing.T) {
			c, h := newCaller(t, web(t, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.ReadAll(r.Body) // only then is the client's going noticed
				if begin != "" {
					fmt.Fprint(w, begin)
					w.(http.Flusher).Flush()
				}
				<-r.Context().Done()
			}))
			h.Timeout = 100 * time.Millisecond
			if ok, err := c.Verify(t.Context(), h, fullCall(t), "42"); ok || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v, %v, want deadline exceeded", ok, err)
			}
		})
	}
}

func TestBadSecrets(t *testing.T) {
	c, h := newCaller(t, web(t, func(http.ResponseWriter, *http.Request) { t.Error("called without a signature") }))
	for _, secret := range []string{"whsec_%%%", "not base64 canary"} {
		h.Sealed = []byte(secret)
		wantRefused(t, c, h)
	}
	h.Sealed, h.Name = []byte(exampleSecret), "other"
	wantRefused(t, c, h)
}

// TestHangingHooksAreLeftAlone: after some calls that came to nothing the next is
// turned away without one, and the device told to come again.
func TestHangingHooksAreLeftAlone(t *testing.T) {
	var calls atomic.Int32
	c, h := newCaller(t, web(t, func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		_, _ = io.ReadAll(r.Body)
		<-r.Context().Done()
	}))
	h.Timeout = 20 * time.Millisecond
	var err error
	for range 20 {
		if _, err = c.Verify(t.Context(), h, fullCall(t), "42"); err == nil {
			t.Fatal("no error")
		}
	}
	if n := calls.Load(); n > 5 || !errors.Is(err, protocol.CodeBusy) {
		t.Errorf("%d calls, the last refused with %v", n, err)
	}
}
