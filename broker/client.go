package broker

import (
	"context"
	"fmt"
	"time"

	"github.com/signetd/signet/protocol/ident"
)

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

// Clients keeps clients.
type Clients interface {
	PutClient(ctx context.Context, by By, c Client) error
	Client(ctx context.Context, pool ident.Pool, id string) (Client, error)
	ListClients(ctx context.Context, pool ident.Pool) ([]Client, error)
	DeleteClient(ctx context.Context, by By, pool ident.Pool, id string) error
}
