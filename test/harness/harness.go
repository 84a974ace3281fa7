// Package harness puts a whole Signet together in one process, without a network:
// real store, real keys, real agent, and a link that is a function call.
//
// It is for tests and benchmarks only.
package harness

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"net/url"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/access"
	"github.com/signetd/signet/broker/atrest"
	"github.com/signetd/signet/broker/boltstore"
	"github.com/signetd/signet/broker/control"
	"github.com/signetd/signet/broker/core"
	"github.com/signetd/signet/broker/exchange"
	"github.com/signetd/signet/broker/keyring"
	"github.com/signetd/signet/broker/proof"
	"github.com/signetd/signet/broker/tail"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/challenge"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/ident/identtest"
	"github.com/signetd/signet/protocol/token"
)

// A Signet is a broker in this process.
type Signet struct {
	Store    *boltstore.Store
	Control  *control.Plane
	Exchange *exchange.Responder
	Keys     *keyring.Keys
	Access   *access.Rule
	Tail     *tail.Follower
	Pool     ident.Pool
	// Offset is added to the broker's clock.
	Offset time.Duration

	parts   core.Parts
	core    *core.Core
	stop    context.CancelFunc
	running sync.WaitGroup
}

// New makes a Signet with a pool "demo" in t's temporary folder. It logs nothing.
func New(t testing.TB) *Signet { return NewLogging(t, slog.DiscardHandler) }

// NewLogging makes one that logs to h.
func NewLogging(t testing.TB, h slog.Handler) *Signet {
	t.Helper()
	s, err := Open(t.Context(), t.TempDir(), slog.New(h))
	if err != nil {
		t.Fatal(err)
	}
	s.endsWith(t)
	return s
}

