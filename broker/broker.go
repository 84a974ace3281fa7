// Package broker holds the domain words of Signet's server side: pools, devices,
// clients, flows, hooks, sessions, and the store calls that the use cases need.
//
// It imports the standard library and protocol's names only. It holds no
// technology: stores, transports and signers implement or use what is here.
package broker

import (
	"errors"
	"fmt"
	"time"

	"github.com/signetd/signet/protocol/ident"
)

// Errors that every store returns, wrapped with what was being done.
var (
	ErrNotFound = errors.New("not found")
	ErrExists   = errors.New("already exists")
	ErrConflict = errors.New("changed meanwhile")
	// ErrUsed: the exchange, or the last use of an enrolment token, is spent.
	ErrUsed = errors.New("already used")
	// ErrExhausted is an ErrUsed: the enrolment token has no use left.
	ErrExhausted = fmt.Errorf("no use left: %w", ErrUsed)
	// ErrExpired: past its end, by the store's caller's clock.
	ErrExpired = errors.New("expired")
	// ErrInactive: the device may not get anything now.
	ErrInactive = errors.New("device is not active")
	// ErrKeyBound: the device is enrolled with another key, or the key with another device.
	ErrKeyBound = errors.New("bound to another key")
	// ErrInvalid: a value that breaks the domain's rules; the message says which.
	ErrInvalid = errors.New("invalid")
	// ErrFull: there is no room to write. Nothing was written; writing goes on when
	// there is room again.
	ErrFull = errors.New("no room to write")
)

// Status says what a device may do.
type Status string

// The statuses. Only an active device gets tokens.
const (
	StatusPending     Status = "pending"
	StatusActive      Status = "active"
	StatusDisabled    Status = "disabled"
	StatusQuarantined Status = "quarantined"
)

// A Pool is a directory of devices with an issuer of its own.
type Pool struct {
	Name    ident.Pool
	Issuer  string // URL; never depends on the replica and never changes
	Flow    string // default flow's name
	Created time.Time
	// Anchor is the key that vouches for all others of the pool: the COSE_Key of
	// its public half, and its private half sealed.
	Anchor       []byte
	AnchorSealed []byte
	// AnswerSealed is the X25519 key that secret answers are sealed to, sealed.
	AnswerSealed []byte
}

// A Device is one machine in a pool.
type Device struct {
	ID             ident.Device
	Subject        ident.UUID // UUIDv7, never changes, never used again
	Status         Status
	Authenticators []Authenticator
	Attributes     map[string]string
	Groups         []string
	Created        time.Time
	Updated        time.Time
	// SessionsAfter ends every session that began at or before it.
	SessionsAfter time.Time
	// SessionsRev is the Rev at which that was last set. It ends every session of a
	// device proved at an earlier Rev, whatever the replicas' clocks said.
	SessionsRev uint64
	Rev         uint64 // raised by the store at each write
}

// EndSessions ends every session that d has at now. It is for a change in
// UpdateDevice, which writes the Rev after d's.
func (d *Device) EndSessions(now time.Time) { d.SessionsAfter, d.SessionsRev = now, d.Rev+1 }

// An Authenticator is what a device proves itself with.
type Authenticator struct {
	Kind   string // "key" or "psk"
	Key    []byte // key: COSE_Key of the public key
	Sealed []byte // psk: the shared key, sealed
	Added  time.Time
}

// A Client is an application's settings: flow, audiences, lives.
type Client struct {
	Pool        ident.Pool
	ID          string // 1 to 64 of [a-z0-9-]
	Flow        string // empty: the pool's
	Audiences   []string
	AccessLife  time.Duration // 5 min to 24 h
	RefreshLife time.Duration // 1 h to 10 y; zero: no refresh token
	Grace       time.Duration // how long a rotated refresh token still answers with its successor
	Created     time.Time
}

// The default client, used when a device names none.
const DefaultClient = "default"

// Defaults and bounds of a client's lives.
const (
	DefaultAccessLife  = time.Hour
	DefaultRefreshLife = 30 * 24 * time.Hour
	DefaultGrace       = 5 * time.Minute
	MinAccessLife      = 5 * time.Minute
	MaxAccessLife      = 24 * time.Hour
	MinRefreshLife     = time.Hour
	MaxRefreshLife     = 10 * 365 * 24 * time.Hour
	MaxGrace           = time.Hour
)

// KeySetLife is how long a verifier may use a pool's key set before it asks again.
const KeySetLife = 5 * time.Minute

// EarliestIssue is the earliest that an access token with this expiry can have been
// issued, whatever its client's life is or was. A token counts whole seconds.
func EarliestIssue(expires time.Time) time.Time {
	return expires.Truncate(time.Second).Add(-MaxAccessLife)
}

// A Flow says which challenges a device answers, in order.
type Flow struct {
	Pool    ident.Pool
	Name    string
	Steps   []string // "key", "psk" or "hook:NAME"
	Define  string   // instead of Steps: the hook that decides after each answer
	Created time.Time
}

// A Hook is an HTTP webhook that takes part in flows.
type Hook struct {
	Pool    ident.Pool
	Name    string
	URL     string
	Sealed  []byte // the signing secret, sealed
	Timeout time.Duration
	Created time.Time
}

