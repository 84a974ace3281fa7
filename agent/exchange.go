package agent

import (
	"context"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

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
}

func (k Ask) usual() bool {
	return k.Audience == "" && k.Scope == "" && k.Format == nil && k.Metadata == nil
}

// A Voucher admits a device that the broker does not know yet.
type Voucher struct {
	Token      *protocol.EnrolToken // nil if the broker knows the device's key already
	Attributes map[string]string    // what the device says of itself
}

// call is one logical call: its names, its ephemeral key and what was said so far.
type call struct {
	id        protocol.CallID
	nonce     []byte
	ephemeral *ecdh.PrivateKey
	format    protocol.Format
	said      protocol.Transcript
	issuer    string // as the challenges name it; "" before the first
	pin       []byte // which anchor to believe
	enrolling *Voucher
	opening   []byte // what answers repeat of the opening message
	record    Record
	usual     bool
	heard     [][sha256.Size]byte // replies
	proofs    int                 // challenges for the device's own secret, late ones too
}

func (a *Agent) newCall(link Link, ask Ask) (*call, protocol.Request, error) {
	c := &call{nonce: make([]byte, protocol.NonceLen), format: a.cfg.Format, record: a.snapshot(), usual: ask.usual()}
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
	if b, ok := link.(Bound); ok {
		w.Channel = b.Channel()
	}
	if s := c.record.Statement; s != nil {
		w.Statement = protocol.StatementID(s)
	}
	return c, w, nil
}

// Enrol makes the device known to the broker with its own key, and gets its first
// tokens. It may be repeated with the same key. Errors wrap *protocol.Refusal,
// ErrNoAnchor, ErrGrant, ErrUnexpected or what the link, prover and state said.
func (a *Agent) Enrol(ctx context.Context, link Link, v Voucher) (*Grant, error) {
	if a.cfg.Prover.Kind() == protocol.KindPSK {
		return a.Authenticate(ctx, link, Ask{}) // the operator has registered the shared key
	}
	a.calling.Lock()
	defer a.calling.Unlock()
	g, err := a.again(func() (*Grant, error) { return a.enrol(ctx, link, v) })
	a.note(g, err)
	return g, err
}

func (a *Agent) enrol(ctx context.Context, link Link, v Voucher) (*Grant, error) {
	c, w, err := a.newCall(link, Ask{})
	if err != nil {
		return nil, err
	}
	m := &protocol.Enrol{Request: w, Key: a.cfg.Prover.PublicKey(), Attributes: v.Attributes}
	m.Statement = nil // ask for everything anew
	c.record.Statement, c.enrolling = nil, &v
	if v.Token != nil {
		m.TokenID = v.Token.ID()
		if a.cfg.Pin == nil {
			c.pin = v.Token.Pin()
		}
	}
	m.ID = c.id
	return a.converse(ctx, link, c, m)
}

// Authenticate gets new tokens with the device's key, in a new session. When a
// session expires on the way or an answer is lost it starts over, a few times.
// Errors are Enrol's.
func (a *Agent) Authenticate(ctx context.Context, link Link, ask Ask) (*Grant, error) {
	a.calling.Lock()
	defer a.calling.Unlock()
	g, err := a.again(func() (*Grant, error) { return a.authenticate(ctx, link, ask) })
	a.noteFor(ask, g, err)
	return g, err
}

func (a *Agent) authenticate(ctx context.Context, link Link, ask Ask) (*Grant, error) {
	c, w, err := a.newCall(link, ask)
	if err != nil {
		return nil, err
	}
	return a.converse(ctx, link, c, &protocol.Start{Head: protocol.Head{ID: c.id}, Request: w})
}

// again repeats whole calls that failed only because a message was late or doubled.
func (a *Agent) again(try func() (*Grant, error)) (g *Grant, err error) {
	for range freshCalls {
		if g, err = try(); err == nil || !stale(err) {
			return g, err
		}
		a.cfg.Log.Debug("call went stale, starting over", "err", err)
	}
	return nil, err
}

func stale(err error) bool {
	return errors.Is(err, protocol.CodeExpired) || errors.Is(err, protocol.CodeReplayed) || errors.Is(err, errOutOfStep)
}

// errOutOfStep marks an exchange that a doubled or late message has confused.
var errOutOfStep = errors.New("out of step")

