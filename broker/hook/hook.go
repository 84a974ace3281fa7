// Package hook calls the webhooks that take part in flows: JSON over HTTP, signed
// as Standard Webhooks prescribe, with the semantics and field names of Cognito's
// define, create and verify triggers.
//
// It follows no redirect, dials no address that is not allowed, and takes no failure for
// a yes. It sends a call a second time only when a kept connection turns out to be closed
// before the hook can have read the call. A hook that keeps failing is left alone for a
// while.
package hook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/auth"
	"github.com/signetd/signet/broker/hook/target"
	"github.com/signetd/signet/broker/intake"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/reach"
	"github.com/signetd/signet/protocol/strictjson"
	webhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// Limits of one call. How long it may take, the hook's own setting says (broker.Hook).
const (
	MaxResponse = 64 << 10        // bytes
	MaxPublic   = 2 << 10         // bytes of all public parameters, which fit one message with what vouches for the answer key
	MaxPrivate  = auth.MaxPrivate // bytes of all private ones, which travel in the sealed session
)

// ErrAnswer is wrapped when a hook's answer is malformed or too large.
var ErrAnswer = errors.New("hook answered badly")

// Store is the part of a store that a Caller reads: hooks by name; broker.ErrNotFound.
type Store interface {
	Hook(ctx context.Context, pool ident.Pool, name string) (*broker.Hook, error)
}

// A Caller calls hooks. It is safe for concurrent use.
type Caller struct {
	store   Store
	secrets auth.Opener
	client  *http.Client
	dialer  *net.Dialer
	targets target.Policy
	gate    *gate
	now     func() time.Time
	told    Observer
}

// An Observer is told of calls. What is nil is not told.
type Observer struct {
	Called Called
	// Refused is told of a hook that was not called, and for whom. It must be quick.
	Refused func(why Cause, h *broker.Hook, whom Whom)
}

// Whom a call would have been for: one who has proved nothing is known by its source, any other
// by its name. The other of the two is zero.
type Whom struct {
	Device string
	Source netip.Prefix
}

// A Called is told of each call of a hook: of what kind, how it ended, how long it took. It
// must be quick.
type Called func(trigger string, outcome Outcome, took time.Duration)

// An Outcome is how a call ended.
type Outcome string

// Outcomes. What never left, because the hook had too many calls or failed before, took no time.
const (
	OutcomeOK     Outcome = "ok"
	OutcomeAnswer Outcome = "answer" // it answered with what is none
	OutcomeFailed Outcome = "failed" // no answer came in time
	OutcomeHeld   Outcome = "held"   // it was not called
)

func outcomeOf(err error) Outcome {
	switch {
	case err == nil:
		return OutcomeOK
	case errors.Is(err, ErrAnswer):
		return OutcomeAnswer
	}
	return OutcomeFailed
}

var _ auth.HookCaller = (*Caller)(nil)

// Config is what a Caller is made of. Store, Secrets and Now are required.
type Config struct {
	Store   Store
	Secrets auth.Opener
	// Allow are networks that are dialled although they are not public; plain HTTP is spoken
	// only there.
	Allow  []netip.Prefix
	Limits Limits
	Now    func() time.Time
	Told   Observer
}

