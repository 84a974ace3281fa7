package control

import (
	"context"
	"fmt"
	"slices"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/proof"
	"github.com/signetd/signet/protocol/challenge"
	"github.com/signetd/signet/protocol/ident"
)

// A NewTOTP is a generator of one-time codes (RFC 6238) to be made for a device.
type NewTOTP struct {
	Algorithm string // "SHA1" (also if empty), "SHA256" or "SHA512"
	Digits    int    // 6 (also if 0) to 8
	Replace   bool   // the one that there is goes
}

// SetTOTP makes a generator and gives its otpauth URI, which holds the secret and is
// returned only this once. broker.ErrConflict if the device has one that is not to be
// replaced.
func (p *Plane) SetTOTP(ctx context.Context, by broker.By, id ident.Device, n NewTOTP) (uri string, err error) {
	if n.Algorithm == "" {
		n.Algorithm = "SHA1"
	}
	if n.Digits == 0 {
		n.Digits = 6
	}
	g, err := proof.NewGenerator(n.Algorithm, n.Digits, p.Random)
	if err != nil {
		return "", err
	}
	raw, err := g.Marshal()
	if err != nil {
		return "", fmt.Errorf("one-time codes of %s: %w", id, err)
	}
	sealed, err := p.Sealer.Seal(broker.TOTPPurpose(id), raw)
	if err != nil {
		return "", fmt.Errorf("seal one-time codes of %s: %w", id, err)
	}
	_, err = p.change(ctx, by, "set one-time codes of", id, func(dev *broker.Device) error {
		kept := withoutTOTP(dev.Authenticators)
		if len(kept) < len(dev.Authenticators) && !n.Replace {
			return conflict("the device has a generator of one-time codes; replacing it makes that one useless")
		}
		dev.Authenticators = append(kept, broker.Authenticator{ID: g.ID(id), Kind: challenge.TOTP, Sealed: sealed, Added: p.Now()})
		return nil
	})
	if err != nil {
		return "", err
	}
	return g.URI(id), nil
}

// RemoveTOTP removes a device's generator. A flow that asks for its codes then refuses the
// device.
func (p *Plane) RemoveTOTP(ctx context.Context, by broker.By, id ident.Device) error {
	_, err := p.change(ctx, by, "remove one-time codes of", id, func(dev *broker.Device) error {
		kept := withoutTOTP(dev.Authenticators)
		if len(kept) == len(dev.Authenticators) {
			return conflict("the device has no generator of one-time codes")
		}
		dev.Authenticators = kept
		return nil
	})
	return err
}

func withoutTOTP(all []broker.Authenticator) []broker.Authenticator {
	return slices.DeleteFunc(slices.Clone(all), func(a broker.Authenticator) bool { return a.Kind == challenge.TOTP })
}
