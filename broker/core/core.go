// Package core puts a broker together: key ring, proofs, minting, exchange, the rule
// of standing and operators' use cases, over one store. Daemon, test harness and
// simulation make theirs by the same call. It listens nowhere, opens no file, and
// decides nothing itself.
package core

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/access"
	"github.com/signetd/signet/broker/auth"
	"github.com/signetd/signet/broker/auth/level"
	"github.com/signetd/signet/broker/control"
	"github.com/signetd/signet/broker/exchange"
	"github.com/signetd/signet/broker/exchange/wrap"
	"github.com/signetd/signet/broker/hook"
	"github.com/signetd/signet/broker/hook/target"
	"github.com/signetd/signet/broker/keyring"
	"github.com/signetd/signet/broker/keyring/verifier"
	"github.com/signetd/signet/broker/mint"
	"github.com/signetd/signet/broker/proof"
	"github.com/signetd/signet/broker/tail"
	"github.com/signetd/signet/broker/tally"
)

// Parts is what a broker is made of. Store, Sealer and Issuer are required.
type Parts struct {
	Store broker.Store // shared with the other replicas; whoever opened it closes it
	// Sealer seals and opens secrets at rest. Replicas have the same key.
	Sealer control.Sealer
	// Issuer is the public base URL; a pool's issuer is Issuer + "/pools/" + its name.
	Issuer string
	// HookNetworks are networks that webhooks may be in although they are not public.
	HookNetworks []netip.Prefix
	// HookLimits bound the calls of webhooks at once.
	HookLimits hook.Limits
	Now        func() time.Time // nil: time.Now
	Random     io.Reader        // nil: the system's
	Log        *slog.Logger     // nil: nothing is logged
	// Metrics is where counters are registered; nil: nowhere.
	Metrics prometheus.Registerer
	// Refusals bounds the refused messages of one source.
	Refusals wrap.Limit
	// Pace bounds how often one device logs in or renews.
	Pace exchange.Pace
	// Room gives an error while there is no room for new devices; nil: there always is.
	Room func() error
	// Level is the clock by which refusals of proofs take the same time. It is not Now,
	// which may jump. Zero: the system's.
	Level level.Clock
}

// A Core is a broker without doors: what stands behind MQTT, HTTPS and any other
// way in. Its fields are safe for concurrent use.
type Core struct {
	Exchange *exchange.Responder // devices' messages
	Access   *access.Rule        // what a token or session is still worth
	Control  *control.Plane      // operators' use cases
	Keys     *keyring.Keys       // pools' keys, opened
	Tail     *tail.Follower      // tells of all that is written from New on, while Run runs

	Events *tally.Events // what happened, summed up for the journal while Run runs

	hooks *hook.Caller
}

// New puts a broker together. A door that must be told of changes calls Tail.Tell before
// it opens; changes are told while Run runs. The caller calls Close at the end.
func New(ctx context.Context, p Parts) (*Core, error) {
	if p.Store == nil || p.Sealer == nil {
		return nil, errors.New("core: store and sealer are required")
	}
	if p.Now == nil {
		p.Now = time.Now
	}
	if p.Random == nil {
		p.Random = rand.Reader
	}
	if p.Log == nil {
		p.Log = slog.New(slog.DiscardHandler)
	}
	told, err := observeHooks(p.Metrics, p.Log)
	if err != nil {
		return nil, err
	}
	c := &Core{hooks: hook.New(hook.Config{Store: p.Store, Secrets: p.Sealer, Allow: p.HookNetworks, Limits: p.HookLimits, Now: p.Now, Told: told})}
	if c.Tail, err = tail.New(ctx, p.Store, p.Log); err != nil {
		return nil, err
	}
	c.Keys = keyring.New(p.Store, p.Sealer, c.Tail.Fresh)
	c.Tail.Tell(c.Keys.Recorded)
	if err := c.answer(ctx, p); err != nil {
		return nil, err
	}
	c.Control, err = control.New(control.Config{
		Store: p.Store, Sealer: p.Sealer, Issuer: p.Issuer, HookTargets: target.New(p.HookNetworks), Makers: proof.Makers(),
		Now: p.Now, Random: p.Random,
	})
	if err != nil {
		return nil, err
	}
	return c, nil
}

