package control

import (
	"context"
	"fmt"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/challenge"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/token"
)

// A NewDevice is what an operator says of a device to be registered.
type NewDevice struct {
	ID         ident.Device
	Key        string // public key for ParseDeviceKey; empty: none yet
	PSK        string // shared key for ParsePSK; empty: none
	Pending    bool   // wait for approval
	Attributes map[string]string
	Groups     []string
}

// CreateDevice registers a device. One without any key enrolls later with a token.
func (p *Plane) CreateDevice(ctx context.Context, by broker.By, n NewDevice) (broker.Device, error) {
	dev, err := p.newDevice(n, p.Now())
	if err != nil {
		return broker.Device{}, err
	}
	if _, err := p.Pool(ctx, n.ID.Pool); err != nil {
		return broker.Device{}, err
	}
	if err := p.Store.CreateDevice(ctx, by, dev); err != nil {
		return broker.Device{}, about(err, "create device %s", n.ID)
	}
	return dev, nil
}

// CreateDevices registers many devices, each as CreateDevice would. It gives the device or
// the error of each, in the order of all: one that is refused stops no other.
func (p *Plane) CreateDevices(ctx context.Context, by broker.By, all []NewDevice) ([]broker.Device, []error) {
	devs, errs := make([]broker.Device, len(all)), make([]error, len(all))
	now, pools := p.Now(), map[ident.Pool]error{}
	sound, at := make([]broker.Device, 0, len(all)), make([]int, 0, len(all))
	for i, n := range all {
		dev, err := p.newDevice(n, now)
		if err == nil {
			if _, asked := pools[n.ID.Pool]; !asked {
				_, pools[n.ID.Pool] = p.Pool(ctx, n.ID.Pool)
			}
			err = pools[n.ID.Pool]
		}
		if errs[i] = err; err == nil {
			sound, at = append(sound, dev), append(at, i)
		}
	}
	for k, err := range p.Store.CreateDevices(ctx, by, sound) {
		i := at[k]
		if errs[i] = about(err, "create device %s", all[i].ID); err == nil {
			devs[i] = sound[k]
		}
	}
	return devs, errs
}

// newDevice checks what the operator says, and makes the device that is to be stored.
func (p *Plane) newDevice(n NewDevice, now time.Time) (broker.Device, error) {
	dev := broker.Device{
		ID: n.ID, Status: broker.StatusActive, Attributes: n.Attributes, Groups: n.Groups, Created: now, Updated: now,
	}
	if n.Pending {
		dev.Status = broker.StatusPending
	}
	var err error
	if dev.Authenticators, err = p.authenticators(n, now); err != nil {
		return broker.Device{}, err
	}
	if dev.Subject, err = ident.NewUUID(now, p.Random); err != nil {
		return broker.Device{}, err
	}
	return dev, dev.Validate()
}

// authenticators makes the authenticators of the keys that the operator gives.
func (p *Plane) authenticators(n NewDevice, now time.Time) ([]broker.Authenticator, error) {
	var out []broker.Authenticator
	if n.Key != "" {
		key, err := ParseDeviceKey(n.Key)
		if err != nil {
			return nil, err
		}
		out = append(out, broker.Authenticator{ID: key.Thumbprint(), Kind: challenge.Key, Key: key.MarshalCOSE(), Added: now})
	}
	if n.PSK != "" {
		psk, err := ParsePSK(n.PSK)
		if err != nil {
			return nil, err
		}
		secret, err := token.NewSecret(psk)
		if err != nil {
			return nil, invalid("shared key: %v", err)
		}
		sealed, err := p.Sealer.Seal(broker.AuthenticatorPurpose(challenge.PSK, n.ID), psk)
		if err != nil {
			return nil, fmt.Errorf("seal shared key of %s: %w", n.ID, err)
		}
		out = append(out, broker.Authenticator{ID: secret.ID(n.ID.String()), Kind: challenge.PSK, Sealed: sealed, Added: now})
	}
	return out, nil
}

// Device finds a device.
func (p *Plane) Device(ctx context.Context, id ident.Device) (broker.Device, error) {
	dev, err := p.Store.Device(ctx, id)
	if err != nil {
		return dev, about(err, "device %s", id)
	}
	return dev, nil
}

// ListDevices gives up to limit (1 to 1000) devices with names after the one given.
func (p *Plane) ListDevices(ctx context.Context, pool ident.Pool, after string, limit int) ([]broker.Device, error) {
	if _, err := p.Pool(ctx, pool); err != nil {
		return nil, err
	}
	return p.Store.ListDevices(ctx, pool, after, limit)
}

