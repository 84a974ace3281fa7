package agent

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/signetd/signet/protocol"
)

// ErrCredential is wrapped when a Credential does not log the device in: the broker
// refused it, or nothing says that it is the broker who would get to see it.
var ErrCredential = errors.New("credential refused")

// maxBrokers is how many ends an agent takes for the broker's own: replicas, and a
// certificate that was renewed. Chosen arbitrarily.
const maxBrokers = 4

// A Credential logs a device in to MQTT again, as itself: by its access token together
// with a proof of its key for one TLS connection (protocol.ConnectProof).
type Credential struct {
	Username string // also the client id, or its beginning
	// Password makes the password for CONNECT with that client id, on the connection that
	// end is of. It is for an end at which the broker itself was heard before: to anybody
	// else it would show the access token. Errors wrap ErrCredential, or are the Prover's.
	Password func(end End, clientID string) ([]byte, error)
}

// Credential gives what to log in to MQTT with. It is nil if there is no token that is
// still good, and as long as the broker was not heard directly: then the device logs in
// by the exchange, on each connection anew.
func (a *Agent) Credential() *Credential {
	g := a.Current()
	if g == nil || g.Left(a.cfg.Clock()) < leastLeft {
		return nil
	}
	a.mu.Lock()
	known := a.brokers
	a.mu.Unlock()
	if len(known) == 0 {
		return nil
	}
	return &Credential{Username: a.cfg.Device.String(), Password: func(end End, clientID string) ([]byte, error) {
		if end.Channel == nil || end.Server == nil || !knows(known, end.Server) {
			return nil, fmt.Errorf("%w: TLS ends in somebody whom this device does not know as the broker", ErrCredential)
		}
		p := protocol.ConnectProof{Access: g.Access, Channel: end.Channel}
		var err error
		if p.Proof, err = a.cfg.Prover.Prove(p.Input(clientID)); err != nil {
			return nil, fmt.Errorf("prove possession of the key: %w", err)
		}
		return protocol.EncodeConnectProof(&p)
	}}
}

func knows(brokers [][]byte, server []byte) bool {
	return slices.ContainsFunc(brokers, func(b []byte) bool { return bytes.Equal(b, server) })
}

// heard notes what a grant says of the connection that its call was made on: direct if
// the broker is its other end. The caller holds mu.
func (a *Agent) heard(end End, direct bool) {
	switch {
	case direct:
		if end.Server != nil && !knows(a.brokers, end.Server) {
			known := append([][]byte{end.Server}, a.brokers...)
			a.brokers = known[:min(len(known), maxBrokers)]
		}
	case end.Channel != nil:
		a.brokers = nil
	default:
		return // without a name nothing can be said
	}
	if relayed := !direct; relayed != a.status.Relayed {
		a.status.Relayed = relayed
		a.cfg.Log.Info("who hears this device has changed", "device", a.cfg.Device.String(), "relayed", relayed)
	}
}