// answer puts together all that decides about a device's message or connection.
func (c *Core) answer(ctx context.Context, p Parts) error {
	sessions, err := clusterSecret(ctx, p, sessionSecret)
	if err != nil {
		return err
	}
	if sessions, err = ofEpoch(ctx, p.Store, sessions); err != nil {
		return err
	}
	refreshes, err := clusterSecret(ctx, p, refreshSecret)
	if err != nil {
		return err
	}
	a, err := proof.New(auth.Config{Reads: p.Store, Tries: p.Store, Secrets: p.Sealer, Answers: c.Keys, Hooks: c.hooks, SessionKey: sessions, Now: p.Now, Random: p.Random})
	if err != nil {
		return err
	}
	c.Access = access.New(p.Store, verifier.New(c.Keys, p.Now), a)
	m, err := mint.New(mint.Config{Rings: c.Keys, RefreshKey: refreshes, Random: p.Random})
	if err != nil {
		return err
	}
	c.Events = tally.NewEvents(p.Store, p.Room, p.Log)
	c.Exchange, err = wrap.Exchange(exchange.New(a, m, p.Store, p.Pace), wrap.Config{
		Log: p.Log, Metrics: p.Metrics, Refusals: p.Refusals, Clock: p.Level, Events: c.Events, Room: p.Room,
	})
	return err
}

// The cluster's secrets: under sessionSecret lies what exchanges are sealed with, under
// refreshSecret what refresh tokens are authenticated with.
const (
	sessionSecret = "session"
	refreshSecret = "refresh"
)

// CheckKey says whether a sealer opens the secrets of a store, of which sealed gives those of
// the cluster, nil for one that is not there. A store that nobody has begun to use has
// none, and every key fits. The error is the sealer's.
func CheckKey(s control.Sealer, sealed func(name string) []byte) error {
	for _, name := range []string{sessionSecret, refreshSecret} {
		secret := sealed(name)
		if secret == nil {
			continue
		}
		if _, err := s.Open(broker.ClusterPurpose(name), secret); err != nil {
			return fmt.Errorf("cluster secret %s: %w", name, err)
		}
	}
	return nil
}

// clusterSecret gives 32 random bytes that all replicas share. The first one makes them.
func clusterSecret(ctx context.Context, p Parts, name string) ([]byte, error) {
	purpose := broker.ClusterPurpose(name)
	sealed, err := p.Store.SecretOnce(ctx, broker.By{Actor: broker.ActorBroker}, name, func() ([]byte, error) {
		raw := make([]byte, 32)
		if _, err := io.ReadFull(p.Random, raw); err != nil {
			return nil, err
		}
		return p.Sealer.Seal(purpose, raw)
	})
	if err != nil {
		return nil, fmt.Errorf("cluster secret %s: %w", name, err)
	}
	return p.Sealer.Open(purpose, sealed)
}

// ofEpoch derives the store's key for sealed sessions of its epoch. A store that was put
// back does not know which exchanges were recorded since, so what was sealed before opens
// no more: it could be answered a second time.
func ofEpoch(ctx context.Context, s broker.Epochs, secret []byte) ([]byte, error) {
	epoch, err := s.Epoch(ctx)
	if err != nil {
		return nil, fmt.Errorf("key of the store's epoch: %w", err)
	}
	mac := hmac.New(sha256.New, secret)
	mac.Write(binary.BigEndian.AppendUint64([]byte("signet epoch v1"), epoch))
	return mac.Sum(nil), nil
}

// Run follows the journal and appends sums of events to it until ctx ends. Without it the broker
// answers, but it reads the store where it could remember, and no door is told of changes.
// It returns when the last sums are in the journal.
func (c *Core) Run(ctx context.Context) {
	var running sync.WaitGroup
	running.Go(func() { c.Events.Run(ctx) })
	c.Tail.Run(ctx)
	running.Wait()
}

// Close drops the connections to hooks. The store stays open.
func (c *Core) Close() { c.hooks.Close() }
