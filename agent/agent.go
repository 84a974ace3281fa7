package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/signetd/signet/agent/proof"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/ident"
)

// A Link carries one message to the broker and one back.
type Link interface {
	// RoundTrip sends request and returns the reply with the same call id. It
	// repeats the request as it sees fit. The reply may be anyone's: it is
	// checked here. RoundTrip is not called twice at the same time for one call.
	RoundTrip(ctx context.Context, request []byte) (reply []byte, err error)
}

// A Listener is a Link that can wait for another reply without asking again.
type Listener interface {
	// Listen is RoundTrip for a request that RoundTrip has sent: a reply to it came
	// that was not the one waited for. It repeats the request only after a while.
	Listen(ctx context.Context, request []byte) (reply []byte, err error)
}

// A Bound is a Link that can name the TLS connection that it runs on. The device
// says that name under its signature; a broker that sees the same name on its end
// knows that nobody relays, and lets the device use the connection as its own.
type Bound interface {
	// End tells of the link's TLS connection. It is asked for each call anew.
	End() End
}

// An End is the other end of a TLS connection, as the device knows it.
type End struct {
	Channel []byte // names the connection (package channel), 32 bytes; nil if it has no name
	// Server names, in 32 bytes, whom the certificate shows to be at the other end: the
	// key of the certificate, or of who signed it if he signs for the broker alone. nil if
	// no certificate was checked.
	Server []byte
}

// A Doubtful is a Connection that may be in doubt: what shows that the broker is at its
// other end has ended by the time that the device heard last (Agent.Floor), though not by
// any that has certainly passed. Either it is old, or the broker's clock was wrong when it told the
// time. The device asks for fresh tokens on it, which are proof of their own and tell the
// time anew, and for nothing else while there is doubt.
type Doubtful interface {
	// Doubt says why, nil if there is none. It is asked again after each grant.
	Doubt() error
}

// A Prover holds the device's secret and proves possession of it.
type Prover = proof.Prover

// A Solver answers challenges that are no proofs, such as one-time codes and those of
// an operator's hooks.
type Solver = proof.Solver

// A FlowError says that the flow of the device's client asks for a secret that this device
// has not. It wraps ErrUnexpected.
type FlowError = proof.FlowError

// Errors of this package. Refusals by the broker are *protocol.Refusal.
var (
	// ErrGrant is wrapped when a grant is not the real broker's for this call, or when
	// nothing shows that a secret answer would go to the real broker.
	ErrGrant = errors.New("grant not acceptable")
	// ErrAnchor is wrapped, beside ErrGrant, when another anchor than the pinned one
	// stands behind a grant: somebody is in between, or the pool got another anchor
	// without the old one's word.
	ErrAnchor = errors.New("the anchor is not the pinned one")
	// ErrOlder is wrapped, with ErrGrant, when the broker's keys are older than those that
	// the device knows: an older copy of its data was put back, or a thief has old keys of it.
	ErrOlder = errors.New("its key statement is older than the one stored")
	// ErrUnexpected is wrapped when a reply makes no sense at this point.
	ErrUnexpected = proof.ErrUnexpected
	// ErrNoAnchor says that nothing tells the real broker from another.
	ErrNoAnchor = errors.New("no anchor is pinned")
	// ErrNoSession says that there is no refresh token to use.
	ErrNoSession = errors.New("no session to refresh")
	// ErrNoSolver says that a challenge came that is no proof, and nobody is there to answer it.
	ErrNoSolver = proof.ErrNoSolver
	// ErrOtherSecret is wrapped, with the broker's refusal, when the device's key is not the
	// one that the broker let it in with last: one of the two, key or state, is of another
	// device, or an operator gave the device another key here and not at the broker.
	ErrOtherSecret = errors.New("the device's key is not the one that it was let in with")
	// ErrOtherDevice says that the state belongs to another device.
	ErrOtherDevice = errors.New("state belongs to another device")
)

