package auth

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/token"
)

// A Turn is the work on one message of an exchange: who claims to have sent it, the
// exchange so far, and the records it needs. Each record is read once, when it is first
// asked for; the next message has a Turn of its own and reads them again. A Turn is for
// one goroutine.
type Turn struct {
	reads   Reads
	secrets Opener
	answers AnswerKeys
	now     time.Time
	from    netip.Addr // where the message came from; zero: unknown

	pending     *pending            // the exchange up to and with the last challenge
	withMessage protocol.Transcript // the transcript with this message added
	enroll      *protocol.Enroll    // nil for an authentication

	pool        *broker.Pool
	client      *broker.Client
	flow        *broker.Flow
	device      *broker.Device
	deviceRead  bool
	enrollToken *broker.EnrollToken
	newKey      *token.Key
}

// Request is what the device says of itself and asks for. Nothing of it is proven.
func (t *Turn) Request() *protocol.Request { return t.pending.request }

// Claimed is the device that the caller says it is.
func (t *Turn) Claimed() ident.Device { return t.pending.request.Device() }

// Now is when the message came.
func (t *Turn) Now() time.Time { return t.now }

// Challenge is the name of the challenge that is asked or answered.
func (t *Turn) Challenge() string { return t.pending.Kind }

// HookName is the hook that asks the challenge; "" if it is not a custom one.
func (t *Turn) HookName() string { return t.pending.Hook }

// Private holds the private parameters that Ask gave for this challenge.
func (t *Turn) Private() map[string]string { return t.pending.Private }

// Results are those of the challenges so far.
func (t *Turn) Results() []Result { return t.pending.Results }

// Transcript is the exchange so far. In Check it ends with the challenge that is answered.
func (t *Turn) Transcript() protocol.Transcript { return t.pending.Transcript }

// Proven reports whether the caller proved the key of the device, or of its enrollment,
// earlier in this exchange.
func (t *Turn) Proven() bool {
	return t.pending.Prover != nil || t.enroll != nil && len(t.pending.Results) > 0
}

// Pool gives the pool; CodeDenied if there is none.
func (t *Turn) Pool(ctx context.Context) (*broker.Pool, error) {
	if t.pool == nil {
		p, err := t.reads.Pool(ctx, t.pending.request.Pool)
		if err != nil {
			return nil, fmt.Errorf("pool %s: %w", t.pending.request.Pool, concealed(err))
		}
		t.pool = p
	}
	return t.pool, nil
}

// clientID is the client that the device names, or the default.
func (t *Turn) clientID() string { return cmp.Or(t.pending.request.Client, broker.DefaultClient) }

// Client gives the client that the device names, or the default; CodeDenied if there is none.
func (t *Turn) Client(ctx context.Context) (*broker.Client, error) {
	if t.client == nil {
		c, err := t.reads.Client(ctx, t.pending.request.Pool, t.clientID())
		if err != nil {
			return nil, fmt.Errorf("client %q: %w", t.clientID(), concealed(err))
		}
		t.client = c
	}
	return t.client, nil
}

// Flow gives the client's flow, or the pool's.
func (t *Turn) Flow(ctx context.Context) (*broker.Flow, error) {
	if t.flow != nil {
		return t.flow, nil
	}
	pool, err := t.Pool(ctx)
	if err != nil {
		return nil, err
	}
	client, err := t.Client(ctx)
	if err != nil {
		return nil, err
	}
	name := client.Flow
	if name == "" {
		name = pool.Flow
	}
	f, err := t.reads.Flow(ctx, pool.Name, name)
	if err != nil {
		return nil, fmt.Errorf("flow %q of client %q: %w", name, client.ID, err)
	}
	t.flow = f
	return t.flow, nil
}

// Device gives the device as it is stored now, nil if there is none of that name.
func (t *Turn) Device(ctx context.Context) (*broker.Device, error) {
	if t.deviceRead {
		return t.device, nil
	}
	d, err := t.reads.Device(ctx, t.Claimed())
	switch {
	case err == nil:
		t.device = &d
	case !errors.Is(err, broker.ErrNotFound):
		return nil, fmt.Errorf("device %s: %w", t.Claimed(), err)
	}
	t.deviceRead = true
	return t.device, nil
}

// EnrollToken gives the enrollment token that an enrollment names; broker.ErrNotFound.
func (t *Turn) EnrollToken(ctx context.Context) (*broker.EnrollToken, error) {
	if t.enrollToken == nil {
		id := t.enrollTokenID()
		e, err := t.reads.EnrollToken(ctx, t.pending.request.Pool, id)
		if err != nil {
			return nil, fmt.Errorf("enrollment token %s: %w", id, err)
		}
		t.enrollToken = e
	}
	return t.enrollToken, nil
}

// enrollTokenID is the id in hex of the enrollment token; "" if the device names none.
func (t *Turn) enrollTokenID() string {
	if t.enroll == nil {
		return ""
	}
	return hex.EncodeToString(t.enroll.TokenID)
}

// NewKey gives the key that an enrollment brings; CodeMalformed if it is none that devices
// may have.
func (t *Turn) NewKey() (*token.Key, error) {
	if t.newKey == nil {
		k, err := token.ParseCOSEKey(t.enroll.Key)
		if err == nil {
			err = k.CheckDevice()
		}
		if err != nil {
			return nil, fmt.Errorf("new key: %w: %w", err, protocol.CodeMalformed)
		}
		t.newKey = k
	}
	return t.newKey, nil
}

// Secret gives the answer that the device sealed to the pool's answer key; CodeMalformed
// if it does not open.
func (t *Turn) Secret(ctx context.Context, m *protocol.Answer) ([]byte, error) {
	return t.answers.OpenAnswer(ctx, t.pending.request.Pool, t.pending.Transcript, m.Secret)
}

// concealed adds CodeDenied to ErrNotFound, so that a stranger does not learn what exists.
func concealed(err error) error {
	if errors.Is(err, broker.ErrNotFound) {
		return fmt.Errorf("%w: %w", err, protocol.CodeDenied)
	}
	return err
}
