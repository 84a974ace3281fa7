package remote_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/signetd/signet/protocol/token"
	"github.com/signetd/signet/protocol/verify"
	"github.com/signetd/signet/protocol/verify/remote"
)

func newKey(t testing.TB, seed byte) *token.Key {
	t.Helper()
	s, err := token.NewSigner(ed25519.NewKeyFromSeed([]byte(strings.Repeat(string(rune('a'+seed)), 32))))
	if err != nil {
		t.Fatal(err)
	}
	return s.Key()
}

// An issuer serves a pool's two documents, and misbehaves as it is told.
type issuer struct {
	server *httptest.Server
	asked  atomic.Int64 // for either document
	calls  atomic.Int64 // of the JWK set

	mu        sync.Mutex // guards what is below
	keys      []*token.Key
	down      bool
	cache     string
	discovery string // instead of the true one
	jwks      string // instead of the true one
	hold      chan struct{}
}

func newIssuer(t testing.TB, keys ...*token.Key) *issuer {
	i := &issuer{keys: keys}
	i.server = httptest.NewTLSServer(http.HandlerFunc(i.serve))
	t.Cleanup(i.server.Close)
	return i
}

func (i *issuer) name() string { return i.server.URL + "/pools/demo" }

func (i *issuer) set(change func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	change()
}

func (i *issuer) serve(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	down, cache, discovery, jwks, hold := i.down, i.cache, i.discovery, i.jwks, i.hold
	keys := i.keys
	i.mu.Unlock()
	i.asked.Add(1)
	isKeys := r.URL.Path == "/pools/demo/.well-known/jwks.json"
	if isKeys {
		i.calls.Add(1)
	}
	if hold != nil {
		<-hold
	}
	switch {
	case down:
		http.Error(w, "down", http.StatusBadGateway)
	case r.URL.Path == "/pools/demo/.well-known/openid-configuration" && discovery != "":
		fmt.Fprint(w, discovery)
	case r.URL.Path == "/pools/demo/.well-known/openid-configuration":
		fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, i.name(), i.name()+"/.well-known/jwks.json")
	case isKeys && jwks != "":
		fmt.Fprint(w, jwks)
	case isKeys:
		w.Header().Set("Cache-Control", cache)
		w.Write(token.MarshalJWKS(keys))
	case r.URL.Path == "/elsewhere":
		http.Redirect(w, r, i.name()+"/.well-known/jwks.json", http.StatusFound)
	default:
		http.NotFound(w, r)
	}
}

// A clock is turned by hand.
type clock struct{ now atomic.Int64 }

func newClock() *clock { c := new(clock); c.now.Store(1800000000); return c }

func (c *clock) Now() time.Time          { return time.Unix(c.now.Load(), 0) }
func (c *clock) advance(d time.Duration) { c.now.Add(int64(d / time.Second)) }

