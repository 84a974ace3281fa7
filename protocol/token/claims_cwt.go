package token

import (
	"fmt"
	"slices"
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

// A claimWriter appends label and value of each claim that is set, and counts.
type claimWriter struct {
	b     []byte
	count uint64
	err   error
}

func (w *claimWriter) label(label int64) {
	w.b = detcbor.AppendInt(w.b, label)
	w.count++
}

func (w *claimWriter) text(label int64, s string) {
	if s != "" {
		w.label(label)
		w.b = detcbor.AppendText(w.b, s)
	}
}

func (w *claimWriter) bytes(label int64, s []byte) {
	if len(s) > 0 {
		w.label(label)
		w.b = detcbor.AppendBytes(w.b, s)
	}
}

func (w *claimWriter) uuid(label int64, u ident.UUID) {
	if !u.IsZero() {
		w.bytes(label, u[:])
	}
}

func (w *claimWriter) time(label int64, t time.Time) {
	seconds, err := secondsOf(t)
	if err != nil {
		w.err = err
	}
	if seconds != 0 {
		w.label(label)
		w.b = detcbor.AppendInt(w.b, seconds)
	}
}

func (w *claimWriter) texts(label int64, list []string) {
	if len(list) == 0 {
		return
	}
	w.label(label)
	w.b = detcbor.AppendHead(w.b, detcbor.Array, uint64(len(list)))
	for _, s := range list {
		w.b = detcbor.AppendText(w.b, s)
	}
}

func (w *claimWriter) attributes(label int64, attrs map[string]string) {
	if len(attrs) == 0 {
		return
	}
	names := make([]string, 0, len(attrs))
	for name := range attrs {
		names = append(names, name)
	}
	// In deterministic CBOR the length comes before the text.
	slices.SortFunc(names, func(a, b string) int {
		return slices.Compare(detcbor.AppendText(nil, a), detcbor.AppendText(nil, b))
	})
	w.label(label)
	w.b = detcbor.AppendHead(w.b, detcbor.Map, uint64(len(names)))
	for _, name := range names {
		w.b = detcbor.AppendText(detcbor.AppendText(w.b, name), attrs[name])
	}
}

// encodeCWTClaims writes the labels in deterministic order: 1, 2, ... -1, -2, ...
func encodeCWTClaims(c *Claims) ([]byte, error) {
	w := &claimWriter{b: make([]byte, 1, 160)} // the map's head comes first
	w.text(claimIss, c.Issuer)
	w.uuid(claimSub, c.Subject)
	w.text(claimAud, c.Audience)
	w.time(claimExp, c.Expires)
	w.time(claimNbf, c.NotBefore)
	w.time(claimIat, c.IssuedAt)
	w.bytes(claimCti, c.ID)
	if thumb := c.Confirmation.Thumbprint; len(thumb) > 0 {
		w.label(claimCnf)
		w.b = detcbor.AppendBytes(detcbor.AppendInt(detcbor.AppendHead(w.b, detcbor.Map, 1), cnfKID), thumb[:compactThumbprint])
	}
	w.text(claimScope, c.Scope)
	w.bytes(claimNonce, c.Nonce)
	w.text(ClaimClientID, c.ClientID)
	w.uuid(ClaimOriginID, c.OriginID)
	w.time(ClaimAuthTime, c.AuthTime)
	if !c.Device.IsZero() {
		w.text(ClaimDevice, c.Device.String())
	}
	w.texts(ClaimGroups, c.Groups)
	w.texts(ClaimRoles, c.Roles)
	w.text(ClaimACR, c.ACR)
	w.attributes(ClaimAttributes, c.Attributes)
	if w.err != nil {
		return nil, w.err
	}
	detcbor.AppendHead(w.b[:0], detcbor.Map, w.count) // one byte: there are fewer than 24 claims
	return w.b, nil
}

func decodeCWTClaims(payload []byte) (*Claims, error) {
	r, err := newReader(payload)
	if err != nil {
		return nil, fmt.Errorf("%w: claims: %w", ErrMalformed, err)
	}
	c := new(Claims)
	if err := r.labels("claims", func(label int64) error { return c.readCWT(label, r) }); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *Claims) readCWT(label int64, r *reader) (err error) {
	switch label {
	case claimIss:
		c.Issuer, err = r.text("iss")
	case claimSub:
		c.Subject, err = r.uuid("sub")
	case claimAud:
		c.Audience, err = r.text("aud")
	case claimExp:
		c.Expires, err = r.time("exp")
	case claimNbf:
		c.NotBefore, err = r.time("nbf")
	case claimIat:
		c.IssuedAt, err = r.time("iat")
	case claimCti:
		c.ID, err = r.bytes("cti")
	case claimCnf:
		c.Confirmation.Thumbprint, err = r.confirmation()
	case claimScope:
		c.Scope, err = r.text("scope")
	case claimNonce:
		c.Nonce, err = r.bytes("nonce")
	default:
		return c.readPrivate(label, r)
	}
	return err
}

func (c *Claims) readPrivate(label int64, r *reader) (err error) {
	switch label {
	case ClaimClientID:
		c.ClientID, err = r.text("client_id")
	case ClaimOriginID:
		c.OriginID, err = r.uuid("origin_jti")
	case ClaimAuthTime:
		c.AuthTime, err = r.time("auth_time")
	case ClaimDevice:
		c.Device, err = r.device()
	case ClaimGroups:
		c.Groups, err = r.texts("groups")
	case ClaimRoles:
		c.Roles, err = r.texts("roles")
	case ClaimACR:
		c.ACR, err = r.text("acr")
	case ClaimAttributes:
		c.Attributes, err = r.attributes()
	default:
		if label < 0 {
			return fmt.Errorf("%w: label %d is not known and negative, so it is critical", ErrClaims, label)
		}
		r.Skip()
	}
	return err
}

func (r *reader) uuid(what string) (ident.UUID, error) {
	b, err := r.bytes(what)
	if err != nil {
		return ident.UUID{}, err
	}
	if len(b) != 16 {
		return ident.UUID{}, fmt.Errorf("%w: %s has %d bytes, want 16", ErrClaims, what, len(b))
	}
	return ident.UUID(b), nil
}

func (r *reader) time(what string) (time.Time, error) {
	n, err := r.integer(what)
	if err != nil {
		return time.Time{}, err
	}
	return timeOf(n)
}

func (r *reader) device() (ident.Device, error) {
	s, err := r.text("device")
	if err != nil {
		return ident.Device{}, err
	}
	d, err := ident.ParseDevice(s)
	if err != nil {
		return ident.Device{}, fmt.Errorf("%w: %w", ErrClaims, err)
	}
	return d, nil
}

// confirmation reads cnf, which has exactly the one member kid.
func (r *reader) confirmation() ([]byte, error) {
	n, err := r.want(detcbor.Map, "cnf")
	if err != nil {
		return nil, err
	}
	if n != 1 {
		return nil, fmt.Errorf("%w: cnf has %d members, want one", ErrClaims, n)
	}
	if label, err := r.integer("cnf"); err != nil || label != cnfKID {
		return nil, fmt.Errorf("%w: cnf has no kid", ErrClaims)
	}
	thumb, err := r.bytes("cnf")
	if err != nil {
		return nil, err
	}
	if len(thumb) != compactThumbprint {
		return nil, fmt.Errorf("%w: cnf has %d bytes, want %d", ErrClaims, len(thumb), compactThumbprint)
	}
	return thumb, nil
}

func (r *reader) attributes() (map[string]string, error) {
	n, err := r.want(detcbor.Map, "attributes")
	if err != nil {
		return nil, err
	}
	out := make(map[string]string, n)
	for range n {
		name, err := r.text("attribute name")
		if err != nil {
			return nil, err
		}
		if out[name], err = r.text("attribute"); err != nil {
			return nil, err
		}
	}
	return out, nil
}
