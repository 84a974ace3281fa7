package agent

import (
	"context"
	"crypto/ecdh"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/signetd/signet/agent/proof"
	"github.com/signetd/signet/protocol"
)

const (
	maxRounds  = 16 // challenges and repeated answers in one call, so that no broker keeps a device busy for ever
	freshCalls = 3  // calls that one Authenticate makes when sessions expire or answers get lost
	maxLate    = 16 // late messages that one request waits through
	maxHeard   = 64 // messages of one call that are remembered
	maxStrays  = 4  // challenges of the first kind that are taken for late ones

	overtaking = 2 * time.Second // that a grant may come after the refusal of its answer's copy
)

// An Ask is what a caller wants of a token that is not as usual. The zero Ask gets a
// token for the pool.
type Ask struct {
	Audience string            // whom the token is for; "": the pool
	Scope    string            // what it is to allow; no client has scopes yet, so any is refused
	Format   *protocol.Format  // nil: the agent's
	Metadata map[string]string // for the broker's hooks
	// MQTTPassword asks for an MQTT password in the access token's place, for a program
	// that cannot prove anything itself. It has an audience of its own, and is a secret.
	MQTTPassword bool
}

func (k Ask) usual() bool {
	return k.Audience == "" && k.Scope == "" && k.Format == nil && k.Metadata == nil && !k.MQTTPassword
}

// An Admission admits a device that the broker does not know yet.
type Admission struct {
	Token      *protocol.EnrollToken // nil if the broker knows the device's key already
	Attributes map[string]string     // what the device says of itself: printable ASCII, values of at most 256 bytes
	// Pin is the start (at least 16 bytes) of the thumbprint of the anchor to believe from
	// now on. It is an operator's word, and the only one that makes a device forget: it goes
	// before the token's pin and before the anchor and key statement that are stored, so an
	// anchor that was lost or stolen, or keys that were lost with the broker's data, are left
	// behind by it. nil: what is stored or configured, to which the token's pin must lead as
	// well; the token's alone decides for a device that believes no anchor yet.
	Pin []byte
}

// applyTo has a call that enrolls ask for everything anew, and says which anchor it may believe.
func (v *Admission) applyTo(c *call, w *protocol.Request) {
	w.Statement = nil
	switch {
	case v.Pin != nil:
		c.pin, c.forgets, w.Newer = v.Pin, true, nil
		c.record.Anchor, c.record.Statement = nil, nil
	case v.Token == nil:
	case len(c.pin) == 0:
		c.pin = v.Token.Pin()
	default:
		c.tokenPin = v.Token.Pin()
	}
}

// call is one logical call: its names, its ephemeral key and what was said so far.
type call struct {
	id         protocol.CallID
	nonce      []byte
	ephemeral  *ecdh.PrivateKey
	format     protocol.Format
	transcript protocol.Transcript // of what was said so far
	issuer     string              // as the challenges name it; "" before the first
	pin        []byte              // which anchor to believe
	tokenPin   []byte              // of an enrollment token, which must lead to the same one; nil: none
	forgets    bool                // which anchor and keys the device believed: an operator says so
	enrolling  *Admission
	opening    []byte // what answers repeat of the opening message
	methods    *proof.Methods
	record     Record
	usual      bool
	end        End                 // of the connection that it is said on
	heard      [][sha256.Size]byte // replies
	proofs     int                 // challenges for the device's own secret, late ones too
}

func (a *Agent) newCall(link Link, ask Ask) (*call, protocol.Request, error) {
	c := &call{methods: a.methods, nonce: make([]byte, protocol.NonceLen), format: a.cfg.Format, record: a.snapshot(), usual: ask.usual()}
	if ask.Format != nil {
		c.format = *ask.Format
	}
	c.pin = c.record.Pin
	if _, err := io.ReadFull(a.cfg.Random, c.id[:]); err != nil {
		return nil, protocol.Request{}, fmt.Errorf("random call id: %w", err)
	}
	if _, err := io.ReadFull(a.cfg.Random, c.nonce); err != nil {
		return nil, protocol.Request{}, fmt.Errorf("random nonce: %w", err)
	}
	key, err := ecdh.X25519().GenerateKey(a.cfg.Random)
	if err != nil {
		return nil, protocol.Request{}, fmt.Errorf("ephemeral key: %w", err)
	}
	c.ephemeral = key
	w := protocol.Request{
		Pool: a.cfg.Device.Pool, Name: a.cfg.Device.Name, Client: a.cfg.Client, Nonce: c.nonce,
		SealTo: key.PublicKey().Bytes(), Format: c.format, Audience: ask.Audience, Scope: ask.Scope, Metadata: ask.Metadata,
	}
	a.mu.Lock()
	if len(a.newer) <= protocol.MaxNewer {
		w.Newer = a.newer
	}
	a.mu.Unlock()
	if b, ok := link.(Bound); ok {
		c.end = b.End()
		w.Channel = c.end.Channel
	}
	if ask.MQTTPassword {
		w.Want = protocol.WantMQTTPassword
	}
	if s := c.record.Statement; s != nil {
		w.Statement = protocol.StatementID(s)
	}
	if s := c.record.Session; !s.IsZero() {
		w.Last = s[:]
	}
	return c, w, nil
}

// Enroll makes the device known to the broker with its own key, and gets its first
// tokens. It may be repeated with the same key. Errors wrap *protocol.Refusal,
// ErrNoAnchor, ErrGrant, ErrUnexpected or what the link, prover and state said.
func (a *Agent) Enroll(ctx context.Context, link Link, v Admission) (*Tokens, error) {
	if v.Pin != nil && len(v.Pin) < protocol.PinLen {
		return nil, fmt.Errorf("anchor pin of %d bytes, want at least %d", len(v.Pin), protocol.PinLen)
	}
	try := a.enroll
	if a.cfg.Prover.PublicKey() == nil {
		try = a.login // the operator has registered the shared key
	}
	a.calling.Lock()
	defer a.calling.Unlock()
	g, err := a.again(func() (*Tokens, error) { return try(ctx, link, v) })
	a.note(g, err)
	return g, err
}