// A Config says who the device is and what it stands on.
type Config struct {
	Device ident.Device
	Client string // "" for the pool's default client
	Prover Prover
	State  State
	Solver Solver // nil: challenges that are no proofs fail
	// Patience is how long the Solver may take, beside what a call in Run may take
	// otherwise: somebody may have to fetch the answer. The broker's is 3 minutes.
	Patience time.Duration
	Format   protocol.Format // of access tokens when nothing else is asked for
	// Pin is the start (at least 16 bytes) of the RFC 9679 thumbprint of the
	// pool's anchor, if it is known beforehand. An enrollment token brings its own.
	Pin []byte
	// Built is a time that has certainly passed, such as the program's build time.
	Built  time.Time
	Clock  func() time.Time // nil: time.Now; used for what has elapsed, never believed
	Random io.Reader        // nil: crypto/rand
	Log    *slog.Logger     // nil: nothing is logged
}

// An Agent is one device. It is safe for concurrent use; calls to the broker
// happen one after another, because each may replace the refresh token.
type Agent struct {
	cfg     Config
	methods *proof.Methods
	mark    []byte     // of its secret: see Record.Fits
	calling sync.Mutex // held during a call to the broker

	mu      sync.Mutex // protects the fields below
	record  Record
	current *Tokens // the last ones that were asked for without special demands
	signed  signedTime
	newer   []byte // the key statement stored, while the broker comes with older ones
	status  Status
	// brokers are the ends at which the broker itself was heard, newest first (End.Server).
	brokers [][]byte
}

// New loads the device's state. It fails with ErrOtherDevice if that is another device's.
func New(ctx context.Context, cfg Config) (*Agent, error) {
	if cfg.Device.IsZero() || cfg.Prover == nil || cfg.State == nil {
		return nil, errors.New("agent: device, prover and state are required")
	}
	if cfg.Pin != nil && len(cfg.Pin) < protocol.PinLen {
		return nil, fmt.Errorf("agent: anchor pin of %d bytes, want at least %d", len(cfg.Pin), protocol.PinLen)
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Random == nil {
		cfg.Random = rand.Reader
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	r, err := cfg.State.Load(ctx)
	if err != nil {
		return nil, fmt.Errorf("load state: %w", err)
	}
	r.Device = ident.Device{Pool: r.Pool, Name: r.Name}
	if !r.Device.IsZero() && r.Device != cfg.Device {
		return nil, fmt.Errorf("%w: %s, not %s", ErrOtherDevice, r.Device, cfg.Device)
	}
	r.Device, r.Pool, r.Name = cfg.Device, cfg.Device.Pool, cfg.Device.Name
	if r.Pin == nil {
		r.Pin = cfg.Pin
	}
	return &Agent{cfg: cfg, methods: proof.New(cfg.Prover, cfg.Solver), mark: secretMark(cfg.Prover), record: r, status: Status{Phase: PhaseStarting}}, nil
}

// Enrolled reports whether the broker has accepted this device before.
func (a *Agent) Enrolled() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.record.Enrolled
}

// Device gives the device's name.
func (a *Agent) Device() ident.Device { return a.cfg.Device }

// Tokens are what the device holds after an authentication, checked.
type Tokens struct {
	Access    []byte // access token: a CWT, or a JWT's text
	ID        []byte // ID token: a CWT
	IDJWT     []byte // the same as a JWT's text, not checked here; only with FormatJWT
	Format    protocol.Format
	Subject   ident.UUID    // the device's own id, which never changes
	Issuer    string        // the pool's URL
	Session   ident.UUID    // that refreshes continue
	Publish   []string      // MQTT filters that the device may publish to
	Subscribe []string      // and subscribe
	Life      time.Duration // of the access token, from arrival
	Arrived   time.Time     // by the local clock: compare it with the same clock only
	Signed    time.Time     // when it was made, by the broker's clock
}

// Left is how long the access token is still good, counted on the monotonic clock.
func (t *Tokens) Left(now time.Time) time.Duration { return t.Life - now.Sub(t.Arrived) }

// Current gives the tokens in use, nil before the first and after a refusal.
func (a *Agent) Current() *Tokens {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.current
}
