package boltstore

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/detcbor"
	"github.com/signetd/signet/protocol/ident"
)

func encodePool(p *broker.Pool) ([]byte, error) {
	r := poolRecord{Name: p.Name, Issuer: p.Issuer, Flow: p.Flow, Created: nanos(p.Created), Anchor: p.Anchor, AnchorSealed: p.AnchorSealed,
		AnswerSealed: p.AnswerSealed, Rev: p.Rev, AnchorSince: nanos(p.AnchorSince), PasswordLife: int64(p.MQTTPasswordLife), Clones: string(p.Clones)}
	for _, s := range p.Successions {
		r.Successions = append(r.Successions, successionRecord{s.From, s.Signed, nanos(s.At)})
	}
	return encode(r)
}

func decodePool(b []byte) (broker.Pool, error) {
	r, err := decode[poolRecord](b)
	p := broker.Pool{Name: r.Name, Issuer: r.Issuer, Flow: r.Flow, Created: fromNanos(r.Created), Anchor: r.Anchor, AnchorSealed: r.AnchorSealed,
		AnchorSince: fromNanos(r.AnchorSince), AnswerSealed: r.AnswerSealed, Rev: r.Rev, MQTTPasswordLife: time.Duration(r.PasswordLife), Clones: broker.Clones(r.Clones)}
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
		Created: nanos(d.Created), Updated: nanos(d.Updated), SessionsAfter: nanos(d.SessionsAfter), SessionsRev: d.SessionsRev, ClonedSince: nanos(d.ClonedSince), Rev: d.Rev}
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
	d := broker.Device{Subject: subject, Status: status}
	err = eachField(b[deviceHeader:], func(f *fields, key int64) {
		switch key {
		case 1:
			d.ID.Pool = detcbor.Parsed(&f.Items, ident.ParsePool)
		case 2:
			d.ID.Name = detcbor.Parsed(&f.Items, ident.ParseName)
		case 3:
			d.Authenticators = f.authenticators()
		case 4:
			d.Attributes = f.TextMap()
		case 5:
			d.Groups = f.Texts()
		case 6:
			d.Created = f.time()
		case 7:
			d.Updated = f.time()
		case 8:
			d.SessionsAfter = f.time()
		case 9:
			d.Rev = f.Uint()
		case 10:
			d.SessionsRev = f.Uint()
		case 11:
			d.ClonedSince = f.time()
		default:
			f.unknown()
		}
	})
	if err != nil {
		return broker.Device{}, err
	}
	return d, nil
}

func (f *fields) authenticators() []broker.Authenticator {
	all := make([]broker.Authenticator, f.Want(detcbor.Array))
	for i := range all {
		a := &all[i]
		f.each(func(f *fields, key int64) {
			switch key {
			case 1:
				a.Kind = f.Text()
			case 2:
				a.Key = f.bytes()
			case 3:
				a.Sealed = f.bytes()
			case 4:
				a.Added = f.time()
			case 5:
				f.Fixed(a.ID[:])
			default:
				f.unknown()
			}
		})
	}
	return all
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
	row := binary.BigEndian.AppendUint64(make([]byte, 0, sessionHeader+256), uint64(keepUntil(x)))[:sessionHeader]
	if x.Revoked {
		flag(row, sessionRevoked)
	}
	if x.Lost {
		flag(row, sessionLost)
	}
	if x.Cloned {
		flag(row, sessionCloned)
	}
	w := detcbor.BeginMap(row)
	w.Text(1, x.Device.Pool.String())
	w.Text(2, x.Device.Name.String())
	w.Bytes(3, x.Subject[:])
	w.SomeText(4, x.Client)
	w.SomeInt(5, nanos(x.Created))
	w.SomeInt(6, nanos(x.Expires))
	w.SomeUint(7, uint64(x.Generation))
	w.SomeBytes(8, x.Handle)
	w.SomeBytes(9, x.Previous)
	w.SomeInt(10, nanos(x.Rotated))
	w.SomeBytes(11, x.Requests)
	w.SomeUint(12, x.DeviceRev)
	if !x.Last.IsZero() {
		w.Bytes(13, x.Last[:])
	}
	w.SomeInt(14, nanos(x.ClientSince))
	w.SomeText(15, x.From)
	return readable(w.Done(), sessionHeader)
}

func decodeSession(id ident.UUID, b []byte) (broker.Session, error) {
	if len(b) < sessionHeader {
		return broker.Session{}, fmt.Errorf("%w: session: %w", ErrDamaged, errNoHeader)
	}
	flags := b[sessionHeader-1]
	x := broker.Session{ID: id, Revoked: isRevoked(b), Lost: flags&sessionLost != 0, Cloned: flags&sessionCloned != 0}
	err := eachField(b[sessionHeader:], func(f *fields, key int64) {
		switch key {
		case 1:
			x.Device.Pool = detcbor.Parsed(&f.Items, ident.ParsePool)
		case 2:
			x.Device.Name = detcbor.Parsed(&f.Items, ident.ParseName)
		case 3:
			f.Fixed(x.Subject[:])
		case 4:
			x.Client = f.Text()
		case 5:
			x.Created = f.time()
		case 6:
			x.Expires = f.time()
		case 7:
			x.Generation = uint32(f.UpTo(math.MaxUint32))
		case 8:
			x.Handle = f.bytes()
		case 9:
			x.Previous = f.bytes()
		case 10:
			x.Rotated = f.time()
		case 11:
			x.Requests = f.bytes()
		case 12:
			x.DeviceRev = f.Uint()
		case 13:
			f.Fixed(x.Last[:])
		case 14:
			x.ClientSince = f.time()
		case 15:
			x.From = f.Text()
		default:
			f.unknown()
		}
	})
	if err != nil {
		return broker.Session{}, err
	}
	return x, nil
}

// clientOf reads the client from a session's row.
func clientOf(b []byte) (client string, err error) {
	if len(b) < sessionHeader {
		return "", fmt.Errorf("%w: session: %w", ErrDamaged, errNoHeader)
	}
	err = eachField(b[sessionHeader:], func(f *fields, key int64) {
		if key == 4 {
			client = f.Text()
			return
		}
		f.Skip()
	})
	return client, err
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
