package boltstore

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/ident"
)

func encodePool(p *broker.Pool) ([]byte, error) {
	r := poolRecord{Name: p.Name, Issuer: p.Issuer, Flow: p.Flow, Created: nanos(p.Created), Anchor: p.Anchor, AnchorSealed: p.AnchorSealed,
		AnswerSealed: p.AnswerSealed, Rev: p.Rev, AnchorSince: nanos(p.AnchorSince), PasswordLife: int64(p.MQTTPasswordLife)}
	for _, s := range p.Successions {
		r.Successions = append(r.Successions, successionRecord{s.From, s.Signed, nanos(s.At)})
	}
	return encode(r)
}

func decodePool(b []byte) (broker.Pool, error) {
	r, err := decode[poolRecord](b)
	p := broker.Pool{Name: r.Name, Issuer: r.Issuer, Flow: r.Flow, Created: fromNanos(r.Created), Anchor: r.Anchor, AnchorSealed: r.AnchorSealed,
		AnchorSince: fromNanos(r.AnchorSince), AnswerSealed: r.AnswerSealed, Rev: r.Rev, MQTTPasswordLife: time.Duration(r.PasswordLife)}
	for _, s := range r.Successions {
		p.Successions = append(p.Successions, broker.Succession{From: s.From, Signed: s.Signed, At: fromNanos(s.At)})
	}
	return p, err
}

func encodeDevice(d *broker.Device) ([]byte, error) {
	if err := d.Validate(); err != nil {
		return nil, err
	}
	status, err := statusByte(d.Status)
	if err != nil {
		return nil, err
	}
	r := deviceRecord{Pool: d.ID.Pool, Name: d.ID.Name, Attributes: d.Attributes, Groups: d.Groups,
		Created: nanos(d.Created), Updated: nanos(d.Updated), SessionsAfter: nanos(d.SessionsAfter), SessionsRev: d.SessionsRev, Rev: d.Rev}
	for i := range d.Authenticators {
		a := &d.Authenticators[i]
		r.Authenticators = append(r.Authenticators, authenticatorRecord{a.Kind, a.Key, a.Sealed, nanos(a.Added), a.ID[:]})
	}
	return encodeAfter(append(append([]byte{status}, d.Subject[:]...), make([]byte, 8)...), r)
}

func decodeDevice(b []byte) (broker.Device, error) {
	status, subject, err := deviceHead(b)
	if err != nil {
		return broker.Device{}, err
	}
	r, err := decode[deviceRecord](b[deviceHeader:])
	if err != nil {
		return broker.Device{}, err
	}
	d := broker.Device{ID: ident.Device{Pool: r.Pool, Name: r.Name}, Subject: subject, Status: status,
		Attributes: r.Attributes, Groups: r.Groups, Created: fromNanos(r.Created), Updated: fromNanos(r.Updated),
		SessionsAfter: fromNanos(r.SessionsAfter), SessionsRev: r.SessionsRev, Rev: r.Rev}
	for _, a := range r.Authenticators {
		if len(a.ID) != len(broker.KeyID{}) {
			return broker.Device{}, fmt.Errorf("%w: authenticator's id has %d bytes", ErrDamaged, len(a.ID))
		}
		d.Authenticators = append(d.Authenticators, broker.Authenticator{ID: broker.KeyID(a.ID), Kind: a.Kind, Key: a.Key, Sealed: a.Sealed, Added: fromNanos(a.Added)})
	}
	return d, nil
}

// Rows outlive their use: an exchange must not be usable again while its sealed
// state could still be sent, operators look back a day, and an access token counts as
// long as its session is there: the last may be given when the refresh token expires.
const (
	keepCreated = broker.MaxAccessLife + time.Hour
	keepExpired = broker.MaxAccessLife + time.Hour
)

// keepUntil is when a session's row may go.
func keepUntil(x *broker.Session) int64 {
	return max(x.Created.Add(keepCreated).Unix(), x.Expires.Add(keepExpired).Unix(), 0)
}

// encodeSession makes a session's row; the Seqs of its records are yet to be set.
func encodeSession(x *broker.Session) ([]byte, error) {
	head := binary.BigEndian.AppendUint64(make([]byte, 0, sessionHeader), uint64(keepUntil(x)))
	return encodeAfter(head[:sessionHeader], sessionRecord{
		Pool: x.Device.Pool, Name: x.Device.Name, Subject: x.Subject[:], Client: x.Client,
		Created: nanos(x.Created), Expires: nanos(x.Expires), Revoked: x.Revoked, Generation: x.Generation,
		Handle: x.Handle, Previous: x.Previous, Rotated: nanos(x.Rotated), Requests: x.Requests, DeviceRev: x.DeviceRev})
}

func decodeSession(id ident.UUID, b []byte) (broker.Session, error) {
	if len(b) < sessionHeader {
		return broker.Session{}, fmt.Errorf("%w: session: %w", ErrDamaged, errNoHeader)
	}
	r, err := decode[sessionRecord](b[sessionHeader:])
	if err != nil {
		return broker.Session{}, err
	}
	x := broker.Session{ID: id, Device: ident.Device{Pool: r.Pool, Name: r.Name}, Client: r.Client,
		Created: fromNanos(r.Created), Expires: fromNanos(r.Expires), Revoked: r.Revoked, Generation: r.Generation,
		Handle: r.Handle, Previous: r.Previous, Rotated: fromNanos(r.Rotated), Requests: r.Requests, DeviceRev: r.DeviceRev}
	if copy(x.Subject[:], r.Subject) != len(x.Subject) {
		return broker.Session{}, fmt.Errorf("%w: session's subject has %d bytes", ErrDamaged, len(r.Subject))
	}
	return x, nil
}

func deviceRows() row[broker.Device] {
	return row[broker.Device]{bucket: poolDevices, what: "device", decode: decodeDevice}
}

func signingRows() row[broker.SigningKey] {
	return row[broker.SigningKey]{bucket: poolSigning, what: "signing key", decode: decodeSigningKey}
}

func encodeSigningKey(k *broker.SigningKey) ([]byte, error) {
	return encode(signingRecord{k.Pool, k.ID, k.Alg, string(k.State), k.Public, k.Sealed, nanos(k.Created), nanos(k.Changed)})
}

func decodeSigningKey(b []byte) (broker.SigningKey, error) {
	r, err := decode[signingRecord](b)
	return broker.SigningKey{Pool: r.Pool, ID: r.ID, Alg: r.Alg, State: broker.KeyState(r.State), Public: r.Public, Sealed: r.Sealed,
		Created: fromNanos(r.Created), Changed: fromNanos(r.Changed)}, err
}