func newSource(t testing.TB, i *issuer, c *clock) *remote.Source {
	t.Helper()
	s, err := remote.New(remote.Config{Issuer: i.name(), Client: i.server.Client(), Now: c.Now, MaxStale: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// eventually waits for a refresh in the background.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 5000 {
		if ok() {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatal("never happened: " + what)
}

func TestKey(t *testing.T) {
	k := newKey(t, 0)
	i := newIssuer(t, k)
	s := newSource(t, i, newClock())
	for _, kid := range [][]byte{[]byte(k.KID()), k.COSEKID()} {
		got, err := s.Key(t.Context(), kid)
		if err != nil || !got.Equal(k) {
			t.Fatalf("kid %x: %v", kid, err)
		}
	}
	if n := i.calls.Load(); n != 1 {
		t.Errorf("%d fetches, want 1", n)
	}
}

// TestNoStampede: a thousand callers cause one fetch, before the first keys and
// for unknown ids afterwards; a patient caller outlives an impatient one.
func TestNoStampede(t *testing.T) {
	k := newKey(t, 0)
	i := newIssuer(t, k)
	c := newClock()
	s := newSource(t, i, c)
	hold := make(chan struct{})
	i.set(func() { i.hold = hold })

	hurried, cancel := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() { _, err := s.Key(hurried, k.COSEKID()); first <- err }()
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Fatalf("the hurried caller: %v, want context.Canceled", err)
	}
	var wg sync.WaitGroup
	for range 1000 {
		wg.Go(func() {
			if _, err := s.Key(t.Context(), k.COSEKID()); err != nil {
				t.Error(err)
			}
		})
	}
	time.Sleep(10 * time.Millisecond) // only makes the race likelier; the outcome does not depend on it
	close(hold)
	wg.Wait()
	if n := i.calls.Load(); n != 1 {
		t.Fatalf("%d fetches, want 1", n)
	}
	c.advance(remote.DefaultMinInterval)
	for n := range 1000 {
		wg.Go(func() {
			if _, err := s.Key(t.Context(), fmt.Append(nil, n)); !errors.Is(err, verify.ErrUnknownKey) {
				t.Errorf("%v, want ErrUnknownKey", err)
			}
		})
	}
	wg.Wait()
	if n := i.calls.Load(); n < 2 || n > 1+5 {
		t.Errorf("%d fetches, want 2 to 6", n)
	}
}

// TestLateToTheFlight: who saw a fetch under way and comes when it has landed, with the key
// that he wants, causes no other.
func TestLateToTheFlight(t *testing.T) {
	k := newKey(t, 0)
	i := newIssuer(t, k)
	s := newSource(t, i, newClock())
	hold := make(chan struct{})
	i.set(func() { i.hold = hold })
	first := make(chan error, 1)
	go func() { _, err := s.Key(t.Context(), k.COSEKID()); first <- err }()
	eventually(t, "a fetch", func() bool { return i.asked.Load() > 0 })
	late := s.Look(t.Context(), k.COSEKID())
	close(hold)
	if err := <-first; err != nil {
		t.Fatal(err)
	}
	if err := late(); err != nil {
		t.Fatal(err)
	}
	if n := i.calls.Load(); n != 1 {
		t.Errorf("%d fetches, want 1", n)
	}
}

func TestRotation(t *testing.T) {
	old, next := newKey(t, 0), newKey(t, 1)
	i, c := newIssuer(t, old), newClock()
	s := newSource(t, i, c)
	if _, err := s.Key(t.Context(), old.COSEKID()); err != nil {
		t.Fatal(err)
	}
	i.set(func() { i.keys = []*token.Key{old, next} })
	if _, err := s.Key(t.Context(), next.COSEKID()); err != nil {
		t.Errorf("a new key, at once: %v", err)
	}
	i.set(func() { i.keys = []*token.Key{next} })
	c.advance(remote.DefaultLifetime)
	if _, err := s.Key(t.Context(), next.COSEKID()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the old key goes", func() bool {
		_, err := s.Key(t.Context(), old.COSEKID())
		return errors.Is(err, verify.ErrUnknownKey)
	})
}

// TestRotationInAFlood: while somebody sends forged ids without end, a key that the issuer
// rotates to is known within a tenth of MinInterval, and the issuer is not called more often
// than that; the same forged id again and again costs one call in MinInterval.
func TestRotationInAFlood(t *testing.T) {
	old := newKey(t, 0)
	i, c := newIssuer(t, old), newClock()
	s := newSource(t, i, c)
	known := func(k *token.Key) bool {
		_, err := s.Key(t.Context(), k.COSEKID())
		return err == nil
	}
	if !known(old) {
		t.Fatal("no keys")
	}
	forged := 0
	flood := func(n int) {
		for range n {
			forged++
			if _, err := s.Key(t.Context(), fmt.Append(nil, "forged ", forged)); !errors.Is(err, verify.ErrUnknownKey) {
				t.Fatal(err)
			}
		}
	}
	flood(3000) // more than are remembered
	if n := i.calls.Load(); n > 1+5 {
		t.Fatalf("%d calls at once, want at most 6", n)
	}
	for round := byte(1); round <= 5; round++ {
		before, next := i.calls.Load(), newKey(t, round)
		i.set(func() { i.keys = append(i.keys, next) })
		c.advance(remote.DefaultMinInterval / 10)
		flood(100)
		if !known(next) {
			t.Errorf("round %d: the new key is not known", round)
		}
		if n := i.calls.Load() - before; n > 2 {
			t.Errorf("round %d: %d calls", round, n)
		}
	}
	c.advance(remote.DefaultMinInterval)
	before := i.calls.Load()
	for range 10 {
		c.advance(remote.DefaultMinInterval / 20)
		for range 100 {
			if _, err := s.Key(t.Context(), []byte("one")); !errors.Is(err, verify.ErrUnknownKey) {
				t.Fatal(err)
			}
		}
	}
	if n := i.calls.Load() - before; n != 1 {
		t.Errorf("one forged id caused %d calls, want 1", n)
	}
	// Nobody floods: a key that comes is known at once, however often.
	c.advance(remote.DefaultMinInterval)
	for round := byte(6); round < 20; round++ {
		next := newKey(t, round)
		i.set(func() { i.keys = append(i.keys, next) })
		if !known(next) {
			t.Errorf("round %d: the new key is not known at once", round)
		}
	}
}

func TestOutage(t *testing.T) {
	k := newKey(t, 0)
	i, c := newIssuer(t, k), newClock()
	s := newSource(t, i, c)
	i.set(func() { i.down = true })
	if _, err := s.Key(t.Context(), k.COSEKID()); !errors.Is(err, remote.ErrUnavailable) {
		t.Fatalf("down from the start: %v, want ErrUnavailable", err)
	}
	i.set(func() { i.down = false })
	c.advance(remote.DefaultMinInterval)
	if _, err := s.Key(t.Context(), k.COSEKID()); err != nil {
		t.Fatal(err)
	}
	i.set(func() { i.down = true })
	for range 12 {
		c.advance(5 * time.Minute)
		if _, err := s.Key(t.Context(), k.COSEKID()); err != nil {
			t.Fatalf("in the outage: %v", err)
		}
	}
	c.advance(10 * time.Minute)
	if _, err := s.Key(t.Context(), k.COSEKID()); !errors.Is(err, remote.ErrUnavailable) {
		t.Errorf("after MaxStale: %v, want ErrUnavailable", err)
	}
	i.set(func() { i.down = false })
	c.advance(remote.DefaultMinInterval)
	eventually(t, "keys are back", func() bool { _, err := s.Key(t.Context(), k.COSEKID()); return err == nil })
}

func TestCacheControl(t *testing.T) {
	for header, want := range map[string]time.Duration{
		"":                        remote.DefaultLifetime,
		"public, max-age=600":     10 * time.Minute,
		"max-age=\"600\"":         10 * time.Minute,
		"max-age=1":               10 * time.Second,
		"max-age=99999999":        24 * time.Hour,
		"max-age=x":               remote.DefaultLifetime,
		"no-store":                10 * time.Second,
		"max-age=600, No-Cache":   10 * time.Second,
		"stale-if-error=86400, ,": remote.DefaultLifetime,
	} {
		t.Run(header, func(t *testing.T) {
			k := newKey(t, 0)
			i, c := newIssuer(t, k), newClock()
			i.set(func() { i.cache = header })
			s, err := remote.New(remote.Config{Issuer: i.name(), Client: i.server.Client(), Now: c.Now, MinInterval: time.Second})
			if err != nil {
				t.Fatal(err)
			}
			get := func() {
				if _, err := s.Key(t.Context(), k.COSEKID()); err != nil {
					t.Fatal(err)
				}
			}
			get()
			c.advance(want - time.Second)
			get()
			if n := i.calls.Load(); n != 1 {
				t.Fatalf("%d fetches within %s, want 1", n, want)
			}
			c.advance(time.Second)
			get()
			eventually(t, "a refresh", func() bool { return i.calls.Load() == 2 })
		})
	}
}

func TestBadDocuments(t *testing.T) {
	k := newKey(t, 0)
	for name, spoil := range map[string]func(*issuer){
		"other issuer": func(i *issuer) {
			i.discovery = `{"issuer":"https://evil.example","jwks_uri":"` + i.name() + `/.well-known/jwks.json"}`
		},
		"issuer twice":   func(i *issuer) { i.discovery = `{"issuer":"x","issuer":"` + i.name() + `"}` },
		"plain jwks_uri": func(i *issuer) { i.discovery = fmt.Sprintf(`{"issuer":%q,"jwks_uri":"http://x.example/"}`, i.name()) },
		"file jwks_uri":  func(i *issuer) { i.discovery = fmt.Sprintf(`{"issuer":%q,"jwks_uri":"file:///etc/passwd"}`, i.name()) },
		"no jwks_uri":    func(i *issuer) { i.discovery = fmt.Sprintf(`{"issuer":%q}`, i.name()) },
		"redirect": func(i *issuer) {
			i.discovery = fmt.Sprintf(`{"issuer":%q,"jwks_uri":%q}`, i.name(), i.server.URL+"/elsewhere")
		},
		"not JSON":      func(i *issuer) { i.discovery = "<html>" },
		"huge document": func(i *issuer) { i.discovery = strings.Repeat(" ", 1<<20) },
		"no keys":       func(i *issuer) { i.jwks = `{"keys":[]}` },
		"keys not JSON": func(i *issuer) { i.jwks = `{"keys":` },
		"private key":   func(i *issuer) { i.jwks = `{"keys":[{"kty":"OKP","crv":"Ed25519","d":"AA","x":"AA"}]}` },
		"huge set":      func(i *issuer) { i.jwks = `{"keys":[` + strings.Repeat(" ", 1<<20) + `]}` },
	} {
		t.Run(name, func(t *testing.T) {
			i := newIssuer(t, k)
			i.set(func() { spoil(i) })
			if _, err := newSource(t, i, newClock()).Key(t.Context(), k.COSEKID()); !errors.Is(err, remote.ErrUnavailable) {
				t.Errorf("%v, want ErrUnavailable", err)
			}
		})
	}
}

// TestBadSetKeepsGood: a spoilt answer is an outage, not a revocation.
func TestBadSetKeepsGood(t *testing.T) {
	k := newKey(t, 0)
	i, c := newIssuer(t, k), newClock()
	s := newSource(t, i, c)
	if _, err := s.Key(t.Context(), k.COSEKID()); err != nil {
		t.Fatal(err)
	}
	i.set(func() { i.jwks = `{"keys":[]}` })
	c.advance(remote.DefaultLifetime)
	if _, err := s.Key(t.Context(), []byte("unknown")); !errors.Is(err, verify.ErrUnknownKey) {
		t.Errorf("%v, want ErrUnknownKey", err)
	}
	if _, err := s.Key(t.Context(), k.COSEKID()); err != nil {
		t.Error(err)
	}
}

func TestTimeout(t *testing.T) {
	i := newIssuer(t, newKey(t, 0))
	hold := make(chan struct{})
	defer close(hold)
	i.set(func() { i.hold = hold })
	s, err := remote.New(remote.Config{Issuer: i.name(), Client: i.server.Client(), Timeout: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Key(t.Context(), []byte("x")); !errors.Is(err, remote.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, want ErrUnavailable by deadline", err)
	}
}

func TestNewRefuses(t *testing.T) {
	for _, issuer := range []string{"", "x", "http://signet.example/pools/demo", "https://", "https://a:b@signet.example", "https://signet.example/?x", "https://signet.example/#x", "https://[::1"} {
		if _, err := remote.New(remote.Config{Issuer: issuer}); err == nil {
			t.Errorf("issuer %q: no error", issuer)
		}
	}
	if _, err := remote.New(remote.Config{Issuer: "https://signet.example", MaxStale: -1}); err == nil {
		t.Error("negative MaxStale: no error")
	}
}
