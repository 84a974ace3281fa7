package token

import (
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/signetd/signet/protocol/ident"
)

// Limits on claims.
const (
	MaxText  = 1024 // bytes of one text claim
	MaxList  = 64   // groups, roles or attributes
	MaxNonce = 64   // bytes (RFC 9711, 4.1)
	MinNonce = 8    // bytes
	MaxID    = 32   // bytes
)

// A compact token's cti is the first half of its session's id, then the end of its own.
const (
	compactSession = len(ident.UUIDPrefix{})
	compactOwn     = 4 // bytes, enough to tell the tokens of one session apart
	compactID      = compactSession + compactOwn
)

// Claims is what a token says, the same for JWT and CWT. A zero field is a claim
// that is absent. Times have whole seconds.
type Claims struct {
	Issuer       string     // iss: the pool's URL; the compact CWT leaves it to the key set
	Subject      ident.UUID // sub: the device
	Audience     string     // aud: one reader
	Expires      time.Time  // exp
	NotBefore    time.Time  // nbf
	IssuedAt     time.Time  // iat
	ID           []byte     // jti or cti; in JSON as base64url
	Confirmation Confirmation
	ClientID     string
	Scope        string     // space-separated
	Use          string     // token_use; set by the parsers, written from the class
	OriginID     ident.UUID // origin_jti: the session that refreshes keep; a compact CWT says less, see SessionPrefix
	AuthTime     time.Time  // auth_time: when the device last answered its challenges
	Nonce        []byte     // the device's own, 8 to 64 bytes; in JSON as base64url
	Device       ident.Device
	Groups       []string
	Roles        []string
	ACR          string // how the device was authenticated
	Attributes   map[string]string
}

// A Confirmation binds a token to the device's key (RFC 7800, RFC 8747). Each
// form has its own hash of the key.
type Confirmation struct {
	Thumbprint []byte // CWT: the COSE key thumbprint (RFC 9679) or its first 16 bytes
	JKT        []byte // JWT: the JWK thumbprint (RFC 7638), 32 bytes
}

// compactThumbprint is how much of a key's thumbprint a CWT carries: finding a
// second key with it costs 2^128 hashes.
const compactThumbprint = 16

// Confirm gives the confirmation of key, for both forms.
func Confirm(key *Key) Confirmation {
	thumb, jkt := key.Thumbprint(), key.JWKThumbprint()
	return Confirmation{Thumbprint: thumb[:compactThumbprint], JKT: jkt[:]}
}

// ConfirmSecret gives the confirmation of a shared key, for both forms: its
// HMAC-SHA-256 of "signet cnf v1", which no proof's input equals. It stays the same
// as long as the key does, and nothing of the key can be learnt from it.
func ConfirmSecret(s Secret) Confirmation {
	sum := s.Sum([]byte("signet cnf v1"))
	return Confirmation{Thumbprint: sum[:compactThumbprint], JKT: sum}
}

// IsZero reports whether c binds to nothing.
func (c Confirmation) IsZero() bool { return len(c.Thumbprint) == 0 && len(c.JKT) == 0 }

// Names reports whether c, as a token of one form has it, binds to the same key as own,
// which Confirm or ConfirmSecret gave. A confirmation that binds to nothing names none.
func (c Confirmation) Names(own Confirmation) bool {
	if c.IsZero() {
		return false
	}
	return (c.JKT == nil || string(c.JKT) == string(own.JKT)) && (c.Thumbprint == nil || string(c.Thumbprint) == string(own.Thumbprint))
}

// Matches reports whether c binds to key. A confirmation that binds to nothing
// matches no key.
func (c Confirmation) Matches(key *Key) bool {
	if key == nil || key.alg == 0 || c.IsZero() {
		return false
	}
	if c.JKT != nil && string(c.JKT) != string(key.jkt[:]) {
		return false
	}
	switch len(c.Thumbprint) {
	case 0:
		return true
	case compactThumbprint, len(key.thumb):
		return string(c.Thumbprint) == string(key.thumb[:len(c.Thumbprint)])
	}
	return false
}

// Compact gives the claims of a compact access CWT: without those that the pool's
// key set, the token's type or the broker's directory imply (issuer, times but
// the expiry, use, device name, nonce, acr), and with the session named inside the
// token id, for SessionPrefix to read, instead of a claim of its own. An id that is
// too short for that, or of no session, stays as it is.
func (c Claims) Compact() *Claims {
	c.compact() // apart, so that where it is called the copy need not go to the heap
	return &c
}

func (c *Claims) compact() {
	c.Issuer, c.Use, c.ACR = "", "", ""
	c.NotBefore, c.IssuedAt, c.AuthTime = time.Time{}, time.Time{}, time.Time{}
	c.Nonce, c.Device = nil, ident.Device{}
	if !c.OriginID.IsZero() && len(c.ID) >= compactOwn {
		session := c.OriginID.Prefix()
		c.ID = append(session[:], c.ID[len(c.ID)-compactOwn:]...)
		c.OriginID = ident.UUID{}
	}
}

