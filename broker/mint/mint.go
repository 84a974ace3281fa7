// Package mint makes what an authenticated device gets: access, ID and refresh
// tokens, and the session that they belong to. It gives them for auth.Proven
// alone, evidence that only package auth can make.
//
// It never decides who a device is, never writes to the store, and never sees a
// transport.
package mint

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/access"
	"github.com/signetd/signet/broker/auth"
	"github.com/signetd/signet/broker/keyring"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/token"
	"github.com/signetd/signet/protocol/topic"
)

// Rings gives the opened keys of pools.
type Rings interface {
	Ring(ctx context.Context, pool ident.Pool) (*keyring.Ring, error)
}

// Config is what New needs. Random defaults to the system's.
type Config struct {
	Rings Rings
	// RefreshKey is the cluster's secret that refresh tokens are derived from, at least 32 bytes.
	RefreshKey []byte
	Random     io.Reader
}

// A Minter makes tokens and sessions. It is safe for concurrent use.
type Minter struct {
	rings  Rings
	macs   sync.Pool // of hash.Hash: HMAC with the refresh key, which costs half as much once it is made
	random io.Reader
}

// New makes a Minter. It refuses a Config without Rings or with a short RefreshKey.
func New(c Config) (*Minter, error) {
	if c.Rings == nil || len(c.RefreshKey) < 32 {
		return nil, errors.New("mint: rings and a refresh key of 32 bytes are required")
	}
	if c.Random == nil {
		c.Random = rand.Reader
	}
	m := &Minter{rings: c.Rings, random: c.Random}
	m.macs.New = func() any { return hmac.New(sha256.New, c.RefreshKey) }
	return m, nil
}

// ErrNoEvidence is the error for a Proven that package auth did not make.
var ErrNoEvidence = errors.New("mint: no evidence of an authentication")

// Minted is a grant and its session. The grant may be handed out once the session is
// stored durably.
type Minted struct {
	Body    protocol.GrantBody
	Session broker.Session
	// Until is how long a connection may go on by this grant: as long as an access token lives.
	Until time.Time
	// Newer is what the device has of this broker that the store does not know of, in words:
	// an older copy of the store was put back, and nobody has said so. "": nothing.
	Newer string

	epoch uint64 // of the store
}

// Login makes the grant of a login, with a new session.
func (m *Minter) Login(ctx context.Context, p *auth.Proven) (Minted, error) {
	if !p.Valid() {
		return Minted{}, ErrNoEvidence
	}
	client := p.Client()
	s := broker.Session{
		ID: p.Exchange(), Device: p.Device().ID, Subject: p.Device().Subject, Client: client.ID, ClientSince: client.Created, Created: p.At(), Rotated: p.At(),
		DeviceRev: p.Device().Rev, Last: p.Request().LastSession(),
	}
	var refresh []byte
	if client.RefreshLife > 0 {
		s.Expires = p.At().Add(client.RefreshLife)
		s.Generation = 1
		refresh = m.refreshToken(s.ID, 1)
		s.Handle = handleOf(refresh)
	}
	return m.grant(ctx, p, client, s, refresh)
}

// Refreshed makes the grant of a refresh, for a session as Rotate changed it; r is what
// Rotate gave.
func (m *Minter) Refreshed(ctx context.Context, p *auth.Proven, s broker.Session, r *Rotation) (Minted, error) {
	if !p.Valid() {
		return Minted{}, ErrNoEvidence
	}
	var refresh []byte
	if !s.Expires.IsZero() {
		refresh = m.refreshToken(s.ID, s.Generation)
	}
	minted, err := m.grant(ctx, p, p.Client(), s, refresh)
	if err != nil {
		return Minted{}, err
	}
	// What a session lacks from before the store was put back is known to be lost; so is what
	// it lacks from that very second, for an epoch is one.
	if r.Ahead > 0 && minted.Newer == "" && uint64(max(r.Known.Unix(), 0)) > minted.epoch {
		minted.Newer = fmt.Sprintf("a refresh token %d after the store's", r.Ahead)
	}
	return minted, nil
}

// grant makes the grant of s, whose refresh token now valid is refresh; nil if it has none.
func (m *Minter) grant(ctx context.Context, p *auth.Proven, client *broker.Client, s broker.Session, refresh []byte) (minted Minted, err error) {
	ring, err := m.rings.Ring(ctx, p.Request().Pool)
	if err != nil {
		return minted, err
	}
	claims, err := m.claims(p, client, ring, &s)
	if err != nil {
		return minted, err
	}
	signed, life, err := m.wanted(p, &claims, ring)
	if err != nil {
		return minted, err
	}
	id, err := signID(p, &claims, ring.Signer)
	if err != nil {
		return minted, fmt.Errorf("ID token: %w", err)
	}
	may := access.Permissions(p.Device().ID)
	minted = Minted{Session: s, Until: claims.Expires, epoch: ring.Epoch}
	body := &minted.Body
	*body = protocol.GrantBody{
		Access: signed, ID: id, Session: s.ID, Life: uint32(life / time.Second),
		Subject: p.Device().Subject, Issuer: ring.Issuer,
		Publish: filters(may.Publish), Subscribe: filters(may.Subscribe),
	}
	if p.Request().Format == protocol.FormatJWT {
		text, err := signIDJWT(p, &claims, ring.Signer)
		if err != nil {
			return minted, fmt.Errorf("ID token: %w", err)
		}
		body.IDJWT = []byte(text)
	}
	if refresh != nil {
		body.Refresh = refresh
		body.Refreshes = uint32(s.Expires.Sub(p.At()) / time.Second)
	}
	body.PoolKeys = ring.For(p.Request(), p.Enrollment() != nil)
	if shown := p.Request().Newer; shown != nil {
		if s, newer := ring.Newer(shown); newer {
			minted.Newer = fmt.Sprintf("a key statement of epoch %d, signed %s", s.Epoch, s.Issued.UTC().Format(time.RFC3339))
		}
	}
	return minted, nil
}

