// Package remote is a key source that fetches an issuer's keys: it reads the
// discovery document (OpenID Connect Discovery, 4; RFC 8414) and the JWK set that
// this names, over HTTPS, and keeps them.
//
// However many goroutines ask, one request is under way at a time. A key id that is
// not known causes a refresh at once, so that a key that the issuer rotated to is there
// when its first token is. Forged tokens cannot make this machine call the issuer as they
// like: an id that a refresh did not bring causes none again within MinInterval, and all such ids
// together cause five at once, then one in a tenth of MinInterval, each of which brings
// whatever key is new. When the issuer cannot be reached, the
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

// Bounds on the refreshes that unknown ids cause in vain.
const (
	forgedBurst = 5
	forgedShare = 10   // of MinInterval's, the part in which there is room for one more
	maxAbsent   = 1024 // ids that are remembered; each has at most token.MaxKID bytes
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
	MinInterval time.Duration    // between two fetches that failures, old keys or one unknown id cause
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
	begun int       // fetches so far
	vain  room
	// absent are ids that a fetch did not bring, with when that began; at most maxAbsent.
	absent map[string]time.Time
}

// room is for fetches that may turn out to be in vain.
type room struct {
	left int
	at   time.Time // up to when it was refilled
}

func (r *room) refill(now time.Time, every time.Duration) {
	if r.at.IsZero() || now.Before(r.at) {
		r.left, r.at = forgedBurst, now
	}
	n := now.Sub(r.at) / every
	r.left, r.at = int(min(forgedBurst, time.Duration(r.left)+n)), r.at.Add(n*every)
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
	return &Source{config: c, client: &client, absent: make(map[string]time.Time)}, nil
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
	key, due, begun := s.kept(ctx, kid)
	switch {
	case key != nil && due:
		s.start(ctx, nil, begun) // whoever has a good key does not wait for a better one
	case due:
		if err := s.refresh(ctx, kid, begun); err != nil {
			return nil, err
		}
		key, _, _ = s.kept(ctx, kid)
	}
	if key != nil {
		return key, nil
	}
	return nil, s.absence(ctx, kid)
}

// kept looks among the kept keys, unless they are too old, and says whether to
// fetch: to join the fetch under way, or to start one if there may be one now. begun is
// how many there were.
func (s *Source) kept(ctx context.Context, kid []byte) (key *token.Key, due bool, begun int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.config.Now()
	if s.keys == nil || s.tooOld(now) {
		return nil, s.rested(now) || s.busy, s.begun
	}
	key, err := s.keys.Key(ctx, kid)
	if err != nil {
		return nil, s.rested(now) || s.busy || s.mayAsk(kid, now), s.begun
	}
	return key, s.rested(now) && !now.Before(s.fresh), s.begun
}

// rested reports whether the last fetch is long enough ago for any other. s.mu is held.
func (s *Source) rested(now time.Time) bool {
	return s.last.IsZero() || now.Sub(s.last) >= s.config.MinInterval || now.Before(s.last)
}

// mayAsk reports whether an unknown id may cause a fetch before that. s.mu is held.
func (s *Source) mayAsk(kid []byte, now time.Time) bool {
	if s.err != nil || s.keys == nil {
		return false // an issuer in trouble is left alone
	}
	if at, ok := s.absent[string(kid)]; ok && now.Sub(at) < s.config.MinInterval && !now.Before(at) {
		return false
	}
	s.vain.refill(now, max(1, s.config.MinInterval/forgedShare))
	return s.vain.left > 0
}

// judge settles what the fetch of keys for kid cost: nothing, if it brought that key. s.mu
// is held.
func (s *Source) judge(ctx context.Context, kid []byte, keys *verify.KeySet, at time.Time) {
	if _, err := keys.Key(ctx, kid); err == nil {
		delete(s.absent, string(kid))
		return
	}
	s.vain.refill(at, max(1, s.config.MinInterval/forgedShare))
	s.vain.left = max(0, s.vain.left-1)
	if len(s.absent) >= maxAbsent {
		for id, since := range s.absent {
			if at.Sub(since) >= s.config.MinInterval {
				delete(s.absent, id)
			}
		}
	}
	if len(s.absent) < maxAbsent {
		s.absent[string(kid)] = at
	}
}

// has reports whether kid's key is among those kept. s.mu is held.
func (s *Source) has(ctx context.Context, kid []byte) bool {
	if s.keys == nil {
		return false
	}
	_, err := s.keys.Key(ctx, kid)
	return err == nil
}

// tooOld needs s.mu held.
func (s *Source) tooOld(now time.Time) bool { return now.After(s.fresh.Add(s.config.MaxStale)) }

// absence says why there is no key: it is unknown, or none can be had.
func (s *Source) absence(ctx context.Context, kid []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keys == nil || s.tooOld(s.config.Now()) {
		if s.err != nil {
			return fmt.Errorf("%w: %w", ErrUnavailable, s.err)
		}
		return ErrUnavailable
	}
	if _, err := s.keys.Key(ctx, kid); err != nil {
		return err
	}
	return verify.ErrUnknownKey
}

// refresh waits for the fetch under way or a new one. It fails only if ctx ends: a
// failed fetch leaves the kept keys as they are.
func (s *Source) refresh(ctx context.Context, kid []byte, begun int) error {
	done := s.start(ctx, kid, begun)
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for keys of %s: %w", s.config.Issuer, ctx.Err())
	}
}

// start joins the fetch under way or starts one: for kid, or nil for newer keys.
func (s *Source) start(ctx context.Context, kid []byte, begun int) <-chan singleflight.Result {
	return s.flights.DoChan("", func() (any, error) {
		s.fetchOnce(context.WithoutCancel(ctx), kid, begun)
		return nil, nil
	})
}

func (s *Source) fetchOnce(ctx context.Context, kid []byte, begun int) {
	s.mu.Lock()
	now := s.config.Now()
	// A flight may have landed between our look and our start, even the one that we saw under way.
	if !s.rested(now) && (s.begun != begun || kid == nil || s.has(ctx, kid) || !s.mayAsk(kid, now)) {
		s.mu.Unlock()
		return
	}
	s.last, s.busy = now, true
	s.begun++
	s.mu.Unlock()

	ctx, cancel := context.WithTimeout(ctx, s.config.Timeout)
	defer cancel()
	keys, lifetime, err := s.fetch(ctx)

	s.mu.Lock()
	defer s.mu.Unlock()
	s.err, s.busy = err, false
	if err != nil {
		return
	}
	had := s.keys != nil
	s.keys, s.fresh = keys, now.Add(lifetime)
	if kid != nil && had {
		s.judge(ctx, kid, keys, now)
	}
}
