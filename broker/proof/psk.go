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

// psk is the method of an HMAC under the key that the device and the broker share.
type psk struct {
	decoys  decoys
	secrets auth.Opener
}

var _ auth.Possession = (*psk)(nil)

// Name is challenge.PSK.
func (*psk) Name() string { return challenge.PSK }

// Guessable is false: a shared key has 32 random bytes at least.
func (*psk) Guessable() bool { return false }

// Ask has no parameters to give.
func (*psk) Ask(context.Context, *auth.Turn) (auth.Params, error) { return auth.Params{}, nil }

// Check verifies the HMAC.
func (k *psk) Check(ctx context.Context, t *auth.Turn, m *protocol.Answer) (auth.Result, error) {
	return check(ctx, k, t, m)
}

// Prover finds the shared key that made the HMAC proof over input.
func (k *psk) Prover(d *broker.Device, claimed ident.Device, input, proof []byte) (*broker.Authenticator, error) {
	verify := func(by *broker.Authenticator) error {
		secret, err := k.open(d.ID, by)
		if err != nil {
			return err
		}
		return secret.Verify(input, proof)
	}
	return prover(d, challenge.PSK, verify, func() error { return k.decoys.check(claimed, challenge.PSK, input, proof) })
}

// Confirmation is by an HMAC that reveals nothing.
func (k *psk) Confirmation(d ident.Device, by *broker.Authenticator) (token.Confirmation, error) {
	secret, err := k.open(d, by)
	if err != nil {
		return token.Confirmation{}, err
	}
	return token.ConfirmSecret(secret), nil
}

func (k *psk) open(d ident.Device, by *broker.Authenticator) (token.Secret, error) {
	raw, err := k.secrets.Open(broker.PSKPurpose(d), by.Sealed)
	if err != nil {
		return token.Secret{}, fmt.Errorf("shared key: %w", err)
	}
	secret, err := token.NewSecret(raw)
	if err != nil {
		return token.Secret{}, fmt.Errorf("shared key: %w", err)
	}
	return secret, nil
}
