// Package hook calls the webhooks that take part in flows: JSON over HTTP, signed
// as Standard Webhooks prescribe, with the semantics and field names of Cognito's
// define, create and verify triggers.
//
// It imports the domain, auth's words, net/http and the Standard Webhooks library.
// It follows no redirect, dials no address that is not allowed, retries nothing,
// and takes no failure for a yes.
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
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/auth"
	"github.com/signetd/signet/protocol/ident"
	webhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// Limits of one call.
const (
	DefaultTimeout = 5 * time.Second
	MaxTimeout     = 30 * time.Second
	MaxResponse    = 64 << 10 // bytes
)

var (
	// ErrAnswer: the hook's answer is not what was asked for.
	ErrAnswer = errors.New("hook answered badly")
	// ErrBlocked: the hook's address may not be dialled.
	ErrBlocked = errors.New("hook address not allowed")
)

// Store finds hooks.
type Store interface {
	Hook(ctx context.Context, pool ident.Pool, name string) (broker.Hook, error)
}

// A Caller calls hooks. It is safe for concurrent use.
type Caller struct {
	store   Store
	secrets auth.Opener
	client  *http.Client
	allow   []netip.Prefix
	now     func() time.Time
}

var _ auth.Hooks = (*Caller)(nil)

// New makes a Caller. Addresses that are not public are dialled only if they lie
// in allow, and plain HTTP is spoken only with those.
func New(store Store, secrets auth.Opener, allow []netip.Prefix, now func() time.Time) *Caller {
	c := &Caller{store: store, secrets: secrets, allow: allow, now: now}
	dialer := &net.Dialer{Timeout: DefaultTimeout, Control: c.control}
	c.client = &http.Client{
		Transport: &http.Transport{
			DialContext: dialer.DialContext, MaxIdleConnsPerHost: 4, IdleConnTimeout: time.Minute,
			TLSHandshakeTimeout: DefaultTimeout, MaxResponseHeaderBytes: 16 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c
}

// Close drops idle connections.
func (c *Caller) Close() { c.client.CloseIdleConnections() }

// control runs after name resolution, on the address that is really dialled, so a
// name that resolves to something else the second time gains nothing.
func (c *Caller) control(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: %s", ErrBlocked, address)
	}
	return c.permit(ap.Addr())
}

func (c *Caller) permit(ip netip.Addr) error {
	ip = ip.Unmap().WithZone("")
	for _, p := range c.allow {
		if p.Contains(ip) {
			return nil
		}
	}
	if ip.IsGlobalUnicast() && !ip.IsPrivate() && !reserved(ip) {
		return nil
	}
	return fmt.Errorf("%w: %s is not public; add its network to hooks.allow if it is meant", ErrBlocked, ip)
}

// reserved tells special-purpose ranges (RFC 6890) that IsPrivate does not.
func reserved(ip netip.Addr) bool {
	for _, s := range []string{"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "198.18.0.0/15", "240.0.0.0/4", "64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/23", "fec0::/10"} {
		if netip.MustParsePrefix(s).Contains(ip) { // constants
			return true
		}
	}
	return false
}

// CheckURL refuses a hook's URL that could never be called.
func (c *Caller) CheckURL(raw string) error {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" {
		return fmt.Errorf("%w: hook URL %q: want https://host/path", broker.ErrInvalid, raw)
	}
	ip, ipErr := netip.ParseAddr(u.Hostname())
	if ipErr == nil {
		if err := c.permit(ip); err != nil {
			return fmt.Errorf("%w: %w", broker.ErrInvalid, err)
		}
	}
	switch {
	case u.Scheme == "https":
		return nil
	case u.Scheme == "http" && ipErr == nil && c.allowed(ip):
		return nil
	}
	return fmt.Errorf("%w: hook URL %q: want https (plain http only to an address in hooks.allow)", broker.ErrInvalid, raw)
}

