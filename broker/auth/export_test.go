package auth

import (
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/token"
)

// DecoyAlg tells the algorithm of the key against which a name that is unknown is checked.
func (a *Authenticator) DecoyAlg(name ident.Device) token.Alg { return a.decoyKey(name).Alg() }