// New makes a Caller.
func New(cfg Config) *Caller {
	told := cfg.Told
	if told.Called == nil {
		told.Called = func(string, Outcome, time.Duration) {}
	}
	if told.Refused == nil {
		told.Refused = func(Cause, *broker.Hook, Whom) {}
	}
	c := &Caller{store: cfg.Store, secrets: cfg.Secrets, targets: target.New(cfg.Allow), gate: newGate(cfg.Limits, cfg.Now), now: cfg.Now, told: told}
	c.dialer = &net.Dialer{Timeout: broker.MaxHookTimeout, Control: c.control}
	c.client = &http.Client{
		Transport: &http.Transport{
			DialContext: c.dialer.DialContext, MaxIdleConnsPerHost: 4, IdleConnTimeout: time.Minute,
			TLSHandshakeTimeout: broker.MaxHookTimeout, MaxResponseHeaderBytes: 16 << 10, DisableCompression: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c
}

// Close drops idle connections.
func (c *Caller) Close() { c.client.CloseIdleConnections() }

// control runs after name resolution, with the address that is really dialled. So it does
// not help an attacker that a name resolves to something else the second time.
func (c *Caller) control(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: %s", target.ErrBlocked, address)
	}
	return c.targets.CheckAddr(ap.Addr())
}

// Hook finds a hook by name.
func (c *Caller) Hook(ctx context.Context, pool, name string) (*broker.Hook, error) {
	p, err := ident.ParsePool(pool)
	if err != nil {
		return nil, err
	}
	return c.store.Hook(ctx, p, name)
}

type request struct {
	Version string      `json:"version"`
	Trigger string      `json:"triggerSource"`
	ID      string      `json:"id"`
	Pool    string      `json:"pool"`
	Client  string      `json:"client"`
	Device  device      `json:"device"`
	Request requestBody `json:"request"`
}

type device struct {
	Name       string            `json:"name"`
	Subject    string            `json:"sub,omitempty"`
	Attributes map[string]string `json:"attributes,omitempty"`
	Groups     []string          `json:"groups,omitempty"`
}

type requestBody struct {
	ChallengeName string        `json:"challengeName,omitempty"`
	Session       []auth.Result `json:"session"`
	// In verify both are there, empty or not, so that no hook trips over their absence.
	Private  map[string]string `json:"privateChallengeParameters,omitzero"`
	Answer   *string           `json:"challengeAnswer,omitzero"`
	Metadata map[string]string `json:"clientMetadata,omitempty"`
	NotFound bool              `json:"userNotFound"`
}

// Define asks which challenge comes next.
func (c *Caller) Define(ctx context.Context, h broker.Hook, call auth.HookCall) (auth.Decision, error) {
	out, err := c.post(ctx, h, "DefineAuthChallenge_Authentication", call, nil)
	if err != nil {
		return auth.Decision{}, err
	}
	if out.issue && out.fail {
		return auth.Decision{}, fmt.Errorf("%w: issueTokens and failAuthentication at once", ErrAnswer)
	}
	return auth.Decision{Challenge: out.challenge, Issue: out.issue, Fail: out.fail}, nil
}

// Create asks for the challenge's parameters.
func (c *Caller) Create(ctx context.Context, h broker.Hook, call auth.HookCall) (auth.Created, error) {
	out, err := c.post(ctx, h, "CreateAuthChallenge_Authentication", call, nil)
	if err != nil {
		return auth.Created{}, err
	}
	if err := checkSize("public", out.public, MaxPublic); err != nil {
		return auth.Created{}, err
	}
	if err := checkSize("private", out.private, MaxPrivate); err != nil {
		return auth.Created{}, err
	}
	return auth.Created{Public: out.public, Private: out.private, Meta: out.meta}, nil
}

// checkSize refuses parameters that would not fit into a message or the sealed session;
// most is how many bytes all may have together.
func checkSize(what string, params map[string]string, most int) error {
	if len(params) > protocol.MaxPairs {
		return fmt.Errorf("%w: %d %s parameters, at most %d", ErrAnswer, len(params), what, protocol.MaxPairs)
	}
	for k, v := range params {
		if k == "" || len(k) > protocol.MaxPairName || len(v) > protocol.MaxPairValue {
			return fmt.Errorf("%w: a %s parameter's name has 1 to %d bytes, its value at most %d", ErrAnswer, what, protocol.MaxPairName, protocol.MaxPairValue)
		}
		most -= len(k) + len(v)
	}
	if most < 0 {
		return fmt.Errorf("%w: %s parameters are %d bytes too long", ErrAnswer, what, -most)
	}
	return nil
}

// Verify asks whether the answer is right.
func (c *Caller) Verify(ctx context.Context, h broker.Hook, call auth.HookCall, answer string) (bool, error) {
	out, err := c.post(ctx, h, "VerifyAuthChallengeResponse_Authentication", call, &answer)
	if err != nil {
		return false, err
	}
	if out.correct == nil {
		return false, fmt.Errorf("%w: no answerCorrect", ErrAnswer)
	}
	return *out.correct, nil
}

// post calls a hook, through the gate, and reads its answer.
func (c *Caller) post(ctx context.Context, h broker.Hook, trigger string, call auth.HookCall, answer *string) (*response, error) {
	if err := c.targets.CheckURL(h.URL); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, h.Timeout)
	defer cancel()
	req, err := c.request(ctx, h, trigger, call, answer)
	if err != nil {
		return nil, err
	}
	by := who{call.Caller, intake.SourceOf(call.From)}
	leave, err := c.gate.enter(&h, by)
	if err != nil {
		c.told.Called(trigger, OutcomeHeld, 0)
		if held, ok := errors.AsType[*heldError](err); ok {
			whom := Whom{Source: by.source}
			if !by.subject.IsZero() {
				whom = Whom{Device: call.Name}
			}
			c.told.Refused(held.cause, &h, whom)
		}
		return nil, err
	}
	began := time.Now()
	raw, err := c.exchange(req)
	took := time.Since(began)
	leave(err != nil && !errors.Is(err, ErrAnswer))
	var answered *response
	if err == nil {
		answered, err = decode(raw)
	}
	c.told.Called(trigger, outcomeOf(err), took)
	return answered, err
}

// exchange sends req and reads the whole answer.
func (c *Caller) exchange(req *http.Request) ([]byte, error) {
	resp, err := c.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("call: %w", reach.Explain(err)) // without the URL, which may hold a secret
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%w: status %d", ErrAnswer, resp.StatusCode)
	}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, MaxResponse+1))
	if err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	if len(raw) > MaxResponse {
		return nil, fmt.Errorf("%w: more than %d bytes", ErrAnswer, MaxResponse)
	}
	return raw, nil
}