// endsWith closes s when the test ends.
func (s *Signet) endsWith(t testing.TB) {
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

// Second makes another broker of the same cluster, on a handle of its own: it knows of
// the first what a replica on another machine would. Its clock's Offset is its own.
func (s *Signet) Second(t testing.TB) *Signet {
	t.Helper()
	h, err := s.Store.Handle(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s.on(t, h)
}

// Restored makes a broker of the same secrets on a backup of the store, with a new epoch, as
// restoring it would.
func (s *Signet) Restored(t testing.TB, file string) *Signet {
	t.Helper()
	h, err := boltstore.Open(t.Context(), file, boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	was, err := h.Epoch(t.Context())
	if err == nil {
		err = h.RaiseEpoch(t.Context(), broker.By{Actor: broker.ActorLocal}, was+1)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s.on(t, h)
}

// on makes a broker like s on another handle.
func (s *Signet) on(t testing.TB, h *boltstore.Store) *Signet {
	t.Helper()
	two := &Signet{Store: h, Pool: s.Pool, parts: s.parts}
	two.parts.Store, two.parts.Now = h, two.now
	if err := two.assemble(t.Context()); err != nil {
		t.Fatal(err)
	}
	two.run()
	two.endsWith(t)
	return two
}

// Rotate has the pool sign with a new key of that algorithm, and waits until the
// broker's parts have heard of it.
func (s *Signet) Rotate(t testing.TB, alg token.Alg) {
	t.Helper()
	made, err := s.Control.RotateKey(t.Context(), broker.By{Actor: broker.ActorLocal}, s.Pool, alg, true)
	if err != nil {
		t.Fatal(err)
	}
	s.Hears(t, made.ID)
}

// Hears waits until the broker signs with a key.
func (s *Signet) Hears(t testing.TB, key string) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		ring, err := s.Keys.Ring(t.Context(), s.Pool)
		if err == nil && ring.Signer.Key().KID() == key {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the new key is not heard of: %v", err)
		}
	}
}

// run runs what goes on beside the calls, until Close.
func (s *Signet) run() {
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.running.Go(func() { s.core.Run(ctx) })
}

// Close ends the broker.
func (s *Signet) Close() error {
	s.stop()
	s.running.Wait()
	s.core.Close()
	return errors.Join(s.Store.CheckShared(context.Background()), s.Store.Close())
}

// Open makes a Signet without a test: it keeps its files in dir, and whoever opens it
// closes it.
func Open(ctx context.Context, dir string, log *slog.Logger) (*Signet, error) {
	s := &Signet{}
	kek, err := atrest.LoadOrCreate(filepath.Join(dir, "kek"))
	if err != nil {
		return nil, err
	}
	if s.Store, err = boltstore.Open(ctx, filepath.Join(dir, "signet.db"), boltstore.Options{}); err != nil {
		return nil, err
	}
	s.parts = core.Parts{
		Pace:  exchange.Pace{PerSecond: -1}, // tests do in seconds what devices do in days
		Store: s.Store, Sealer: kek, Issuer: "https://signet.example", HookNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		Now: s.now, Log: log,
	}
	if err := s.assemble(ctx); err != nil {
		return nil, err
	}
	if s.Pool, err = ident.ParsePool("demo"); err != nil {
		return nil, err
	}
	s.run()
	_, err = s.Control.CreatePool(ctx, broker.By{Actor: broker.ActorLocal}, s.Pool)
	return s, err
}

func (s *Signet) assemble(ctx context.Context) error {
	c, err := s.Replica(ctx)
	if err != nil {
		return err
	}
	s.core, s.Exchange, s.Control, s.Access, s.Keys, s.Tail = c, c.Exchange, c.Control, c.Access, c.Keys, c.Tail
	return nil
}

func (s *Signet) now() time.Time { return time.Now().Add(s.Offset) }

// Paced makes another broker of the same cluster that bounds what one device is granted.
func (s *Signet) Paced(t testing.TB, p exchange.Pace) *exchange.Responder {
	t.Helper()
	parts := s.parts
	parts.Pace = p
	c, err := core.New(t.Context(), parts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c.Exchange
}

// Replica makes another broker of the same cluster: it shares the store and the key
// that secrets are sealed under with the others, and nothing else.
func (s *Signet) Replica(ctx context.Context) (*core.Core, error) { return core.New(ctx, s.parts) }

// Token makes an enrollment token.
func (s *Signet) Token(t testing.TB, uses int) *protocol.EnrollToken {
	t.Helper()
	_, text, err := s.Control.CreateEnrollToken(t.Context(), broker.By{Actor: broker.ActorLocal}, control.NewEnrollToken{Pool: s.Pool, Uses: uses, Life: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	tok, err := protocol.ParseEnrollToken(text)
	if err != nil {
		t.Fatal(err)
	}
	return &tok
}

// Codes makes a generator of one-time codes for a device and gives its codes, by steps from now.
func (s *Signet) Codes(t testing.TB, id ident.Device, params map[string]string, replace bool) func(step int) string {
	t.Helper()
	_, uri, err := s.Control.MakeAuthenticator(t.Context(), broker.By{Actor: broker.ActorLocal}, id, challenge.TOTP, params, replace)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(uri)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(u.Query().Get("secret"))
	if err != nil {
		t.Fatal(err)
	}
	g := &proof.Generator{Secret: secret, Algorithm: u.Query().Get("algorithm"), Digits: 6}
	return func(step int) string {
		return g.Code(uint64(int(s.now().Unix()/proof.TOTPPeriod) + step))
	}
}

// Pin is the thumbprint of the pool's anchor, as a device may have it beforehand.
func (s *Signet) Pin(t testing.TB) []byte {
	t.Helper()
	p, err := s.Control.Pool(t.Context(), s.Pool)
	if err != nil {
		t.Fatal(err)
	}
	anchor, err := control.Anchor(p)
	if err != nil {
		t.Fatal(err)
	}
	sum := anchor.Thumbprint()
	return sum[:]
}

// Name gives the full name of a device in the pool.
func (s *Signet) Name(t testing.TB, name string) ident.Device {
	t.Helper()
	return ident.Device{Pool: s.Pool, Name: identtest.Name(t, name)}
}

// RoundTrip makes the Signet an agent.Link: a function call in place of a network.
func (s *Signet) RoundTrip(ctx context.Context, request []byte) ([]byte, error) {
	r := s.Exchange.Respond(ctx, exchange.Caller{}, request)
	if r.Message == nil {
		return nil, fmt.Errorf("no answer: %w", io.ErrUnexpectedEOF)
	}
	return r.Message, nil
}

// Key is an agent.Prover with a key in memory.
type Key struct{ signer *token.Signer }

// NewP256 and NewEd25519 make a device's key.
func NewP256(t testing.TB) Key {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := token.NewSigner(k)
	if err != nil {
		t.Fatal(err)
	}
	return Key{s}
}

// NewEd25519 makes an Ed25519 key.
func NewEd25519(t testing.TB) Key {
	t.Helper()
	_, k, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := token.NewSigner(k)
	if err != nil {
		t.Fatal(err)
	}
	return Key{s}
}

// KeyOf is a device's key that signs as s does.
func KeyOf(s *token.Signer) Key { return Key{s} }

// Registered is the authenticator of a device with that COSE_Key.
func Registered(t testing.TB, cose []byte) broker.Authenticator {
	t.Helper()
	k, err := token.ParseCOSEKey(cose)
	if err != nil {
		t.Fatal(err)
	}
	return broker.Authenticator{ID: k.Thumbprint(), Kind: challenge.Key, Key: k.MarshalCOSE(), Added: time.Now()}
}

// Kind is "key".
func (k Key) Kind() string { return challenge.Key }

// PublicKey is the COSE_Key.
func (k Key) PublicKey() []byte { return k.signer.Key().MarshalCOSE() }

// Prove signs.
func (k Key) Prove(input []byte) ([]byte, error) { return k.signer.Sign(input) }

// Shared is an agent.Prover with a shared key.
type Shared []byte

// Kind is "psk".
func (Shared) Kind() string { return challenge.PSK }

// PublicKey is nil: there is none.
func (Shared) PublicKey() []byte { return nil }

// Prove MACs.
func (s Shared) Prove(input []byte) ([]byte, error) {
	mac := hmac.New(sha256.New, s)
	mac.Write(input)
	return mac.Sum(nil), nil
}
