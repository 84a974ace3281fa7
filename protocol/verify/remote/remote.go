// Package remote is a key source that fetches an issuer's keys: it reads the
// discovery document (OpenID Connect Discovery, 4; RFC 8414) and the JWK set that
// this names, over HTTPS, and keeps them.
//
// However many goroutines ask, one request is under way at a time. A key id that is
// not known causes a refresh, at most one in MinInterval, so that forged tokens
// cannot make this machine call the issuer. When the issuer cannot be reached, the
// last good keys serve until MaxStale. Sizes, times and redirects are bounded.
//
//	keys, err := remote.New(remote.Config{Issuer: issuer, Client: client})
//	if err != nil {
//		log.Fatal(err)
//	}
//	v, err := verify.New(verify.Config{
//		Issuer:     issuer,
//		Audience:   "demo",
//		Algorithms: []token.Alg{token.EdDSA},
//		Keys:       keys,
//	})
//
// It starts no goroutine that outlives a fetch.
package remote

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/signetd/signet/protocol/token"
	"github.com/signetd/signet/protocol/verify"
)

// Defaults for Config.
const (
	DefaultMinInterval = 30 * time.Second
	DefaultLifetime    = 5 * time.Minute
	DefaultMaxStale    = 24 * time.Hour
	DefaultTimeout     = 10 * time.Second
)

// Bounds on what Cache-Control may say.
const (
	minLifetime = 10 * time.Second
	maxLifetime = 24 * time.Hour
)

// ErrUnavailable is wrapped by the errors about keys that cannot be had: the
// issuer is out of reach, and there are no kept keys or they are too old.
var ErrUnavailable = errors.New("issuer's keys are not available")

// Config says where keys are and how long they are kept. Only Issuer is required.
type Config struct {
	Issuer      string           // an https URL, as tokens have it
	Client      *http.Client     // its redirects are not followed; nil means one with the system's roots
	MinInterval time.Duration    // between two fetches that unknown ids or failures cause
	Lifetime    time.Duration    // of keys whose answer has no Cache-Control: max-age
	MaxStale    time.Duration    // how long past their lifetime keys serve if the issuer is out of reach
	Timeout     time.Duration    // of one fetch, both documents
	Now         func() time.Time // nil means time.Now
}

// A Source fetches and keeps the keys of one issuer.
type Source struct {
	config  Config
	client  *http.Client
	flights singleflight.Group

	mu    sync.Mutex // guards what is below: read and replaced together
	keys  *verify.KeySet
	fresh time.Time // until when keys need no refresh
	last  time.Time // when the last fetch began
	busy  bool      // a fetch is under way
	err   error     // of the last fetch
}

var _ verify.KeySource = (*Source)(nil)

// New checks the configuration. It fetches nothing: the first Key does.
func New(c Config) (*Source, error) {
	if err := checkURL(c.Issuer); err != nil {
		return nil, fmt.Errorf("remote: issuer: %w", err)
	}
	for _, d := range []struct {
		value    *time.Duration
		fallback time.Duration
	}{{&c.MinInterval, DefaultMinInterval}, {&c.Lifetime, DefaultLifetime}, {&c.MaxStale, DefaultMaxStale}, {&c.Timeout, DefaultTimeout}} {
		if *d.value < 0 {
			return nil, fmt.Errorf("remote: a duration is negative: %s", *d.value)
		}
		if *d.value == 0 {
			*d.value = d.fallback
		}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	client := http.Client{}
	if c.Client != nil {
		client = *c.Client
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &Source{config: c, client: &client}, nil
}

func checkURL(s string) error {
	u, err := url.Parse(s)
	if err != nil {
		return fmt.Errorf("%q: %w", s, err)
	}
	if u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("%q: want https://host/path", s)
	}
	return nil
}

// Key finds the key that kid names, fetching keys if those kept are too old or do
// not hold it. ctx bounds the waiting, not the fetch, which others wait for too.
func (s *Source) Key(ctx context.Context, kid []byte) (*token.Key, error) {
	key, due := s.kept(ctx, kid)
	switch {
	case key != nil && due:
		s.start(ctx) // whoever has a good key does not wait for a better one
	case due:
		if err := s.refresh(ctx); err != nil {
			return nil, err
		}
		key, _ = s.kept(ctx, kid)
	}
	if key != nil {
		return key, nil
	}
	return nil, s.absence()
}

// kept looks among the kept keys, unless they are too old, and says whether to
// fetch: to join the fetch under way, or to start one if the last is long enough ago.
func (s *Source) kept(ctx context.Context, kid []byte) (key *token.Key, due bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.config.Now()
	rested := s.last.IsZero() || now.Sub(s.last) >= s.config.MinInterval || now.Before(s.last)
	if s.keys == nil || s.tooOld(now) {
		return nil, rested || s.busy
	}
	key, err := s.keys.Key(ctx, kid)
	if err != nil {
		return nil, rested || s.busy
	}
	return key, rested && !now.Before(s.fresh)
}

// tooOld needs s.mu held.
func (s *Source) tooOld(now time.Time) bool { return now.After(s.fresh.Add(s.config.MaxStale)) }

// absence says why there is no key: it is unknown, or none can be had.
func (s *Source) absence() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keys == nil || s.tooOld(s.config.Now()) {
		if s.err != nil {
			return fmt.Errorf("%w: %w", ErrUnavailable, s.err)
		}
		return ErrUnavailable
	}
	return verify.ErrUnknownKey
}

// refresh waits for the fetch under way or a new one. It fails only if ctx ends: a
// failed fetch leaves the kept keys as they are.
func (s *Source) refresh(ctx context.Context) error {
	done := s.start(ctx)
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for keys of %s: %w", s.config.Issuer, ctx.Err())
	}
}

// start joins the fetch under way or starts one.
func (s *Source) start(ctx context.Context) <-chan singleflight.Result {
	return s.flights.DoChan("", func() (any, error) {
		s.fetchOnce(context.WithoutCancel(ctx))
		return nil, nil
	})
}

func (s *Source) fetchOnce(ctx context.Context) {
	s.mu.Lock()
	now := s.config.Now()
	if !s.last.IsZero() && now.Sub(s.last) < s.config.MinInterval && !now.Before(s.last) {
		s.mu.Unlock() // a flight that landed between our look and our start
		return
	}
	s.last, s.busy = now, true
	s.mu.Unlock()

	ctx, cancel := context.WithTimeout(ctx, s.config.Timeout)
	defer cancel()
	keys, lifetime, err := s.fetch(ctx)

	s.mu.Lock()
	defer s.mu.Unlock()
	s.err, s.busy = err, false
	if err == nil {
		s.keys, s.fresh = keys, now.Add(lifetime)
	}
}
