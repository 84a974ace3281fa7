package sim

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"time"

	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/detcbor"
	"github.com/signetd/signet/protocol/token"
)

// ask makes a challenge to a device's owner for a code, to be sealed to the network's own
// key, with whatever the network has to make the device believe that this is the pool's.
// The caller holds mu.
func (n *network) ask(p parcel) []byte {
	m, err := protocol.Decode(p.raw)
	if err != nil || p.reply || m.Type() == protocol.TypeRefresh {
		return nil
	}
	id, err := protocol.CallOf(p.raw)
	own, ownErr := ownAnchor()
	if err != nil || ownErr != nil {
		return nil
	}
	body := protocol.ChallengeBody{
		Kind: "code", Params: map[string]string{"ask": "code"}, Nonce: make([]byte, protocol.ServerNonce),
		Issuer: n.w.issuer, SealTo: n.mine.PublicKey().Bytes(),
	}
	switch p.c.dice.roll(4) {
	case 0: // nothing to judge the key by
	case 1:
		body.Anchor, body.Statement = own.Key().MarshalCOSE(), n.statement(own, own, body.Issuer)
	case 2:
		body.Statement = n.statement(own, own, body.Issuer)
	case 3:
		left := n.leftBy(p.c)
		if left == 0 {
			return nil
		}
		by := n.stolen[p.c.dice.roll(left)]
		body.Anchor, body.Statement = by.Key().MarshalCOSE(), n.statement(by, own, body.Issuer)
		if s, err := protocol.Succeed(by, own.Key(), time.Now()); err == nil && p.c.dice.roll(2) == 0 {
			body.Successions, body.Statement = []protocol.Succession{s}, n.statement(own, own, body.Issuer)
		}
	}
	raw, err := detcbor.Marshal(body)
	if err != nil {
		return nil
	}
	raw, err = protocol.Encode(&protocol.Challenge{Head: protocol.Head{ID: id}, Session: []byte("the network's own"), Body: raw})
	if err != nil {
		return nil
	}
	n.w.facts.happens("the network asks for a secret", "the network asks the owner of %s for a code", p.c.owner)
	return raw
}

// ownAnchor is the network's own.
func ownAnchor() (*token.Signer, error) {
	seed := sha256.Sum256([]byte("the network's own anchor"))
	return token.NewSigner(ed25519.NewKeyFromSeed(seed[:]))
}

// statement is a key statement by an anchor that names the network's own keys; nil if it
// cannot be made.
func (n *network) statement(by, own *token.Signer, issuer string) []byte {
	raw, err := protocol.EncodeStatement(&protocol.Statement{
		Issuer: issuer, Keys: []*token.Key{own.Key()}, SealTo: n.mine.PublicKey().Bytes(), Issued: time.Now().Add(time.Hour),
	}, by)
	if err != nil {
		return nil
	}
	return raw
}

// solve is the device's owner, whom nobody but the network asks for anything here.
func (d *device) solve(context.Context, string, map[string]string) ([]byte, error) {
	d.actor.turn()
	d.w.facts.violate("the owner of %s was asked for a secret that goes to the network", d.id)
	return []byte("4711"), nil
}