// converse says the opening message and answers what is asked until it is granted or refused.
func (a *Agent) converse(ctx context.Context, link Link, c *call, opening protocol.Message) (*Grant, error) {
	if len(c.pin) == 0 {
		return nil, fmt.Errorf("%w: without an enrolment token or a pin the real broker cannot be told from another", ErrNoAnchor)
	}
	raw, err := protocol.Encode(opening)
	if err != nil {
		return nil, err
	}
	if c.opening, err = protocol.Repeated(opening); err != nil {
		return nil, err
	}
	c.said = c.said.Add(raw)
	reply, err := c.exchange(ctx, link, raw)
	if err != nil {
		return nil, err
	}
	var asked *protocol.Challenge
	var before protocol.Transcript // ends with the challenge that was answered last
	var custom bool
	for range maxRounds {
		switch m := reply.(type) {
		case *protocol.Challenge:
			asked, before = m, c.said.Add(m.Body)
		case *protocol.Refusal:
			if !errors.Is(m, protocol.CodeWrongAnswer) || asked == nil || m.Problem.Signet.TriesLeft == 0 {
				return nil, m
			}
			if !custom { // the same key gives the same wrong proof: the session was mixed up
				return nil, fmt.Errorf("%w: %w", errOutOfStep, m)
			}
		case *protocol.Grant:
			return a.accept(ctx, c, m)
		default:
			return nil, fmt.Errorf("%w: message type %d", ErrUnexpected, reply.Type())
		}
		if raw, custom, err = a.answer(ctx, c, asked, before); err != nil {
			return nil, err
		}
		c.said = before.Add(raw)
		if reply, err = c.exchange(ctx, link, raw); err != nil {
			return nil, err
		}
		if errors.Is(refusal(reply), protocol.CodeReplayed) {
			reply = c.overtaken(ctx, link, raw, reply)
		}
	}
	return nil, fmt.Errorf("%w: more than %d rounds", ErrUnexpected, maxRounds)
}

// refusal gives what a reply refuses, nil if it doesn't.
func refusal(m protocol.Message) error {
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
	if err != nil || body.Kind != protocol.KindKey && body.Kind != protocol.KindPSK && body.Kind != protocol.KindEnrol {
		return false // for others to refuse, or to answer
	}
	c.proofs++
	return c.proofs > 1 && c.proofs <= 1+maxStrays
}

// answer encodes the answer to ch; t is the transcript that ends with ch.
func (a *Agent) answer(ctx context.Context, c *call, ch *protocol.Challenge, t protocol.Transcript) (raw []byte, custom bool, err error) {
	body, err := protocol.DecodeChallengeBody(ch.Body)
	if err != nil {
		return nil, false, fmt.Errorf("%w: %w", ErrUnexpected, err)
	}
	if c.issuer != "" && c.issuer != body.Issuer {
		return nil, false, fmt.Errorf("%w: the issuer changed from %q to %q", ErrUnexpected, c.issuer, body.Issuer)
	}
	c.issuer = body.Issuer
	m := &protocol.Answer{Head: protocol.Head{ID: c.id}, Session: ch.Session, Opening: c.opening}
	switch body.Kind {
	case protocol.KindKey, protocol.KindPSK, protocol.KindEnrol:
		err = a.prove(c, body.Kind, t, m)
	default:
		custom = true
		err = a.solve(ctx, c, body, t, m)
	}
	if err != nil {
		return nil, custom, err
	}
	raw, err = protocol.Encode(m)
	return raw, custom, err
}

// prove fills in the proof of a challenge for the device's own secret. The kind is
// also the proof's purpose.
func (a *Agent) prove(c *call, kind string, t protocol.Transcript, m *protocol.Answer) (err error) {
	own := a.cfg.Prover.Kind()
	if kind == protocol.KindEnrol {
		if own != protocol.KindKey || c.enrolling == nil {
			return fmt.Errorf("%w: an enrolment challenge in an authentication", ErrUnexpected)
		}
	} else if kind != own {
		return fmt.Errorf("%w: a challenge for a %s, this device has a %s", ErrUnexpected, kind, own)
	}
	if m.Proof, err = a.cfg.Prover.Prove(protocol.ProofInput(kind, t)); err != nil {
		return fmt.Errorf("prove possession of the key: %w", err)
	}
	if kind == protocol.KindEnrol && c.enrolling.Token != nil {
		key, err := c.enrolling.Token.Key()
		if err != nil {
			return err
		}
		m.TokenProof = ed25519.Sign(key, protocol.ProofInput(protocol.PurposeEnrolToken, t))
	}
	return nil
}

// solve fills in the answer to a custom challenge. It seals to the key that the
// anchor vouches for and to no other; only a device that enrols has none yet.
func (a *Agent) solve(ctx context.Context, c *call, body *protocol.ChallengeBody, t protocol.Transcript, m *protocol.Answer) error {
	if a.cfg.Solver == nil {
		return fmt.Errorf("%w %q", ErrNoSolver, body.Kind)
	}
	if body.SealTo == nil { // the broker reads sealed answers only
		return fmt.Errorf("%w: challenge %q has no key to seal its answer to", ErrUnexpected, body.Kind)
	}
	if c.record.Statement != nil {
		s, err := readStatement(c.record.Anchor, c.record.Statement)
		if err != nil {
			return err
		}
		if string(s.SealTo) != string(body.SealTo) {
			return fmt.Errorf("%w: challenge %q wants its answer sealed to a key that is not the pool's", ErrUnexpected, body.Kind)
		}
	}
	answer, err := a.cfg.Solver(ctx, body.Kind, body.Params)
	if err != nil {
		return fmt.Errorf("answer challenge %q: %w", body.Kind, err)
	}
	if m.Secret, err = protocol.SealAnswer(body.SealTo, t, answer); err != nil {
		return err
	}
	if m.Proof, err = a.cfg.Prover.Prove(protocol.SecretInput(t, m.Secret)); err != nil {
		return fmt.Errorf("prove possession of the key: %w", err)
	}
	return nil
}