func (a *Agent) enroll(ctx context.Context, link Link, v Admission) (*Tokens, error) {
	c, w, err := a.newCall(link, Ask{})
	if err != nil {
		return nil, err
	}
	v.applyTo(c, &w)
	c.enrolling = &v
	m := &protocol.Enroll{Request: w, Key: a.cfg.Prover.PublicKey(), Attributes: v.Attributes}
	if v.Token != nil {
		m.TokenID = v.Token.ID()
	}
	m.ID = c.id
	return a.converse(ctx, link, c, m)
}

// login is the enrollment of a device with a shared key.
func (a *Agent) login(ctx context.Context, link Link, v Admission) (*Tokens, error) {
	c, w, err := a.newCall(link, Ask{})
	if err != nil {
		return nil, err
	}
	v.applyTo(c, &w)
	return a.converse(ctx, link, c, &protocol.Start{Head: protocol.Head{ID: c.id}, Request: w})
}

// Authenticate gets new tokens with the device's key, in a new session. When a
// session expires on the way or an answer is lost it starts over, a few times.
// Errors are Enroll's.
func (a *Agent) Authenticate(ctx context.Context, link Link, ask Ask) (*Tokens, error) {
	a.calling.Lock()
	defer a.calling.Unlock()
	g, err := a.again(func() (*Tokens, error) { return a.authenticate(ctx, link, ask) })
	a.noteFor(ask, g, err)
	return g, err
}

func (a *Agent) authenticate(ctx context.Context, link Link, ask Ask) (*Tokens, error) {
	c, w, err := a.newCall(link, ask)
	if err != nil {
		return nil, err
	}
	return a.converse(ctx, link, c, &protocol.Start{Head: protocol.Head{ID: c.id}, Request: w})
}

// again repeats whole calls that failed only because a message was late or doubled; and
// once one whose keys were older than those that the device knows, to show those.
func (a *Agent) again(try func() (*Tokens, error)) (g *Tokens, err error) {
	shown := false
	for range freshCalls {
		g, err = try()
		a.compare(err)
		show := errors.Is(err, ErrOlder) && !shown
		if err == nil || !stale(err) && !show {
			return g, a.blame(err)
		}
		shown = shown || show
		a.cfg.Log.Debug("call went stale, starting over", "err", err)
	}
	return nil, a.blame(err)
}

// compare notes whether the broker came with older keys than the device knows.
func (a *Agent) compare(err error) {
	if errors.Is(err, ErrOlder) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.newer = a.record.Statement
	}
}

func stale(err error) bool {
	return errors.Is(err, protocol.CodeExpired) || errors.Is(err, protocol.CodeReplayed) || errors.Is(err, errOutOfStep)
}

// errOutOfStep marks an exchange that a doubled or late message has confused.
var errOutOfStep = errors.New("out of step")

// refusalIn gives what a reply refuses, nil if it doesn't.
func refusalIn(m protocol.Message) error {
	if r, ok := m.(*protocol.Refusal); ok {
		return r
	}
	return nil
}

// overtaken listens for the grant of an answer that was refused as replayed: two
// copies of it were worked on at once, and the second's refusal may come first. It
// gives the refusal if no grant comes.
func (c *call) overtaken(ctx context.Context, link Link, answer []byte, refused protocol.Message) protocol.Message {
	l, ok := link.(Listener)
	if !ok {
		return refused
	}
	ctx, cancel := context.WithTimeout(ctx, overtaking)
	defer cancel()
	for range maxLate {
		b, err := l.Listen(ctx, answer)
		if err != nil {
			break
		}
		if m, err := protocol.Decode(b); err == nil && m.Call() == c.id && m.Type() == protocol.TypeGrant {
			return m
		}
	}
	return refused
}

// exchange sends raw and decodes what comes back for the same call. It goes on
// listening while what comes is late.
func (c *call) exchange(ctx context.Context, link Link, raw []byte) (protocol.Message, error) {
	ask := link.RoundTrip
	for range maxLate {
		b, err := ask(ctx, raw)
		if err != nil {
			return nil, err
		}
		if l, ok := link.(Listener); ok {
			ask = l.Listen
		}
		m, err := protocol.Decode(b)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrUnexpected, err)
		}
		if m.Call() != c.id {
			return nil, fmt.Errorf("%w: it answers another call", ErrUnexpected)
		}
		if !c.late(b, m) {
			return m, nil
		}
	}
	return nil, fmt.Errorf("%w: %d late messages", errOutOfStep, maxLate)
}

// late reports whether a reply is one that has been heard in this call already,
// or another broker's challenge to the opening message, which a link repeats and a
// network doubles. To answer either would spoil the transcript of an exchange
// that goes well. A flow may ask for a second proof; it is believed when it insists.
func (c *call) late(raw []byte, m protocol.Message) bool {
	sum := sha256.Sum256(raw)
	if slices.Contains(c.heard, sum) {
		return true
	}
	if len(c.heard) < maxHeard {
		c.heard = append(c.heard, sum)
	}
	ch, ok := m.(*protocol.Challenge)
	if !ok {
		return false
	}
	body, err := protocol.DecodeChallengeBody(ch.Body)
	if err != nil || c.methods.For(body.Kind).Guessable() {
		return false // for others to refuse, or to answer
	}
	c.proofs++
	return c.proofs > 1 && c.proofs <= 1+maxStrays
}
