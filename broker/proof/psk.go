package proof

import (
	"fmt"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/auth"
	"github.com/signetd/signet/protocol/challenge"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/token"
)

// newPSK makes the method of an HMAC under the key that the device and the broker share.
func newPSK(d decoys, secrets auth.Opener) auth.Possession {
	return &possession[token.Secret]{name: challenge.PSK, decoy: d.psk, confirm: token.ConfirmSecret,
		half: func(id ident.Device, held *broker.Authenticator) (token.Secret, error) {
			raw, err := secrets.Open(broker.AuthenticatorPurpose(challenge.PSK, id), held.Sealed)
			if err != nil {
				return token.Secret{}, fmt.Errorf("shared key: %w", err)
			}
			secret, err := token.NewSecret(raw)
			if err != nil {
				return token.Secret{}, fmt.Errorf("shared key: %w", err)
			}
			return secret, nil
		}}
}
