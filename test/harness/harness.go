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
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/access"
	"github.com/signetd/signet/broker/atrest"
	"github.com/signetd/signet/broker/auth"
	"github.com/signetd/signet/broker/boltstore"
	"github.com/signetd/signet/broker/control"
	"github.com/signetd/signet/broker/exchange"
	"github.com/signetd/signet/broker/hook"
	"github.com/signetd/signet/broker/hook/target"
	"github.com/signetd/signet/broker/keyring"
	"github.com/signetd/signet/broker/keyring/verifier"
	"github.com/signetd/signet/broker/mint"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/token"
)

// A Signet is a broker in this process.
type Signet struct {
	Store    *boltstore.Store
	Control  *control.Plane
	Exchange *exchange.Responder
	Keys     *keyring.Keys
	Access   *access.Rule
	Pool     ident.Pool
	// Offset is added to the broker's clock.
	Offset time.Duration

	kek    *atrest.Key
	secret []byte // the cluster's
	log    *slog.Logger
}

// New makes a Signet with a pool "demo" in t's temporary folder. It logs nothing.
func New(t testing.TB) *Signet { return NewLogging(t, slog.DiscardHandler) }

// NewLogging makes one that logs to h.
func NewLogging(t testing.TB, h slog.Handler) *Signet {
	t.Helper()
	s, err := build(t.Context(), t.TempDir(), slog.New(h))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Store.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func build(ctx context.Context, dir string, log *slog.Logger) (*Signet, error) {
	s := &Signet{log: log, secret: make([]byte, 32)}
	if _, err := rand.Read(s.secret); err != nil {
		return nil, err
	}
	var err error
	if s.kek, err = atrest.LoadOrCreate(filepath.Join(dir, "kek")); err != nil {
		return nil, err
	}
	if s.Store, err = boltstore.Open(ctx, filepath.Join(dir, "signet.db"), boltstore.Options{}); err != nil {
		return nil, err
	}
	s.Keys = keyring.New(s.Store, s.kek, s.now)
	s.Access = access.New(s.Store, verifier.New(s.Keys, s.now))
	if s.Exchange, err = s.Replica(); err != nil {
		return nil, err
	}
	s.Control, err = control.New(control.Config{
		Store: s.Store, Sealer: s.kek, Notifier: nobody{}, Issuer: "https://signet.example", HookTargets: target.New(loopback()), Now: s.now,
	})
	if err != nil {
		return nil, err
	}
	if s.Pool, err = ident.ParsePool("demo"); err != nil {
		return nil, err
	}
	_, err = s.Control.CreatePool(ctx, broker.By{Actor: broker.ActorLocal}, s.Pool)
	return s, err
}

func (s *Signet) now() time.Time { return time.Now().Add(s.Offset) }

func loopback() []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} }

// Replica makes another responder of the same cluster: it shares the store and the
// cluster's secret with the others, and nothing else but the opened signing keys.
func (s *Signet) Replica() (*exchange.Responder, error) {
	hooks := hook.New(s.Store, s.kek, loopback(), s.now)
	a, err := auth.New(auth.Config{Reads: s.Store, Secrets: s.kek, Hooks: hooks, SessionKey: s.secret, Now: s.now})
	if err != nil {
		return nil, err
	}
	m, err := mint.New(mint.Config{Clients: s.Store, Keys: s.Keys, RefreshKey: s.secret})
	if err != nil {
		return nil, err
	}
	return exchange.New(a, m, s.Store, s.log), nil
}

type nobody struct{}

func (nobody) DeviceChanged(context.Context, ident.Device, broker.Status) {}

func (nobody) SessionEnded(context.Context, ident.Device, ident.UUID) {}

// Token makes an enrolment token.
func (s *Signet) Token(t testing.TB, uses int) *protocol.EnrolToken {
	t.Helper()
	_, text, err := s.Control.CreateEnrolToken(t.Context(), broker.By{Actor: broker.ActorLocal}, control.NewEnrolToken{Pool: s.Pool, Uses: uses, Life: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	tok, err := protocol.ParseEnrolToken(text)
	if err != nil {
		t.Fatal(err)
	}
	return &tok
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
	n, err := ident.ParseName(name)
	if err != nil {
		t.Fatal(err)
	}
	return ident.Device{Pool: s.Pool, Name: n}
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

// Registered is the authenticator of a device with that COSE_Key.
func Registered(t testing.TB, cose []byte) broker.Authenticator {
	t.Helper()
	k, err := token.ParseCOSEKey(cose)
	if err != nil {
		t.Fatal(err)
	}
	return broker.Authenticator{ID: k.Thumbprint(), Kind: broker.KindKey, Key: k.MarshalCOSE(), Added: time.Now()}
}

// Kind is "key".
func (k Key) Kind() string { return protocol.KindKey }

// PublicKey is the COSE_Key.
func (k Key) PublicKey() []byte { return k.signer.Key().MarshalCOSE() }

// Prove signs.
func (k Key) Prove(input []byte) ([]byte, error) { return k.signer.Sign(input) }

// Shared is an agent.Prover with a shared key.
type Shared []byte

// Kind is "psk".
func (Shared) Kind() string { return protocol.KindPSK }

// PublicKey is nil: there is none.
func (Shared) PublicKey() []byte { return nil }

// Prove MACs.
func (s Shared) Prove(input []byte) ([]byte, error) {
	mac := hmac.New(sha256.New, s)
	mac.Write(input)
	return mac.Sum(nil), nil
}
