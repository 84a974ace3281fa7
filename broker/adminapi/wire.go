package adminapi

import (
	"encoding/hex"
	"net/http"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/problem"
	"github.com/signetd/signet/protocol/token"
)

// The types below are the API's bodies, the same for Handler and Client. Fields
// are only added; one that is not understood is refused in requests and passed
// over in answers.

// A Page is a part of a list. Next, if set, is the after of the next page.
type Page[T any] struct {
	Items []T    `json:"items" nullable:"false"`
	Next  string `json:"next,omitempty" doc:"Give it as after to get the next page; absent on the last"`
}

// Status is what the broker says of itself and of who asks.
type Status struct {
	Version  string    `json:"version"`
	Time     time.Time `json:"time"`
	Pools    int       `json:"pools"`
	Operator string    `json:"operator" doc:"Whose token the request had"`
	Expires  time.Time `json:"expires" doc:"When that token expires"`
}

// A Pool is a directory of devices with an issuer of its own.
type Pool struct {
	Name             string    `json:"name"`
	Issuer           string    `json:"issuer" doc:"The iss of its tokens; discovery is below it"`
	Flow             string    `json:"flow" doc:"The default flow"`
	Anchor           string    `json:"anchor" doc:"The key that vouches for all others: COSE_Key in hex"`
	AnchorThumbprint string    `json:"anchorThumbprint" doc:"RFC 9679, in hex"`
	Created          time.Time `json:"created"`
}

// NewPool asks for a pool.
type NewPool struct {
	Name string `json:"name" maxLength:"32" pattern:"^[a-z][a-z0-9-]*$" patternDescription:"a lower-case letter, then a-z, 0-9 and -" example:"demo"`
}

// PoolChange changes what it has.
type PoolChange struct {
	Flow string `json:"flow" maxLength:"64" pattern:"^[a-z0-9-]+$" patternDescription:"a-z, 0-9 and -" doc:"The flow of clients that name none"`
}

// A Device is one machine.
type Device struct {
	Pool           string            `json:"pool"`
	Name           string            `json:"name"`
	Subject        string            `json:"subject" doc:"The sub of its tokens; never changes"`
	Status         string            `json:"status" enum:"pending,active,disabled,quarantined"`
	Authenticators []Authenticator   `json:"authenticators" nullable:"false"`
	Attributes     map[string]string `json:"attributes,omitempty"`
	Groups         []string          `json:"groups,omitempty" nullable:"false"`
	Created        time.Time         `json:"created"`
	Updated        time.Time         `json:"updated"`
	SessionsAfter  *time.Time        `json:"sessionsAfter,omitempty" doc:"Sessions begun at or before it are over"`
}

// An Authenticator is what a device proves itself with.
type Authenticator struct {
	Kind       string    `json:"kind" enum:"key,psk,totp"`
	Alg        string    `json:"alg,omitempty"`
	Thumbprint string    `json:"thumbprint,omitempty" doc:"RFC 7638, in base64url"`
	Added      time.Time `json:"added"`
}

// NewDevice asks for a device.
type NewDevice struct {
	Name       string            `json:"name" maxLength:"128" pattern:"^[A-Za-z0-9_:-]+$" patternDescription:"letters, digits, _ : and -" example:"lamp-1"`
	Key        string            `json:"key,omitempty" maxLength:"8192" doc:"Public key: PEM, JWK or COSE_Key in hex; Ed25519 or P-256"`
	PSK        string            `json:"psk,omitempty" maxLength:"8192" doc:"Shared key of 32 to 64 bytes in hex or base64"`
	Pending    bool              `json:"pending,omitempty" doc:"Wait for approval"`
	Attributes map[string]string `json:"attributes,omitempty"`
	Groups     []string          `json:"groups,omitempty" nullable:"false"`
}

// DeviceChange replaces what it has.
type DeviceChange struct {
	Attributes map[string]string `json:"attributes,omitempty"`
	Groups     []string          `json:"groups,omitempty" nullable:"false"`
}

// A Session is one login of a device and the refresh tokens that follow from it.
type Session struct {
	ID      string     `json:"id"`
	Client  string     `json:"client"`
	Created time.Time  `json:"created"`
	Expires *time.Time `json:"expires,omitempty" doc:"Absent when no refresh token was given"`
	Rotated *time.Time `json:"rotated,omitempty" doc:"The last refresh"`
	Revoked bool       `json:"revoked"`
}