func (c *Caller) allowed(ip netip.Addr) bool {
	for _, p := range c.allow {
		if p.Contains(ip.Unmap()) {
			return true
		}
	}
	return false
}

// Hook finds a hook by name.
func (c *Caller) Hook(ctx context.Context, pool, name string) (broker.Hook, error) {
	p, err := ident.ParsePool(pool)
	if err != nil {
		return broker.Hook{}, err
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
	ChallengeName string            `json:"challengeName,omitempty"`
	Session       []auth.Result     `json:"session"`
	Private       map[string]string `json:"privateChallengeParameters,omitempty"`
	Answer        string            `json:"challengeAnswer,omitempty"`
	Metadata      map[string]string `json:"clientMetadata,omitempty"`
	NotFound      bool              `json:"userNotFound"`
}

// Define asks which challenge comes next.
func (c *Caller) Define(ctx context.Context, h broker.Hook, call auth.HookCall) (auth.Decision, error) {
	var out struct {
		Challenge string `json:"challengeName"`
		Issue     bool   `json:"issueTokens"`
		Fail      bool   `json:"failAuthentication"`
	}
	if err := c.call(ctx, h, "DefineAuthChallenge_Authentication", call, "", &out); err != nil {
		return auth.Decision{}, err
	}
	if out.Issue && out.Fail {
		return auth.Decision{}, fmt.Errorf("%w: issueTokens and failAuthentication at once", ErrAnswer)
	}
	return auth.Decision{Challenge: out.Challenge, Issue: out.Issue, Fail: out.Fail}, nil
}

// Create asks for the challenge's parameters.
func (c *Caller) Create(ctx context.Context, h broker.Hook, call auth.HookCall) (auth.Created, error) {
	var out struct {
		Public  map[string]string `json:"publicChallengeParameters"`
		Private map[string]string `json:"privateChallengeParameters"`
		Meta    string            `json:"challengeMetadata"`
	}
	if err := c.call(ctx, h, "CreateAuthChallenge_Authentication", call, "", &out); err != nil {
		return auth.Created{}, err
	}
	return auth.Created{Public: out.Public, Private: out.Private, Meta: out.Meta}, nil
}

// Verify asks whether the answer is right.
func (c *Caller) Verify(ctx context.Context, h broker.Hook, call auth.HookCall, answer string) (bool, error) {
	var out struct {
		Correct *bool `json:"answerCorrect"`
	}
	if err := c.call(ctx, h, "VerifyAuthChallengeResponse_Authentication", call, answer, &out); err != nil {
		return false, err
	}
	if out.Correct == nil {
		return false, fmt.Errorf("%w: no answerCorrect", ErrAnswer)
	}
	return *out.Correct, nil
}

func (c *Caller) call(ctx context.Context, h broker.Hook, trigger string, call auth.HookCall, answer string, out any) error {
	if err := c.CheckURL(h.URL); err != nil {
		return err
	}
	timeout := h.Timeout
	if timeout <= 0 || timeout > MaxTimeout {
		timeout = DefaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := c.request(ctx, h, trigger, call, answer)
	if err != nil {
		return err
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return fmt.Errorf("call: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%w: status %d", ErrAnswer, resp.StatusCode)
	}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, MaxResponse+1))
	if err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	if len(raw) > MaxResponse {
		return fmt.Errorf("%w: more than %d bytes", ErrAnswer, MaxResponse)
	}
	// As at Cognito, the answer is the event with response filled in; or response alone.
	wrapped := struct {
		Response json.RawMessage `json:"response"`
	}{}
	if err := json.Unmarshal(raw, &wrapped); err != nil || wrapped.Response == nil {
		return fmt.Errorf("%w: want JSON with a response object", ErrAnswer)
	}
	if err := json.Unmarshal(wrapped.Response, out); err != nil {
		return fmt.Errorf("%w: response: %w", ErrAnswer, err)
	}
	return nil
}

func (c *Caller) request(ctx context.Context, h broker.Hook, trigger string, call auth.HookCall, answer string) (*http.Request, error) {
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
