package proof

import (
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/token"
)

// Decoys tells the algorithm of the key against which a name that is unknown is
// checked, in a cluster with that secret.
func Decoys(secret []byte) (func(name ident.Device) token.Alg, error) {
	d, err := newDecoys(secret)
	return func(name ident.Device) token.Alg { return d.key(name).Alg() }, err
}
