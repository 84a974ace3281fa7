package proof

import (
	"context"
	"fmt"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/auth"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/challenge"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/token"
)

// key is the method of a signature by the device's key.
type key struct {
	decoys decoys
	cache  keyCache
}

var _ auth.Possession = (*key)(nil)

// Name is challenge.Key.
func (*key) Name() string { return challenge.Key }

// Guessable is false: nobody guesses a signature.
func (*key) Guessable() bool { return false }

// Ask has no parameters to give.
func (*key) Ask(context.Context, *auth.Turn) (auth.Params, error) { return auth.Params{}, nil }

// Check verifies the signature.
func (k *key) Check(ctx context.Context, t *auth.Turn, m *protocol.Answer) (auth.Result, error) {
	return check(ctx, k, t, m)
}

// Prover finds the device key that made the signature proof over input.
func (k *key) Prover(d *broker.Device, claimed ident.Device, input, proof []byte) (*broker.Authenticator, error) {
	verify := func(by *broker.Authenticator) error {
		pub, err := k.parse(by)
		if err != nil {
			return err
		}
		return pub.Verify(input, proof)
	}
	return prover(d, challenge.Key, verify, func() error { return k.decoys.check(claimed, challenge.Key, input, proof) })
}

// Confirmation is by the key's thumbprint.
func (k *key) Confirmation(_ ident.Device, by *broker.Authenticator) (token.Confirmation, error) {
	pub, err := k.parse(by)
	if err != nil {
		return token.Confirmation{}, err
	}
	return token.Confirm(pub), nil
}

func (k *key) parse(by *broker.Authenticator) (*token.Key, error) {
	pub, err := k.cache.parse(by.Key)
	if err != nil {
		return nil, fmt.Errorf("device key: %w", err)
	}
	return pub, nil
}
