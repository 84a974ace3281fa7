// Package control is what operators do: pools, devices, enrollment tokens,
// clients, flows, hooks, signing keys and operators' own access, each use case a
// method that checks its input and writes in one transaction of the store. Whoever must
// know of a change follows the journal.
//
// It knows no transport and never logs. It returns a secret only once, when it makes it.
package control

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/hook/target"
	"github.com/signetd/signet/protocol/ident"
)

// Store is the part of a store that operators' use cases need.
type Store interface {
	broker.Pools
	broker.Settings
	broker.Devices
	broker.SigningKeys
	broker.Operators
	Since(ctx context.Context, after uint64, limit int) ([]broker.Record, error)
	Last(ctx context.Context) (uint64, error)
	History(ctx context.Context, id ident.Device, before uint64, limit int) ([]broker.Record, error)
	Session(ctx context.Context, id ident.UUID) (broker.Session, error)
	UpdateSession(ctx context.Context, by broker.By, id ident.UUID, change func(*broker.Session, *broker.Device) error) (broker.Session, error)
	ListSessions(ctx context.Context, id ident.Device) ([]broker.Session, error)
	CountSessions(ctx context.Context, pool ident.Pool, client string, now time.Time) (broker.SessionCount, error)
}

// A Sealer encrypts secrets before they are stored. What was sealed for one purpose opens
// for no other.
type Sealer interface {
	Seal(purpose broker.Purpose, plain []byte) ([]byte, error)
	Open(purpose broker.Purpose, sealed []byte) ([]byte, error)
}

// Config is what a Plane is made of. Store, Sealer and Issuer are required.
type Config struct {
	Store  Store
	Sealer Sealer
	// Issuer is the public base URL, such as https://signet.example:8443; a pool's
	// issuer is Issuer + "/pools/" + its name.
	Issuer string
	// HookTargets says where hooks may be; the zero value allows public addresses only.
	HookTargets target.Policy
	// Makers make the authenticators that operators may ask for, by kind; those of other
	// kinds come with their devices.
	Makers map[string]broker.Maker
	Now    func() time.Time // nil: time.Now
	Random io.Reader        // nil: the system's
}

// A Plane carries out operators' use cases. It is safe for concurrent use.
type Plane struct {
	Config
}

// New makes a Plane. It refuses a Config that lacks a part, or whose Issuer is no plain
// https URL.
func New(cfg Config) (*Plane, error) {
	if cfg.Store == nil || cfg.Sealer == nil {
		return nil, errors.New("control: store and sealer are required")
	}
	u, err := url.Parse(cfg.Issuer)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return nil, fmt.Errorf("control: issuer %q is not an https URL without query and fragment", cfg.Issuer)
	}
	cfg.Issuer = strings.TrimRight(cfg.Issuer, "/")
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Random == nil {
		cfg.Random = rand.Reader
	}
	return &Plane{Config: cfg}, nil
}

// random reads n bytes.
func (p *Plane) random(n int) ([]byte, error) {
	b := make([]byte, n)
	if _, err := io.ReadFull(p.Random, b); err != nil {
		return nil, fmt.Errorf("read random bytes: %w", err)
	}
	return b, nil
}
