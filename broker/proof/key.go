package proof

import (
	"fmt"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/auth"
	"github.com/signetd/signet/protocol/challenge"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/token"
)

// newKey makes the method of a signature by the device's key.
func newKey(d decoys) auth.Possession {
	cache := &keyCache{}
	return &possession[*token.Key]{name: challenge.Key, decoy: d.key, confirm: token.Confirm,
		half: func(_ ident.Device, held *broker.Authenticator) (*token.Key, error) {
			pub, err := cache.parse(held.Key)
			if err != nil {
				return nil, fmt.Errorf("device key: %w", err)
			}
			return pub, nil
		}}
}
