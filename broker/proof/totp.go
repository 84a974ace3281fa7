package proof

import (
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"hash"
	"io"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/auth"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/challenge"
	"github.com/signetd/signet/protocol/detcbor"
	"github.com/signetd/signet/protocol/ident"
)

const totpAMR = "otp" // RFC 8176, section 2

// Parameters of generators.
const (
	TOTPPeriod    = 30 // seconds of a step (RFC 6238, X)
	totpSkew      = 1  // steps that a generator's clock may be off, either way
	totpSecretLen = 20 // random bytes: as long as HMAC-SHA-1's output (RFC 4226, R6)
)

// A Generator makes time-based one-time codes (RFC 6238). Its fields are secret.
type Generator struct {
	Secret    []byte `cbor:"1,keyasint"`
	Algorithm string `cbor:"2,keyasint"` // "SHA1", "SHA256" or "SHA512"
	Digits    int    `cbor:"3,keyasint"` // 6 to 8
}

// makeGenerator is a broker.Maker. Its params are "algorithm", SHA1 unless given, and
// "digits", 6 unless given.
func makeGenerator(id ident.Device, params map[string]string, random io.Reader) (n broker.NewAuthenticator, err error) {
	g := &Generator{Secret: make([]byte, totpSecretLen), Algorithm: "SHA1", Digits: 6}
	for name, value := range params {
		switch name {
		case "algorithm":
			g.Algorithm = value
		case "digits":
			if g.Digits, err = strconv.Atoi(value); err != nil {
				return n, fmt.Errorf("%w: codes of %q digits", broker.ErrInvalid, value)
			}
		default:
			return n, fmt.Errorf("%w: generators of one-time codes have no parameter %q", broker.ErrInvalid, name)
		}
	}
	if !g.sound() {
		return n, fmt.Errorf("%w: codes of %d digits by %q; want 6 to 8 by SHA1, SHA256 or SHA512", broker.ErrInvalid, g.Digits, g.Algorithm)
	}
	if _, err := io.ReadFull(random, g.Secret); err != nil {
		return n, fmt.Errorf("secret of one-time codes: %w", err)
	}
	raw, err := detcbor.Marshal(g)
	if err != nil {
		return n, fmt.Errorf("one-time codes of %s: %w", id, err)
	}
	return broker.NewAuthenticator{ID: g.id(id), Secret: raw, Shown: g.uri(id)}, nil
}

func (g *Generator) sound() bool {
	return g.hash() != nil && g.Digits >= 6 && g.Digits <= 8 && len(g.Secret) > 0
}

func (g *Generator) hash() func() hash.Hash {
	switch g.Algorithm {
	case "SHA1": // as an HMAC it is sound (RFC 6194), and what every app knows
		return sha1.New
	case "SHA256":
		return sha256.New
	case "SHA512":
		return sha512.New
	}
	return nil
}

// Code is the code of a step: dynamic truncation of an HMAC (RFC 4226, section 5.3).
func (g *Generator) Code(step uint64) string {
	mac := hmac.New(g.hash(), g.Secret)
	mac.Write(binary.BigEndian.AppendUint64(nil, step))
	sum := mac.Sum(nil)
	at := sum[len(sum)-1] & 0x0f
	n, most := binary.BigEndian.Uint32(sum[at:])&0x7fffffff, uint32(1)
	for range g.Digits {
		most *= 10
	}
	return fmt.Sprintf("%0*d", g.Digits, n%most)
}

// find gives the step whose code this is, among those that count at now; 0 if it is none
// of theirs. It always takes the same time.
func (g *Generator) find(code string, now time.Time) (step uint64) {
	at := now.Unix() / TOTPPeriod
	for s := at - totpSkew; s <= at+totpSkew; s++ {
		if now.Unix() >= 0 && s > 0 && subtle.ConstantTimeCompare([]byte(g.Code(uint64(s))), []byte(code)) == 1 {
			step = uint64(s)
		}
	}
	return step
}

// uri is the generator as authenticator apps and password stores read it, often from a QR
// code ("otpauth://totp/..."). It holds the secret.
func (g *Generator) uri(id ident.Device) string {
	q := url.Values{
		"secret": {base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(g.Secret)}, "issuer": {"Signet"},
		"algorithm": {g.Algorithm}, "digits": {strconv.Itoa(g.Digits)}, "period": {strconv.Itoa(TOTPPeriod)},
	}
	return "otpauth://totp/Signet:" + url.PathEscape(id.String()) + "?" + q.Encode()
}

// id is the id of the device's authenticator: an HMAC that reveals nothing of the secret.
func (g *Generator) id(id ident.Device) broker.KeyID {
	mac := hmac.New(sha256.New, g.Secret)
	mac.Write([]byte("signet totp id v1 " + id.String()))
	return broker.KeyID(mac.Sum(nil))
}

func parseGenerator(raw []byte) (*Generator, error) {
	var g Generator
	if err := detcbor.Unmarshal(raw, &g); err != nil {
		return nil, err
	}
	if !g.sound() {
		return nil, fmt.Errorf("codes of %d digits by %q", g.Digits, g.Algorithm)
	}
	return &g, nil
}

// totp is the method of a one-time code, from a generator that the device itself has
// beside its key, or the person who operates it.
type totp struct{ secrets auth.Opener }

// Name is challenge.TOTP.
func (*totp) Name() string { return challenge.TOTP }

// Guessable is true: there are a million codes.
func (*totp) Guessable() bool { return true }

// Ask asks only a caller that has proved the device's key: anybody else could use up the
// device's tries.
func (*totp) Ask(_ context.Context, t *auth.Turn) (auth.Params, error) {
	if !t.Proven() {
		return auth.Params{}, fmt.Errorf("one-time code asked for before the device's key: %w", protocol.CodeDenied)
	}
	return auth.Params{Seals: true}, nil
}

// Check looks for the code among those of the current steps. The result's Step is its
// number; package auth refuses a number that was used before.
func (k *totp) Check(ctx context.Context, t *auth.Turn, m *protocol.Answer) (auth.Result, error) {
	answer, err := t.Secret(ctx, m)
	if err != nil {
		return auth.Result{}, err
	}
	d, err := t.Device(ctx)
	if err != nil {
		return auth.Result{}, err
	}
	r := auth.Result{Name: challenge.TOTP, AMR: totpAMR}
	if d == nil {
		return r, fmt.Errorf("no such device has a generator of one-time codes: %w", protocol.CodeDenied)
	}
	found := false
	for i := range d.Authenticators {
		held := &d.Authenticators[i]
		if held.Kind != challenge.TOTP {
			continue
		}
		found = true
		g, err := k.open(d.ID, held)
		if err != nil {
			return r, err
		}
		if step := g.find(strings.ReplaceAll(string(answer), " ", ""), t.Now()); step > 0 {
			r.OK, r.Step = true, step
		}
	}
	if !found {
		return r, fmt.Errorf("the device has no generator of one-time codes: %w", protocol.CodeDenied)
	}
	return r, nil
}

func (k *totp) open(d ident.Device, held *broker.Authenticator) (*Generator, error) {
	raw, err := k.secrets.Open(broker.AuthenticatorPurpose(challenge.TOTP, d), held.Sealed)
	if err != nil {
		return nil, fmt.Errorf("generator of one-time codes: %w", err)
	}
	g, err := parseGenerator(raw)
	if err != nil {
		return nil, fmt.Errorf("generator of one-time codes: %w", err)
	}
	return g, nil
}
