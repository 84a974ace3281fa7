package token

import (
	"errors"
	"fmt"
	"time"

	"github.com/signetd/signet/protocol/detcbor"
	"github.com/signetd/signet/protocol/ident"
)

// Claim labels: registered (RFC 8392, 3.1; RFC 8747, 3.1; RFC 8693 for scope; RFC
// 9711 for the nonce).
const (
	claimIss   = 1
	claimSub   = 2 // bstr of 16: the device's UUID
	claimAud   = 3
	claimExp   = 4
	claimNbf   = 5
	claimIat   = 6
	claimCti   = 7
	claimCnf   = 8
	claimScope = 9
	claimNonce = 10
	cnfKID     = 3 // the only member of cnf that Signet writes
)

// Claim labels of our own, from the range for private use. They are frozen: a
// number is never given a second meaning. A reader refuses negative labels that it
// does not know and passes over positive ones.
const (
	ClaimClientID   = -65537 // tstr
	ClaimOriginID   = -65538 // bstr of 16
	ClaimAuthTime   = -65539 // int, seconds
	ClaimDevice     = -65540 // tstr, {pool}:{name}
	ClaimGroups     = -65541 // array of tstr
	ClaimRoles      = -65542 // array of tstr
	ClaimACR        = -65543 // tstr
	ClaimAttributes = -65544 // map from tstr to tstr
)

// A claimWriter writes each claim that is set.
type claimWriter struct {
	detcbor.MapWriter
	err error
}

func (w *claimWriter) uuid(label int64, u ident.UUID) {
	if !u.IsZero() {
		w.Bytes(label, u[:])
	}
}

func (w *claimWriter) time(label int64, t time.Time) {
	seconds, err := secondsOf(t)
	if err != nil {
		w.err = err
	}
	w.SomeInt(label, seconds)
}

// encodeCWTClaims writes the labels in deterministic order: 1, 2, ... -1, -2, ...
func encodeCWTClaims(c *Claims) ([]byte, error) {
	w := claimWriter{MapWriter: detcbor.BeginMap(make([]byte, 0, 160))}
	w.SomeText(claimIss, c.Issuer)
	w.uuid(claimSub, c.Subject)
	w.SomeText(claimAud, c.Audience)
	w.time(claimExp, c.Expires)
	w.time(claimNbf, c.NotBefore)
	w.time(claimIat, c.IssuedAt)
	w.SomeBytes(claimCti, c.ID)
	if thumb := c.Confirmation.Thumbprint; len(thumb) > 0 {
		cnf := w.Map(claimCnf)
		cnf.Bytes(cnfKID, thumb[:compactThumbprint])
		w.End(cnf)
	}
	w.SomeText(claimScope, c.Scope)
	w.SomeBytes(claimNonce, c.Nonce)
	w.SomeText(ClaimClientID, c.ClientID)
	w.uuid(ClaimOriginID, c.OriginID)
	w.time(ClaimAuthTime, c.AuthTime)
	if !c.Device.IsZero() {
		w.Text(ClaimDevice, c.Device.String())
	}
	w.SomeTexts(ClaimGroups, c.Groups)
	w.SomeTexts(ClaimRoles, c.Roles)
	w.SomeText(ClaimACR, c.ACR)
	w.SomeTextMap(ClaimAttributes, c.Attributes)
	if w.err != nil {
		return nil, w.err
	}
	return w.Done(), nil
}

// The few CBOR items that COSE and CWT are made of are read by kind, by hand, because a
// token is read on every request: the library's decoder costs a tenth of the signature
// check, and it takes an array of integers for a byte string.

// whatIs says what of a message could not be read. An error that is no rule of this package's
// is malformed CBOR.
func whatIs(what string, err error) error {
	if err == nil || errors.Is(err, ErrHeader) || errors.Is(err, ErrClaims) {
		return err
	}
	return fmt.Errorf("%w: %s: %w", ErrMalformed, what, err)
}

func decodeCWTClaims(payload []byte) (*Claims, error) {
	r, err := detcbor.NewItems(payload)
	if err != nil {
		return nil, whatIs("claims", err)
	}
	c := new(Claims)
	r.Each(func(label int64) { c.readCWT(label, &r) })
	if r.Err() != nil {
		return nil, whatIs("claims", r.Err())
	}
	return c, nil
}

func (c *Claims) readCWT(label int64, r *detcbor.Items) {
	switch label {
	case claimIss:
		c.Issuer = r.Text()
	case claimSub:
		readUUID(r, &c.Subject)
	case claimAud:
		c.Audience = r.Text()
	case claimExp:
		c.Expires = readTime(r)
	case claimNbf:
		c.NotBefore = readTime(r)
	case claimIat:
		c.IssuedAt = readTime(r)
	case claimCti:
		c.ID = r.Bytes()
	case claimCnf:
		c.Confirmation.Thumbprint = readConfirmation(r)
	case claimScope:
		c.Scope = r.Text()
	case claimNonce:
		c.Nonce = r.Bytes()
	default:
		c.readPrivate(label, r)
	}
}

func (c *Claims) readPrivate(label int64, r *detcbor.Items) {
	switch label {
	case ClaimClientID:
		c.ClientID = r.Text()
	case ClaimOriginID:
		readUUID(r, &c.OriginID)
	case ClaimAuthTime:
		c.AuthTime = readTime(r)
	case ClaimDevice:
		c.Device = readDevice(r)
	case ClaimGroups:
		c.Groups = r.Texts()
	case ClaimRoles:
		c.Roles = r.Texts()
	case ClaimACR:
		c.ACR = r.Text()
	case ClaimAttributes:
		c.Attributes = r.TextMap()
	default:
		if label < 0 {
			r.Fail(fmt.Errorf("%w: it is not known and negative, so it is critical", ErrClaims))
		}
		r.Skip()
	}
}

func readUUID(r *detcbor.Items, u *ident.UUID) {
	b := r.Bytes()
	if len(b) != len(u) {
		r.Fail(fmt.Errorf("%w: an id of %d bytes, want %d", ErrClaims, len(b), len(u)))
		return
	}
	*u = ident.UUID(b)
}

func readTime(r *detcbor.Items) time.Time {
	t, err := timeOf(r.Int())
	if err != nil {
		r.Fail(err)
	}
	return t
}

func readDevice(r *detcbor.Items) ident.Device {
	d, err := ident.ParseDevice(r.Text())
	if err != nil {
		r.Fail(fmt.Errorf("%w: %w", ErrClaims, err))
	}
	return d
}

// readConfirmation reads cnf, which has exactly the one member kid.
func readConfirmation(r *detcbor.Items) []byte {
	if n := r.Want(detcbor.Map); n != 1 {
		r.Fail(fmt.Errorf("%w: cnf has %d members, want one", ErrClaims, n))
	}
	if r.Int() != cnfKID {
		r.Fail(fmt.Errorf("%w: cnf has no kid", ErrClaims))
	}
	thumb := r.Bytes()
	if len(thumb) != compactThumbprint {
		r.Fail(fmt.Errorf("%w: cnf has %d bytes, want %d", ErrClaims, len(thumb), compactThumbprint))
	}
	return thumb
}
