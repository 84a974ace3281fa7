// Package verify is what a backend uses to believe a device: one constructor, one
// call. New takes the issuer, the audience and the algorithms that are acceptable
// (all required, nothing is guessed) and a source of keys; Verify reads an access
// token, JWT or CWT, and says whose it is or why not.
//
//	keys, err := verify.ParseJWKS([]byte(poolJWKS))
//	if err != nil {
//		log.Fatal(err)
//	}
//	v, err := verify.New(verify.Config{
//		Issuer:     "https://signet.example/pools/demo",
//		Audience:   "demo",
//		Algorithms: []token.Alg{token.EdDSA},
//		Keys:       keys,
//		Now:        backThen,
//	})
//	if err != nil {
//		log.Fatal(err)
//	}
//	claims, err := v.Verify(context.Background(), []byte(lampJWT))
//
// Keys come from a file (ParseJWKS, ParseCOSEKeySet, ParsePEM) or, fetched and kept
// fresh, from verify/remote. Middleware puts all of it in front of an http.Handler.
//
// The package opens no connection, and never takes a key or an algorithm from a token.
package verify

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/signetd/signet/protocol/token"
)

// Every error of Verify and VerifyID wraps one of these, or that of the key source.
var (
	ErrMalformed   = token.ErrMalformed  // not a token
	ErrHeader      = token.ErrHeader     // a header that is not allowed
	ErrType        = token.ErrType       // a token of another type
	ErrAlgorithm   = token.ErrAlgorithm  // an algorithm that is not the key's or not in the list
	ErrSignature   = token.ErrSignature  // forged or damaged
	ErrUnknownKey  = token.ErrUnknownKey // no key of that id
	ErrClaims      = token.ErrClaims     // a claim is missing or out of bounds
	ErrExpired     = errors.New("token has expired")
	ErrNotYetValid = errors.New("token is not valid yet")
	ErrAudience    = errors.New("token is for another audience")
	ErrIssuer      = errors.New("token is from another issuer")
)

// A KeySource finds the key that kid names among the keys of one issuer. It
// returns an error that wraps ErrUnknownKey if there is none. It is called by
// many goroutines at once.
type KeySource interface {
	Key(ctx context.Context, kid []byte) (*token.Key, error)
}

// DefaultLeeway is how much clocks may differ if Config does not say.
const DefaultLeeway = time.Minute

// Config says which tokens are acceptable.
type Config struct {
	Issuer     string           // the pool's URL, byte for byte; required
	Audience   string           // whom tokens must be for; required
	Algorithms []token.Alg      // what their keys may be; required
	Keys       KeySource        // the issuer's keys and nobody else's; required
	Leeway     time.Duration    // difference between clocks; 0 means DefaultLeeway, negative none
	Now        func() time.Time // nil means time.Now
}

// A Verifier checks tokens. It never changes and may be shared.
type Verifier struct{ config Config }

