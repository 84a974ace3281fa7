package broker

import (
	"context"
	"time"

	"github.com/signetd/signet/protocol/ident"
)

// A Hook is an HTTP webhook that takes part in flows.
type Hook struct {
	Pool    ident.Pool
	Name    string
	URL     string
	Sealed  []byte // the signing secret, sealed
	Timeout time.Duration
	Created time.Time
}

// Hooks keeps hooks.
type Hooks interface {
	PutHook(ctx context.Context, by By, h Hook) error
	Hook(ctx context.Context, pool ident.Pool, name string) (Hook, error)
	ListHooks(ctx context.Context, pool ident.Pool) ([]Hook, error)
	DeleteHook(ctx context.Context, by By, pool ident.Pool, name string) error
}
