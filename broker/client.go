package broker

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/signetd/signet/protocol/ident"
)

// A Client is an application's settings: flow, audiences, lives.
type Client struct {
	Pool        ident.Pool    `json:"-"`
	ID          string        `json:"-"`              // 1 to 64 of [a-z0-9-]
	Flow        string        `json:"flow,omitempty"` // empty: the pool's
	Audiences   []string      `json:"audiences,omitempty"`
	AccessLife  time.Duration `json:"accessLife"`            // 5 min to 24 h
	RefreshLife time.Duration `json:"refreshLife,omitempty"` // 1 h to 10 y; zero: no refresh token
	Grace       time.Duration `json:"grace,omitempty"`       // how long a rotated refresh token still answers with its successor
	// MaxSessions is how many sessions a device has with this client at once, at most
	// MaxMaxSessions: a further one ends the oldest. 0: as many as a store keeps.
	MaxSessions int       `json:"maxSessions,omitempty"`
	Created     time.Time `json:"-"`
	Rev         uint64    `json:"-"` // the store's
}

// The default client, used when a device names none.
const DefaultClient = "default"

// Defaults and bounds of a client's lives.
const (
	DefaultAccessLife  = time.Hour
	DefaultRefreshLife = 30 * 24 * time.Hour
	DefaultGrace       = 5 * time.Minute
	DefaultMaxSessions = 1
	MinAccessLife      = 5 * time.Minute
	MaxAccessLife      = 24 * time.Hour
	MinRefreshLife     = time.Hour
	MaxRefreshLife     = 10 * 365 * 24 * time.Hour
	MaxGrace           = time.Hour
	MaxMaxSessions     = 50
)

// MaxAudiences is how many audiences a client has at most, each of at most
// ident.MaxAudience bytes.
const MaxAudiences = 8

// NewClient gives a client with the defaults: tokens for the pool's own audience
// that live an hour, refresh tokens that live 30 days, a grace of
// 5 minutes, one session a device.
func NewClient(pool ident.Pool, id string) Client {
	return Client{Pool: pool, ID: id, Audiences: []string{pool.String()}, AccessLife: DefaultAccessLife,
		RefreshLife: DefaultRefreshLife, Grace: DefaultGrace, MaxSessions: DefaultMaxSessions}
}

// Validate gives every bound that a client breaks.
func (c *Client) Validate() error {
	var broken Violations
	broken.add(checkLabel("id", "client", c.ID))
	if c.Flow != "" {
		broken.add(checkLabel("flow", "flow", c.Flow))
	}
	if len(c.Audiences) > MaxAudiences {
		broken.add(Invalid("audiences", "%d audiences, at most %d", len(c.Audiences), MaxAudiences))
	}
	for i, a := range c.Audiences {
		if a == "" || !printable(a, ident.MaxAudience) {
			broken.add(Invalid(fmt.Sprintf("audiences[%d]", i), "audience %q: want 1 to %d printable ASCII characters", a, ident.MaxAudience))
		}
	}
	if c.AccessLife < MinAccessLife || c.AccessLife > MaxAccessLife {
		broken.add(Invalid("accessLife", "access life %s, want %s to %s", Span(c.AccessLife), Span(MinAccessLife), Span(MaxAccessLife)))
	}
	if c.RefreshLife != 0 && (c.RefreshLife < MinRefreshLife || c.RefreshLife > MaxRefreshLife) {
		broken.add(Invalid("refreshLife", "refresh life %s, want %s to %s, or 0s for no refresh tokens", Span(c.RefreshLife), Span(MinRefreshLife), Span(MaxRefreshLife)))
	}
	if c.Grace < 0 || c.Grace > MaxGrace {
		broken.add(Invalid("grace", "grace %s, want at most %s", Span(c.Grace), Span(MaxGrace)))
	}
	if c.MaxSessions < 0 || c.MaxSessions > MaxMaxSessions {
		broken.add(Invalid("maxSessions", "%d sessions a device, want 1 to %d, or 0 for as many as are kept", c.MaxSessions, MaxMaxSessions))
	}
	return broken.or()
}

// ClientKind is the kind of a pool's clients. The default one, which devices use that
// name none, stays.
func ClientKind() Kind[Client] {
	return Kind[Client]{
		Name: "client", Plural: "clients", New: NewClient, Check: (*Client).Validate,
		Head: func(c *Client) Head { return Head{Pool: &c.Pool, Name: &c.ID, Rev: &c.Rev, Created: &c.Created} },
		Own: func(c Client) Client {
			c.Audiences = slices.Clone(c.Audiences)
			return c
		},
		Refs: func(c *Client) []Ref {
			if c.Flow == "" {
				return nil
			}
			return []Ref{{FlowKind().Name, c.Flow}}
		},
		Undeletable: func(id string) error {
			if id == DefaultClient {
				return Conflict("the default client cannot be deleted; update it instead")
			}
			return nil
		},
	}
}

// Client finds a client.
func (c *Catalog) Client(ctx context.Context, pool ident.Pool, id string) (*Client, error) {
	return ClientKind().Find(ctx, c, pool, id)
}
