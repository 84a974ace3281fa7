package auth

import (
	"errors"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/token"
)

// ErrKeyGone: the device does not have the key any more that a token is bound to.
var ErrKeyGone = errors.New("the device has another key than the token's")

// Confirms reports whether d has the key that a token names by c, and whether that key
// made proof over input: ErrKeyGone, ErrProof. It checks one proof at most, however many
// keys d has. It tells whose proofs fit to whoever has such a token, and to nobody else:
// the caller has verified it.
func (f *Flows) Confirms(d *broker.Device, c token.Confirmation, input, proof []byte) error {
	for i := range d.Authenticators {
		by := &d.Authenticators[i]
		p, ok := f.methods.named[by.Kind].(Possession)
		if !ok {
			continue
		}
		own, err := p.Confirmation(d.ID, by)
		if err != nil {
			return err
		}
		if !c.Names(own) {
			continue
		}
		alone := *d
		alone.Authenticators = d.Authenticators[i : i+1]
		_, err = p.Prover(&alone, d.ID, input, proof)
		return err
	}
	return ErrKeyGone
}