// CountDevices gives how many devices a pool has.
func (p *Plane) CountDevices(ctx context.Context, pool ident.Pool) (int, error) {
	n, err := p.Store.CountDevices(ctx, pool)
	return n, about(err, "pool %s", pool)
}

// UpdateDevice replaces a device's groups and attributes; one that is nil stays as it is.
func (p *Plane) UpdateDevice(ctx context.Context, by broker.By, id ident.Device, groups []string, attributes map[string]string) (broker.Device, error) {
	return p.change(ctx, by, "update", id, func(dev *broker.Device) error {
		if groups != nil {
			dev.Groups = groups
		}
		if attributes != nil {
			dev.Attributes = attributes
		}
		return nil
	})
}

// DisableDevice ends a device's sessions, and grants it nothing more from the moment it
// returns until the device is enabled again.
func (p *Plane) DisableDevice(ctx context.Context, by broker.By, id ident.Device) (broker.Device, error) {
	return p.change(ctx, by, "disable", id, func(dev *broker.Device) error {
		dev.Status = broker.StatusDisabled
		dev.EndSessions(p.Now())
		return nil
	})
}

// EnableDevice makes a disabled or quarantined device active.
func (p *Plane) EnableDevice(ctx context.Context, by broker.By, id ident.Device) (broker.Device, error) {
	return p.change(ctx, by, "enable", id, func(dev *broker.Device) error {
		if dev.Status == broker.StatusPending {
			return conflict("the device waits for approval; approve it instead")
		}
		dev.Release()
		return nil
	})
}

// ApproveDevice makes a pending device active.
func (p *Plane) ApproveDevice(ctx context.Context, by broker.By, id ident.Device) (broker.Device, error) {
	return p.change(ctx, by, "approve", id, func(dev *broker.Device) error {
		if dev.Status != broker.StatusPending && dev.Status != broker.StatusActive {
			return conflict("the device is %s, not pending; enable it instead", dev.Status)
		}
		dev.Status = broker.StatusActive
		return nil
	})
}

// RevokeSessions ends every session of a device; it may log in again.
func (p *Plane) RevokeSessions(ctx context.Context, by broker.By, id ident.Device) (broker.Device, error) {
	return p.change(ctx, by, "revoke sessions of", id, func(dev *broker.Device) error {
		dev.EndSessions(p.Now())
		return nil
	})
}

// DeleteDevice deletes a device. Its name may be used again; its subject never is.
func (p *Plane) DeleteDevice(ctx context.Context, by broker.By, id ident.Device) error {
	if err := p.Store.DeleteDevice(ctx, by, id); err != nil {
		return about(err, "delete device %s", id)
	}
	return nil
}

// change applies f to a device and writes it; what says in errors what was being done.
func (p *Plane) change(ctx context.Context, by broker.By, what string, id ident.Device, f func(*broker.Device) error) (broker.Device, error) {
	dev, err := p.Store.UpdateDevice(ctx, by, id, func(dev *broker.Device) error {
		dev.Updated = p.Now()
		return f(dev)
	})
	if err != nil {
		return broker.Device{}, about(err, "%s device %s", what, id)
	}
	return dev, nil
}

// ListSessions gives a device's sessions, newest first, at most 100. Sessions that ended
// together with all others of the device are Revoked, too.
func (p *Plane) ListSessions(ctx context.Context, id ident.Device) ([]broker.Session, error) {
	dev, err := p.Device(ctx, id)
	if err != nil {
		return nil, err
	}
	all, err := p.Store.ListSessions(ctx, id)
	if err != nil {
		return nil, err
	}
	for i := range all {
		all[i].Revoked = all[i].Ended(&dev)
	}
	return all, nil
}

// RevokeSession ends one session of a device, and its connections. Backends that check
// tokens offline accept the session's tokens until they expire.
func (p *Plane) RevokeSession(ctx context.Context, by broker.By, id ident.Device, session ident.UUID) error {
	_, err := p.Store.UpdateSession(ctx, by, session, func(s *broker.Session, _ *broker.Device) error {
		if s.Device != id {
			return broker.ErrNotFound // another device's sessions are nobody's business here
		}
		s.Revoked = true
		return nil
	})
	if err != nil {
		return about(err, "revoke session %s of %s", session, id)
	}
	return nil
}
