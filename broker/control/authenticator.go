package control

import (
	"context"
	"fmt"
	"slices"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/ident"
)

// MakeAuthenticator makes an authenticator of a kind for a device, as params say. shown is
// its secret for whoever is to use it, and is returned only this once. broker.ErrConflict
// if the device has one of that kind that is not to be replaced, broker.ErrInvalid if
// operators can make none of that kind, or none with those params.
func (p *Plane) MakeAuthenticator(ctx context.Context, by broker.By, id ident.Device, kind string, params map[string]string, replace bool) (made broker.Authenticator, shown string, err error) {
	maker := p.Makers[kind]
	if maker == nil {
		return made, "", invalid("no authenticator of kind %q is made here", kind)
	}
	n, err := maker(id, params, p.Random)
	if err != nil {
		return made, "", err
	}
	sealed, err := p.Sealer.Seal(broker.AuthenticatorPurpose(kind, id), n.Secret)
	if err != nil {
		return made, "", fmt.Errorf("seal %s authenticator of %s: %w", kind, id, err)
	}
	made = broker.Authenticator{ID: n.ID, Kind: kind, Sealed: sealed, Added: p.Now()}
	_, err = p.change(ctx, by, "make "+kind+" authenticator of", id, func(dev *broker.Device) error {
		kept := without(kind, dev.Authenticators)
		if len(kept) < len(dev.Authenticators) && !replace {
			return conflict("the device has an authenticator of kind %s; replacing it makes that one useless", kind)
		}
		dev.Authenticators = append(kept, made)
		return nil
	})
	if err != nil {
		return broker.Authenticator{}, "", err
	}
	return made, n.Shown, nil
}

// RemoveAuthenticator takes away what MakeAuthenticator made. A flow that asks for it then
// refuses the device.
func (p *Plane) RemoveAuthenticator(ctx context.Context, by broker.By, id ident.Device, kind string) error {
	if p.Makers[kind] == nil {
		return invalid("no authenticator of kind %q is made here, nor taken away", kind)
	}
	_, err := p.change(ctx, by, "remove "+kind+" authenticator of", id, func(dev *broker.Device) error {
		kept := without(kind, dev.Authenticators)
		if len(kept) == len(dev.Authenticators) {
			return conflict("the device has no authenticator of kind %s", kind)
		}
		dev.Authenticators = kept
		return nil
	})
	return err
}

func without(kind string, all []broker.Authenticator) []broker.Authenticator {
	return slices.DeleteFunc(slices.Clone(all), func(a broker.Authenticator) bool { return a.Kind == kind })
}