// An EnrollmentToken admits devices.
type EnrollmentToken struct {
	ID         string            `json:"id"`
	Token      string            `json:"token,omitempty" doc:"Only in the answer that made it"`
	Uses       int               `json:"uses"`
	Used       int               `json:"used"`
	Expires    time.Time         `json:"expires"`
	Groups     []string          `json:"groups,omitempty" nullable:"false"`
	Attributes map[string]string `json:"attributes,omitempty"`
	Replace    bool              `json:"replace,omitempty" doc:"May replace the key of a device that has one"`
	Approve    bool              `json:"approve,omitempty" doc:"Devices wait for approval"`
	Created    time.Time         `json:"created"`
}

// NewEnrollmentToken asks for an enrolment token.
type NewEnrollmentToken struct {
	Uses       *int              `json:"uses,omitempty" minimum:"1" maximum:"1000000" doc:"How many enrolments; 1 if absent"`
	Expires    *Duration         `json:"expires,omitempty" doc:"1m to 365d; 24h if absent"`
	Groups     []string          `json:"groups,omitempty" nullable:"false"`
	Attributes map[string]string `json:"attributes,omitempty"`
	Replace    bool              `json:"replace,omitempty"`
	Approve    bool              `json:"approve,omitempty"`
}

// EnrollmentTokenChange changes what it has.
type EnrollmentTokenChange struct {
	Uses    *int      `json:"uses,omitempty" minimum:"1" maximum:"1000000" doc:"How many enrolments in all"`
	Expires *Duration `json:"expires,omitempty" doc:"From now"`
}

// ClientSettings are an application's: its flow, audiences and lifetimes.
type ClientSettings struct {
	ID          string     `json:"id" maxLength:"64" pattern:"^[a-z0-9-]+$" patternDescription:"a-z, 0-9 and -"`
	Flow        string     `json:"flow,omitempty" maxLength:"64" doc:"The pool's if absent"`
	Audiences   []string   `json:"audiences,omitempty" nullable:"false" doc:"The pool's name if absent"`
	AccessLife  *Duration  `json:"accessLife,omitempty" doc:"Of access and ID tokens: 5m to 1d; 1h if absent"`
	RefreshLife *Duration  `json:"refreshLife,omitempty" doc:"Of refresh tokens: 1h to 10y, 0s for none; 30d if absent"`
	Grace       *Duration  `json:"grace,omitempty" doc:"How long a rotated refresh token still answers with its successor: at most 1h; 5m if absent"`
	Created     *time.Time `json:"created,omitempty" readOnly:"true"`
}

// A Flow says which challenges a device answers.
type Flow struct {
	Name    string     `json:"name" maxLength:"64" pattern:"^[a-z0-9-]+$" patternDescription:"a-z, 0-9 and -"`
	Steps   []string   `json:"steps,omitempty" nullable:"false" maxItems:"8" doc:"key, psk or hook:NAME, in order"`
	Define  string     `json:"define,omitempty" maxLength:"64" doc:"Instead of steps: the hook that decides after each answer"`
	Created *time.Time `json:"created,omitempty" readOnly:"true"`
}

// A Hook is a webhook that takes part in flows.
type Hook struct {
	Name    string    `json:"name"`
	URL     string    `json:"url"`
	Timeout Duration  `json:"timeout"`
	Secret  string    `json:"secret,omitempty" doc:"Standard Webhooks signing secret; only in the answer that made it"`
	Created time.Time `json:"created"`
}

// NewHook asks for a hook.
type NewHook struct {
	Name    string    `json:"name" maxLength:"64" pattern:"^[a-z0-9-]+$" patternDescription:"a-z, 0-9 and -"`
	URL     string    `json:"url" maxLength:"2048" format:"uri"`
	Timeout *Duration `json:"timeout,omitempty" doc:"100ms to 10s; 2s if absent"`
}

// HookChange changes what it has.
type HookChange struct {
	URL       string    `json:"url,omitempty" maxLength:"2048" format:"uri"`
	Timeout   *Duration `json:"timeout,omitempty" doc:"100ms to 10s"`
	NewSecret bool      `json:"newSecret,omitempty" doc:"Make a new signing secret, shown in the answer; the old one ends at once"`
}

// A Key is a pool's signing key, without its private half.
type Key struct {
	ID      string    `json:"id" doc:"The kid in JWTs: RFC 7638 thumbprint"`
	Alg     string    `json:"alg"`
	State   string    `json:"state" enum:"announced,active,retired"`
	Created time.Time `json:"created"`
	Changed time.Time `json:"changed" doc:"When it came into this state"`
}