// wanted signs what the device asked for, with its life: the access token that c is of,
// or an MQTT password in its place.
func (m *Minter) wanted(p *auth.Proven, c *token.Claims, ring *keyring.Ring) (signed []byte, life time.Duration, err error) {
	if p.Request().Want != protocol.WantMQTTPassword {
		signed, err = sign(token.Access, p, c, ring.Signer)
		return signed, c.Expires.Sub(p.At()), err
	}
	if life = ring.MQTTPasswordLife; life == 0 {
		return nil, 0, fmt.Errorf("MQTT password: the pool gives none: %w", protocol.CodeDenied)
	}
	of := *c
	of.Audience, of.Expires, of.Confirmation = ring.MQTTAudience(), p.At().Add(life), token.Confirmation{}
	signed, err = sign(token.MQTTPassword, p, &of, ring.Signer)
	return signed, life, err
}

func (m *Minter) claims(p *auth.Proven, client *broker.Client, ring *keyring.Ring, s *broker.Session) (c token.Claims, err error) {
	request, d := p.Request(), p.Device()
	audience := request.Audience
	if audience == "" {
		audience = request.Pool.String()
	} else if audience != request.Pool.String() && !slices.Contains(client.Audiences, audience) {
		return c, fmt.Errorf("audience %q is not the client's: %w", audience, protocol.CodeDenied)
	}
	if request.Scope != "" {
		return c, fmt.Errorf("scope %q: this client has none: %w", request.Scope, protocol.CodeDenied)
	}
	id := make([]byte, 8)
	if _, err := io.ReadFull(m.random, id); err != nil {
		return c, fmt.Errorf("token id: %w", err)
	}
	return token.Claims{
		Issuer: ring.Issuer, Subject: d.Subject, Audience: audience, IssuedAt: p.At(), Expires: p.At().Add(client.AccessLife),
		ID: id, Confirmation: p.Confirmation(), ClientID: client.ID, OriginID: s.ID, AuthTime: s.Created, Device: d.ID, Groups: d.Groups,
	}, nil
}

// sign signs an access token or an MQTT password: a JWT, or a CWT in the compact profile. Both name
// the session, which decides whether the token still counts; its times alone could not,
// because the clocks of those who issue and those who revoke differ. The compact one does
// so inside its id, to stay within 150 bytes.
func sign(class token.Class, p *auth.Proven, c *token.Claims, s *token.Signer) (signed []byte, err error) {
	if p.Request().Format == protocol.FormatJWT {
		var text string
		text, err = token.SignJWT(class, c, s)
		signed = []byte(text)
	} else {
		compact := c.Compact()
		if compact.ClientID == broker.DefaultClient {
			compact.ClientID = ""
		}
		signed, err = token.SignCWT(class, compact, s)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", class, err)
	}
	return signed, nil
}

// signID signs the ID token for the device itself. It proves the broker to the device,
// because it carries the nonce that the device sent. Its audience is the client (OpenID
// Connect Core, section 2).
func signID(p *auth.Proven, c *token.Claims, s *token.Signer) ([]byte, error) {
	return token.SignCWT(token.ID, &token.Claims{
		Issuer: c.Issuer, Subject: c.Subject, Audience: c.ClientID, IssuedAt: c.IssuedAt, Expires: c.Expires, Nonce: p.Request().Nonce,
	}, s)
}

// signIDJWT signs the ID token for others, who read JWTs. It says who the device is, which
// the CWT need not tell the device.
func signIDJWT(p *auth.Proven, c *token.Claims, s *token.Signer) (string, error) {
	return token.SignJWT(token.ID, &token.Claims{
		Issuer: c.Issuer, Subject: c.Subject, Audience: c.ClientID, IssuedAt: c.IssuedAt, Expires: c.Expires, Nonce: p.Request().Nonce,
		ID: c.ID, AuthTime: c.AuthTime, OriginID: c.OriginID, Device: c.Device, Groups: c.Groups,
	}, s)
}

func filters(fs []topic.Filter) []string {
	out := make([]string, len(fs))
	for i, f := range fs {
		out[i] = f.String()
	}
	return out
}

// refreshToken derives the n-th refresh token of a session. So the same token can be
// given twice, although the store never holds one.
func (m *Minter) refreshToken(session ident.UUID, n uint32) []byte {
	mac := m.macs.Get().(hash.Hash)
	defer m.macs.Put(mac)
	mac.Reset()
	mac.Write([]byte("signet refresh v1"))
	mac.Write(session[:])
	mac.Write(binary.BigEndian.AppendUint32(nil, n))
	return mac.Sum(nil)
}

// handleOf is the hash that the device sends, and the store keeps, instead of the refresh
// token.
func handleOf(refreshToken []byte) []byte {
	sum := sha256.Sum256(refreshToken)
	return sum[:]
}