// An EnrolToken admits devices; its secret is never here.
type EnrolToken struct {
	Pool       ident.Pool
	ID         string // hex of the token's public id
	Key        []byte // Ed25519 public key that proves possession of the token
	Uses       int    // how many enrolments it admits
	Used       int
	Expires    time.Time
	Groups     []string
	Attributes map[string]string
	Replace    bool // may replace the key of a device that has one
	Approve    bool // devices come in pending, for an operator's approval
	Created    time.Time
}

// KeyState is a signing key's phase.
type KeyState string

// The phases: announced in the key set, signing, still verifying, gone.
const (
	KeyAnnounced KeyState = "announced"
	KeyActive    KeyState = "active"
	KeyRetired   KeyState = "retired"
)

// A SigningKey signs a pool's tokens.
type SigningKey struct {
	Pool    ident.Pool
	ID      string // RFC 7638 thumbprint, base64url
	Alg     string // "ES256", "EdDSA" or "RS256"
	State   KeyState
	Public  []byte // PKIX
	Sealed  []byte // PKCS #8, sealed
	Created time.Time
	// Changed is when it entered its phase; of the active key, also when another key
	// left the set. The latest of a pool's keys never goes back: it dates the pool's
	// key statement, and devices refuse one that is older than the one they have.
	Changed time.Time
}

// A Session is what a login leaves behind: the family of its refresh tokens.
type Session struct {
	ID      ident.UUID // the exchange that began it; UUIDv7
	Device  ident.Device
	Subject ident.UUID
	Client  string
	Created time.Time
	Expires time.Time // zero: no refresh token was given
	Revoked bool
	// DeviceRev is the Rev of the device when it was proved.
	DeviceRev uint64
	// The refresh token now valid is number Generation; Handle is its SHA-256,
	// Previous that of the one before. Requests are the first RequestMark bytes of the
	// transcripts of the last MaxRequests refreshes that were granted, newest first.
	Generation uint32
	Handle     []byte
	Previous   []byte
	Rotated    time.Time
	Requests   []byte
}

// What a session remembers of its refreshes: a day of them, if tokens live an hour
// and are renewed half-way.
const (
	RequestMark = 8 // bytes
	MaxRequests = 48
)

// Ended reports whether s was ended, by itself or with all of its device d's.
func (s *Session) Ended(d *Device) bool {
	return s.Revoked || s.DeviceRev < d.SessionsRev || !s.Created.After(d.SessionsAfter)
}

// An Operator is somebody's or some program's access to the operators' API.
type Operator struct {
	Name    string
	Hash    []byte // SHA-256 of the bearer token
	Expires time.Time
	Created time.Time
}

// Validate checks a client's bounds.
func (c *Client) Validate() error {
	if err := CheckLabel("client", c.ID); err != nil {
		return err
	}
	if c.AccessLife < MinAccessLife || c.AccessLife > MaxAccessLife {
		return fmt.Errorf("%w: access life %s, want %s to %s", ErrInvalid, Span(c.AccessLife), Span(MinAccessLife), Span(MaxAccessLife))
	}
	if c.RefreshLife != 0 && (c.RefreshLife < MinRefreshLife || c.RefreshLife > MaxRefreshLife) {
		return fmt.Errorf("%w: refresh life %s, want %s to %s, or 0s for no refresh tokens", ErrInvalid, Span(c.RefreshLife), Span(MinRefreshLife), Span(MaxRefreshLife))
	}
	if c.Grace < 0 || c.Grace > MaxGrace {
		return fmt.Errorf("%w: grace %s, want at most %s", ErrInvalid, Span(c.Grace), Span(MaxGrace))
	}
	return nil
}

// Validate checks that the flow has steps or a define hook, and no unknown step.
func (f *Flow) Validate() error {
	if err := CheckLabel("flow", f.Name); err != nil {
		return err
	}
	if (len(f.Steps) == 0) == (f.Define == "") {
		return fmt.Errorf("%w: flow %q has either steps or a define hook", ErrInvalid, f.Name)
	}
	if len(f.Steps) > 8 {
		return fmt.Errorf("%w: flow %q has %d steps, at most 8", ErrInvalid, f.Name, len(f.Steps))
	}
	for _, s := range f.Steps {
		if s == "key" || s == "psk" {
			continue
		}
		name, ok := HookStep(s)
		if name == "key" || name == "psk" || name == "enrol" {
			return fmt.Errorf("%w: flow %q: a challenge cannot be called %q, that is one of the protocol's own; name the hook otherwise", ErrInvalid, f.Name, name)
		}
		if !ok || CheckLabel("hook", name) != nil {
			return fmt.Errorf("%w: flow %q: unknown step %q, want key, psk or hook:NAME", ErrInvalid, f.Name, s)
		}
	}
	return nil
}

// HookStep gives the hook's name of a step "hook:NAME".
func HookStep(step string) (string, bool) {
	const prefix = "hook:"
	if len(step) <= len(prefix) || step[:len(prefix)] != prefix {
		return "", false
	}
	return step[len(prefix):], true
}

// CheckLabel checks the names of clients, flows and hooks: 1 to 64 of [a-z0-9-].
func CheckLabel(what, s string) error {
	if s == "" || len(s) > 64 {
		return fmt.Errorf("%w: a %s's name has 1 to 64 characters, got %d", ErrInvalid, what, len(s))
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return fmt.Errorf("%w: %s %q: character %d is %q, want a-z, 0-9 or -", ErrInvalid, what, s, i+1, c)
		}
	}
	return nil
}