// KeyRotation begins a rotation.
type KeyRotation struct {
	Alg      string `json:"alg,omitempty" enum:"ES256,EdDSA,RS256" doc:"ES256 if absent"`
	Activate bool   `json:"activate,omitempty" doc:"Sign with it at once"`
}

// KeyChoice names a key.
type KeyChoice struct {
	ID string `json:"id" maxLength:"64"`
}

// KeyRetirement names a key that is to leave the key set.
type KeyRetirement struct {
	ID    string `json:"id" maxLength:"64"`
	Force bool   `json:"force,omitempty" doc:"Even if tokens that it signed are still valid"`
}

// An Operator is somebody's access to this API.
type Operator struct {
	Name    string    `json:"name"`
	Token   string    `json:"token,omitempty" doc:"Only in the answer that made it"`
	Expires time.Time `json:"expires"`
	Created time.Time `json:"created"`
}

// NewOperator asks for an operator's token.
type NewOperator struct {
	Name    string    `json:"name" maxLength:"64" pattern:"^[a-z0-9-]+$" patternDescription:"a-z, 0-9 and -"`
	Expires *Duration `json:"expires,omitempty" doc:"1m to 730d; 90d if absent"`
}

func wirePool(p broker.Pool) Pool {
	out := Pool{Name: p.Name.String(), Issuer: p.Issuer, Flow: p.Flow, Anchor: hex.EncodeToString(p.Anchor), Created: p.Created}
	if k, err := token.ParseCOSEKey(p.Anchor); err == nil {
		thumb := k.Thumbprint()
		out.AnchorThumbprint = hex.EncodeToString(thumb[:])
	}
	return out
}

func wireDevice(d broker.Device) Device {
	out := Device{
		Pool: d.ID.Pool.String(), Name: d.ID.Name.String(), Subject: d.Subject.String(), Status: string(d.Status),
		Authenticators: []Authenticator{}, Attributes: d.Attributes, Groups: d.Groups,
		Created: d.Created, Updated: d.Updated, SessionsAfter: optional(d.SessionsAfter),
	}
	for _, a := range d.Authenticators {
		w := Authenticator{Kind: a.Kind, Added: a.Added}
		if k, err := token.ParseCOSEKey(a.Key); err == nil {
			w.Alg, w.Thumbprint = k.Alg().String(), k.KID()
		}
		out.Authenticators = append(out.Authenticators, w)
	}
	return out
}

// optional gives nil for the zero time.
func optional(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func wireSession(s broker.Session) Session {
	return Session{
		ID: s.ID.String(), Client: s.Client, Created: s.Created, Expires: optional(s.Expires),
		Rotated: optional(s.Rotated), Revoked: s.Revoked,
	}
}

func wireEnrolToken(t broker.EnrolToken) EnrollmentToken {
	return EnrollmentToken{
		ID: t.ID, Uses: t.Uses, Used: t.Used, Expires: t.Expires, Groups: t.Groups, Attributes: t.Attributes,
		Replace: t.Replace, Approve: t.Approve, Created: t.Created,
	}
}

func wireClient(c broker.Client) ClientSettings {
	return ClientSettings{
		ID: c.ID, Flow: c.Flow, Audiences: c.Audiences, AccessLife: span(c.AccessLife),
		RefreshLife: span(c.RefreshLife), Grace: span(c.Grace), Created: optional(c.Created),
	}
}

// span gives a length of time that is there, be it zero.
func span(d time.Duration) *Duration {
	out := Duration(d)
	return &out
}

// given gives a length of time that may be absent, which is 0. Zero itself is
// refused, because inwards it would mean the default.
func given(where string, d *Duration) (time.Duration, error) {
	if d == nil {
		return 0, nil
	}
	if *d == 0 {
		p := problem.New(http.StatusUnprocessableEntity, problem.Invalid)
		p.Errors = []problem.Place{{Location: "body." + where, Message: "is 0s; leave it out for the default"}}
		return 0, p
	}
	return time.Duration(*d), nil
}

func wireFlow(f broker.Flow) Flow {
	return Flow{Name: f.Name, Steps: f.Steps, Define: f.Define, Created: optional(f.Created)}
}

func wireHook(h broker.Hook) Hook {
	return Hook{Name: h.Name, URL: h.URL, Timeout: Duration(h.Timeout), Created: h.Created}
}

func wireKey(k broker.SigningKey) Key {
	return Key{ID: k.ID, Alg: k.Alg, State: string(k.State), Created: k.Created, Changed: k.Changed}
}

func wireOperator(o broker.Operator) Operator {
	return Operator{Name: o.Name, Expires: o.Expires, Created: o.Created}
}