// response is what hooks may answer, to whichever question: one handler that sets all
// members serves all three.
type response struct {
	challenge, meta string
	issue, fail     bool
	correct         *bool
	public, private map[string]string
}

// decode reads the event with response filled in, as at Cognito, or response alone. It
// reads as strictly as what devices send: a name that occurs twice, and one that is a known
// one in another spelling, are refused, because another reader may see another answer in
// them. null is no answer, as in the event that Cognito's handlers fill
// in. Errors say what is wrong and where, never what was there: it may be secret.
func decode(raw []byte) (*response, error) {
	event, err := strictjson.ObjectWithin(raw, MaxResponse, strictjson.MaxMembers)
	if err != nil {
		return nil, fmt.Errorf("%w: %d bytes that are no JSON object, or have a member twice", ErrAnswer, len(raw))
	}
	var body strictjson.Value
	for _, m := range event {
		switch {
		case m.Name == "response":
			body = m.Value
		case strings.EqualFold(m.Name, "response"):
			return nil, fmt.Errorf("%w: a member is misspelt, want \"response\"", ErrAnswer)
		}
	}
	members, err := body.Object()
	if err != nil {
		return nil, fmt.Errorf("%w: want JSON with a response object", ErrAnswer)
	}
	var out response
	for _, m := range members {
		if err := out.read(m); err != nil {
			return nil, err
		}
	}
	return &out, nil
}

// read takes one member of the response.
func (r *response) read(m strictjson.Member) (err error) {
	null := string(m.Value) == "null"
	want := "true or false"
	switch m.Name {
	case "issueTokens":
		if !null {
			r.issue, err = m.Value.Bool()
		}
	case "failAuthentication":
		if !null {
			r.fail, err = m.Value.Bool()
		}
	case "answerCorrect":
		if !null {
			var yes bool
			yes, err = m.Value.Bool()
			r.correct = &yes
		}
	case "challengeName":
		if want = "a text"; !null {
			r.challenge, err = m.Value.Text()
		}
	case "challengeMetadata":
		if want = "a text"; !null {
			r.meta, err = m.Value.Text()
		}
	case "publicChallengeParameters":
		if want = "an object of texts"; !null {
			r.public, err = m.Value.TextMap()
		}
	case "privateChallengeParameters":
		if want = "an object of texts"; !null {
			r.private, err = m.Value.TextMap()
		}
	default:
		return misspelt(m.Name)
	}
	if err != nil {
		return fmt.Errorf("%w: %s is not %s", ErrAnswer, m.Name, want)
	}
	return nil
}

// misspelt refuses a member's name that another reader may take for one that decides. Any
// other that nobody knows is passed over: it changes nothing.
func misspelt(name string) error {
	letters := strings.NewReplacer("_", "", "-", "", " ", "").Replace(name)
	for _, want := range []string{"issueTokens", "failAuthentication", "answerCorrect", "challengeName", "challengeMetadata", "publicChallengeParameters", "privateChallengeParameters"} {
		if strings.EqualFold(letters, want) {
			return fmt.Errorf("%w: a member of the response is misspelt, want %q", ErrAnswer, want)
		}
	}
	return nil
}

func (c *Caller) request(ctx context.Context, h broker.Hook, trigger string, call auth.HookCall, answer *string) (*http.Request, error) {
	body := request{
		Version: "1", Trigger: trigger, ID: call.ID, Pool: call.Pool, Client: call.Client, Device: device{Name: call.Name},
		Request: requestBody{
			ChallengeName: call.Challenge, Session: call.Results, Private: call.Private, Answer: answer,
			Metadata: call.Metadata, NotFound: call.Device == nil,
		},
	}
	if d := call.Device; d != nil {
		body.Device.Subject, body.Device.Attributes, body.Device.Groups = d.Subject.String(), d.Attributes, d.Groups
	}
	if answer != nil && call.Private == nil {
		body.Request.Private = map[string]string{}
	}
	if body.Request.Session == nil {
		body.Request.Session = []auth.Result{}
	}
	raw, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("encode request: %w", err)
	}
	secret, err := c.secrets.Open(broker.HookPurpose(h.Pool, h.Name), h.Sealed)
	if err != nil {
		return nil, fmt.Errorf("signing secret: %w", err)
	}
	wh, err := webhooks.NewWebhook(strings.TrimSpace(string(secret)))
	if err != nil {
		return nil, errors.New("signing secret: not a whsec_ secret")
	}
	now := c.now()
	signature, err := wh.Sign(call.ID, now, raw)
	if err != nil {
		return nil, fmt.Errorf("sign request: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.URL, bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("request: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "signetd")
	req.Header.Set("Idempotency-Key", call.ID)
	req.Header.Set(webhooks.HeaderWebhookID, call.ID)
	req.Header.Set(webhooks.HeaderWebhookTimestamp, fmt.Sprint(now.Unix()))
	req.Header.Set(webhooks.HeaderWebhookSignature, signature)
	return req, nil
}
