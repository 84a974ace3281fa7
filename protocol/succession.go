package protocol

import (
	"bytes"
	"fmt"
	"time"

	"github.com/signetd/signet/protocol/detcbor"
	"github.com/signetd/signet/protocol/token"
)

// MaxSuccessions is how many replacements of its anchor a pool remembers, and so how many
// of them a device may sleep through. With one a year a device follows for 16 years; a
// grant with all of them is 2.5 KB longer.
const MaxSuccessions = 16

// A Succession is an anchor's word that another took its place (signet.cddl,
// anchor-succession). Whoever believes the old anchor believes the new one by it, and the
// old one no longer.
type Succession struct {
	From   []byte `cbor:"1,keyasint"` // COSE_Key of the old anchor
	Signed []byte `cbor:"2,keyasint"` // COSE_Sign1 by it, of a successionMap
}

// successionMap is what the old anchor signs. Later versions may add members.
type successionMap struct {
	To     detcbor.RawMessage `cbor:"1,keyasint"` // COSE_Key of the new anchor
	Issued int64              `cbor:"2,keyasint"` // Unix seconds
}

func (m *successionMap) check() error {
	if m.Issued <= 0 {
		return fmt.Errorf("succession does not say when it was signed")
	}
	return nil
}

// Succeed signs with an anchor that to takes its place at the given time, in whole seconds.
func Succeed(from *token.Signer, to *token.Key, at time.Time) (Succession, error) {
	m := successionMap{To: to.MarshalCOSE(), Issued: at.Unix()}
	if err := m.check(); err != nil {
		return Succession{}, err
	}
	payload, err := detcbor.Marshal(m)
	if err != nil {
		return Succession{}, fmt.Errorf("encode succession: %w", err)
	}
	raw, err := token.Sign1(token.AnchorSuccession, payload, nil, from)
	if err != nil {
		return Succession{}, fmt.Errorf("sign succession: %w", err)
	}
	return Succession{From: from.Key().MarshalCOSE(), Signed: raw}, nil
}

// To gives the anchor that took from's place, once from's signature is verified. Whether
// from is to be believed is for the caller to know. Errors wrap those of token.OpenSign1 and
// token.ErrKey.
func (s Succession) To(from *token.Key) (*token.Key, error) {
	payload, err := token.OpenSign1(s.Signed, token.AnchorSuccession, from, nil)
	if err != nil {
		return nil, fmt.Errorf("succession: %w", err)
	}
	var m successionMap
	if err := unmarshal(payload, shapes.succession, &m); err != nil {
		return nil, fmt.Errorf("succession: %w", err)
	}
	if err := m.check(); err != nil {
		return nil, err
	}
	to, err := token.ParseCOSEKey(m.To)
	if err != nil {
		return nil, fmt.Errorf("succession: %w", err)
	}
	return to, nil
}

// Follow goes from the anchor whose thumbprint (RFC 9679) begins with pin through those
// that took its place, oldest first, to the last. It gives nil when none of all is that
// anchor's. What happened before it is passed over unread: a device believes nothing that
// only an anchor before its own says. Of an anchor's own words none may fail to verify.
func Follow(pin []byte, all []Succession) (*token.Key, error) {
	var at *token.Key
	for _, s := range all {
		from, err := token.ParseCOSEKey(s.From)
		if err != nil {
			return nil, fmt.Errorf("succession: %w", err)
		}
		if thumb := from.Thumbprint(); !bytes.HasPrefix(thumb[:], pin) {
			continue
		}
		if at, err = s.To(from); err != nil {
			return nil, err
		}
		thumb := at.Thumbprint()
		pin = thumb[:]
	}
	return at, nil
}
