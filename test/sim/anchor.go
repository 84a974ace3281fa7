package sim

import (
	"bytes"
	"context"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/control"
	"github.com/signetd/signet/broker/keyring"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/token"
)

// rotations is how often the pool's anchor is replaced at most: no device, and no
// enrollment token, sleeps through more than a pool remembers.
const rotations = protocol.MaxSuccessions

// rotateAnchor lets an operator replace the pool's anchor, a few times in a row, and the
// network get hold of those that were replaced.
func (w *World) rotateAnchor() {
	times := 1 + w.fate.dice.roll(3)
	w.operate(func(ctx context.Context) {
		for range times {
			if w.backedUp {
				return
			}
			stolen, ok := w.replaceAnchor(ctx)
			if !ok {
				return
			}
			w.net.steal(stolen)
		}
	})
}

// replaceAnchor gives the pool another anchor, and the one that it had, unless that was the last
// that devices may sleep through.
func (w *World) replaceAnchor(ctx context.Context) (old *token.Signer, ok bool) {
	if w.rotating || len(w.anchors) > rotations {
		return nil, false
	}
	w.rotating = true
	defer func() { w.rotating = false }()
	was, err := w.dir.Pool(ctx, w.pool)
	if err != nil {
		w.facts.violate("read the pool: %v", err)
		return nil, false
	}
	if old, err = keyring.OpenSigner(w.sealer, broker.AnchorPurpose(w.pool), was.AnchorSealed); err != nil {
		w.facts.violate("open the anchor: %v", err)
		return nil, false
	}
	p, err := w.dir.RotateAnchor(ctx, broker.By{Actor: broker.ActorLocal}, w.pool, nil)
	if err != nil {
		if ctx.Err() == nil {
			w.facts.violate("rotate the anchor: %v", err)
		}
		return nil, false
	}
	anchor, err := control.Anchor(p)
	if err != nil {
		w.facts.violate("the new anchor: %v", err)
		return nil, false
	}
	thumb := anchor.Thumbprint()
	w.anchor, w.anchors = len(w.anchors), append(w.anchors, thumb[:])
	w.befalls(w.devices, "anchor rotated", "the pool has its anchor number %d", len(w.anchors))
	return old, true
}

// anchorNumber is the place of a pinned anchor among the pool's, -1 if it is none of them.
func (w *World) anchorNumber(pin []byte) int {
	for i, thumb := range w.anchors {
		if len(pin) > 0 && bytes.HasPrefix(thumb, pin) {
			return i
		}
	}
	return -1
}

// follows notes which anchor a device believes from now on. It never goes back, but at its owner's
// word.
func (w *World) follows(d *device, from, to []byte) {
	was, now := w.anchorNumber(from), w.anchorNumber(to)
	switch {
	case now < 0:
		w.facts.violate("%s believes an anchor that the pool never had", d.id)
	case now < was && bytes.HasPrefix(d.told, to):
		w.facts.count("device goes back to an anchor at its owner's word")
	case now < was:
		w.facts.violate("%s went back from anchor %d to %d", d.id, was, now)
	case was >= 0 && now > was+1:
		w.facts.happens("device follows over several anchors", "%s follows from anchor %d to %d", d.id, was, now)
	case was >= 0 && now > was:
		w.facts.happens("device follows to another anchor", "%s follows to anchor %d", d.id, now)
	case was < 0 && now > 0:
		w.facts.happens("token of a replaced anchor used", "%s begins with anchor %d", d.id, now)
	}
}

// steal gives the network a replaced anchor.
func (n *network) steal(anchor *token.Signer) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.stolen = append(n.stolen, anchor)
}

// pretend makes of a forged grant one that stands on an anchor which its device has left:
// on that anchor's own word, or on a successor that it names. It reports whether there is
// one. The caller holds mu.
func (n *network) pretend(p parcel, body *protocol.GrantBody, nonce []byte) bool {
	left := n.leftBy(p.c)
	if left == 0 {
		return false
	}
	own, err := ownAnchor()
	if err != nil {
		return false
	}
	anchor := n.stolen[p.c.dice.roll(left)]
	body.Anchor, body.Successions = anchor.Key().MarshalCOSE(), nil
	if p.c.dice.roll(2) == 0 {
		s, err := protocol.Succeed(anchor, own.Key(), time.Now())
		if err != nil {
			return false
		}
		body.Successions, anchor = []protocol.Succession{s}, own
	}
	body.Statement = n.statement(anchor, own, body.Issuer)
	body.ID, err = token.SignCWT(token.ID, &token.Claims{
		Issuer: body.Issuer, Subject: body.Subject, Audience: broker.DefaultClient, IssuedAt: time.Now(), Expires: time.Now().Add(time.Hour), Nonce: nonce,
	}, own)
	return err == nil
}

// leftBy is how many of the stolen anchors the device at the end of c has left behind.
func (n *network) leftBy(c *conn) int {
	for _, d := range n.w.devices {
		if d.id != c.key || d.id.String() != c.owner {
			continue
		}
		d.mu.Lock()
		pin := d.flash.Pin
		d.mu.Unlock()
		return min(max(0, n.w.anchorNumber(pin)), len(n.stolen))
	}
	return 0
}