// New checks the configuration.
func New(c Config) (*Verifier, error) {
	switch {
	case c.Issuer == "":
		return nil, errors.New("verify: Config.Issuer is required: the pool's URL")
	case c.Audience == "":
		return nil, errors.New("verify: Config.Audience is required: whom tokens must be for, by default the pool's name")
	case len(c.Algorithms) == 0:
		return nil, errors.New("verify: Config.Algorithms is required: for example token.ES256")
	case c.Keys == nil:
		return nil, errors.New("verify: Config.Keys is required: a KeySet or remote.New")
	}
	for _, alg := range c.Algorithms {
		if alg != token.ES256 && alg != token.EdDSA && alg != token.RS256 {
			return nil, fmt.Errorf("verify: Config.Algorithms: %s is no signature algorithm for tokens", alg)
		}
	}
	c.Algorithms = slices.Clone(c.Algorithms)
	switch {
	case c.Leeway == 0:
		c.Leeway = DefaultLeeway
	case c.Leeway < 0:
		c.Leeway = 0
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Verifier{c}, nil
}

// Verify reads an access token: a JWT, a CWT as bytes, or a CWT in base64url.
func (v *Verifier) Verify(ctx context.Context, raw []byte) (*token.Claims, error) {
	return v.verify(ctx, raw, token.Access)
}

// VerifyID reads an ID token in the same forms. Who sent a nonce compares it.
func (v *Verifier) VerifyID(ctx context.Context, raw []byte) (*token.Claims, error) {
	return v.verify(ctx, raw, token.ID)
}

// VerifyMQTTPassword reads an MQTT password in the same forms, for the issuer's own MQTT
// server, which is the Audience. It is a bearer secret: to have it is to be let in.
func (v *Verifier) VerifyMQTTPassword(ctx context.Context, raw []byte) (*token.Claims, error) {
	return v.verify(ctx, raw, token.MQTTPassword)
}

func (v *Verifier) verify(ctx context.Context, raw []byte, class token.Class) (*token.Claims, error) {
	lookup := func(kid []byte) (*token.Key, error) { return v.key(ctx, kid) }
	claims, err := parse(raw, class, lookup)
	if err != nil {
		return nil, fmt.Errorf("verify %s: %w", named(class), err)
	}
	if err := v.check(claims); err != nil {
		return nil, fmt.Errorf("verify %s: %w", named(class), err)
	}
	return claims, nil
}

// named is how errors call what is verified.
func named(class token.Class) string {
	if class == token.MQTTPassword {
		return class.String()
	}
	return class.String() + " token"
}

// firstCWT is the tag that every CWT starts with; no JWT and no base64 does.
const firstCWT = 0xd2

// strictBase64 never changes.
var strictBase64 = base64.RawURLEncoding.Strict()

func parse(raw []byte, class token.Class, lookup token.Lookup) (*token.Claims, error) {
	if len(raw) > 2*token.MaxSize {
		return nil, fmt.Errorf("%w: %d bytes", ErrMalformed, len(raw))
	}
	switch {
	case len(raw) > 0 && raw[0] == firstCWT:
		return token.ParseCWT(raw, class, lookup)
	case bytes.IndexByte(raw, '.') >= 0:
		return token.ParseJWT(raw, class, lookup)
	case bytes.ContainsAny(raw, "\r\n"):
		return nil, fmt.Errorf("%w: line break in base64url", ErrMalformed)
	}
	cwt, err := strictBase64.AppendDecode(nil, raw)
	if err != nil {
		return nil, fmt.Errorf("%w: neither a JWT nor a CWT: %w", ErrMalformed, err)
	}
	return token.ParseCWT(cwt, class, lookup)
}

// key asks the source, and refuses keys of algorithms that are not in the list.
func (v *Verifier) key(ctx context.Context, kid []byte) (*token.Key, error) {
	key, err := v.config.Keys.Key(ctx, kid)
	if err != nil {
		return nil, err
	}
	if key == nil {
		return nil, ErrUnknownKey
	}
	if !slices.Contains(v.config.Algorithms, key.Alg()) {
		return nil, fmt.Errorf("%w: %s keys are not accepted here", ErrAlgorithm, key.Alg())
	}
	return key, nil
}

// check compares the claims with the configuration. A compact CWT names no
// issuer: its signature by one of the issuer's keys does.
func (v *Verifier) check(c *token.Claims) error {
	if c.Issuer == "" {
		c.Issuer = v.config.Issuer
	}
	if c.Issuer != v.config.Issuer {
		return fmt.Errorf("%w: %q, want %q", ErrIssuer, c.Issuer, v.config.Issuer)
	}
	if c.Audience != v.config.Audience {
		return fmt.Errorf("%w: %q, want %q", ErrAudience, c.Audience, v.config.Audience)
	}
	now, leeway := v.config.Now(), v.config.Leeway
	if !now.Before(c.Expires.Add(leeway)) {
		return fmt.Errorf("%w: at %s", ErrExpired, c.Expires.Format(time.RFC3339))
	}
	for _, start := range []time.Time{c.NotBefore, c.IssuedAt} {
		if !start.IsZero() && now.Before(start.Add(-leeway)) {
			return fmt.Errorf("%w: before %s", ErrNotYetValid, start.Format(time.RFC3339))
		}
	}
	return nil
}