// SessionPrefix gives how the id of c's session begins, if c is of a compact access
// CWT; false for one whose id has not that form. Other tokens name their session in
// OriginID, whole.
func (c *Claims) SessionPrefix() (session ident.UUIDPrefix, ok bool) {
	if !c.OriginID.IsZero() || len(c.Confirmation.JKT) > 0 || len(c.ID) != compactID {
		return session, false
	}
	return ident.UUIDPrefix(c.ID[:compactSession]), true
}

// A form is one of a token's two spellings.
type form uint8

const (
	formCWT form = iota + 1
	formJWT
)

// validate refuses claims that no token of the class has. Signing and parsing
// both end in it, so what one makes the other reads.
func (c *Claims) validate(class Class, f form) error {
	if class != Access && class != ID && class != MQTTPassword {
		return fmt.Errorf("%w: %s is no token", ErrType, class)
	}
	bound := c.Confirmation.Thumbprint
	if f == formJWT {
		bound = c.Confirmation.JKT
	}
	switch {
	case c.Subject.IsZero():
		return missing("sub")
	case c.Audience == "":
		return missing("aud")
	case c.Expires.IsZero():
		return missing("exp")
	case class == Access && len(bound) == 0:
		return missing("cnf")
	case class == MQTTPassword && !c.Confirmation.IsZero():
		return fmt.Errorf("%w: cnf in an MQTT password, which is bound to no key", ErrClaims)
	case class != ID && len(c.ID) == 0:
		return missing("jti")
	case f == formJWT && c.Issuer == "":
		return missing("iss")
	case (f == formJWT || class == ID) && c.IssuedAt.IsZero():
		return missing("iat")
	}
	return c.bounds()
}

func missing(claim string) error { return fmt.Errorf("%w: no %s", ErrClaims, claim) }

// bounds checks the sizes of what is there.
func (c *Claims) bounds() error {
	for _, s := range []string{c.Issuer, c.Audience, c.ClientID, c.Scope, c.ACR} {
		if err := checkText(s); err != nil {
			return err
		}
	}
	if len(c.Groups) > MaxList || len(c.Roles) > MaxList || len(c.Attributes) > MaxList {
		return fmt.Errorf("%w: more than %d groups, roles or attributes", ErrClaims, MaxList)
	}
	for _, list := range [][]string{c.Groups, c.Roles} {
		for _, s := range list {
			if err := checkText(s); err != nil {
				return err
			}
		}
	}
	for name, value := range c.Attributes {
		if err := checkText(name); err != nil {
			return err
		}
		if err := checkText(value); err != nil {
			return err
		}
	}
	return c.byteBounds()
}

func (c *Claims) byteBounds() error {
	if n := len(c.ID); n > MaxID {
		return fmt.Errorf("%w: token id has %d bytes, at most %d", ErrClaims, n, MaxID)
	}
	if n := len(c.Nonce); n > 0 && (n < MinNonce || n > MaxNonce) {
		return fmt.Errorf("%w: nonce has %d bytes, want %d to %d", ErrClaims, n, MinNonce, MaxNonce)
	}
	if n := len(c.Confirmation.JKT); n > 0 && n != 32 {
		return fmt.Errorf("%w: jkt has %d bytes, want 32", ErrClaims, n)
	}
	if n := len(c.Confirmation.Thumbprint); n > 0 && n != compactThumbprint && n != 32 {
		return fmt.Errorf("%w: thumbprint has %d bytes, want %d or 32", ErrClaims, n, compactThumbprint)
	}
	if !c.Device.IsZero() || c.Device == (ident.Device{}) {
		return nil
	}
	return fmt.Errorf("%w: device %q has only half a name", ErrClaims, c.Device)
}

func checkText(s string) error {
	if len(s) > MaxText {
		return fmt.Errorf("%w: text of %d bytes, at most %d", ErrClaims, len(s), MaxText)
	}
	if !utf8.ValidString(s) {
		return fmt.Errorf("%w: text is not UTF-8", ErrClaims)
	}
	return nil
}

// maxSeconds is the end of the year 9999: later times are mistakes, and some
// languages' clocks cannot hold them.
const maxSeconds = 253402300799

// timeOf reads a NumericDate.
func timeOf(seconds int64) (time.Time, error) {
	if seconds <= 0 || seconds > maxSeconds {
		return time.Time{}, fmt.Errorf("%w: time %d is out of range", ErrClaims, seconds)
	}
	return time.Unix(seconds, 0).UTC(), nil
}

// secondsOf writes a NumericDate; 0 stands for an absent one.
func secondsOf(t time.Time) (int64, error) {
	if t.IsZero() {
		return 0, nil
	}
	if s := t.Unix(); s > 0 && s <= maxSeconds {
		return s, nil
	}
	return 0, fmt.Errorf("%w: time %s is out of range", ErrClaims, t.UTC().Format(time.RFC3339))
}
