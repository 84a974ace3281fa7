// Package ace has the bytes with which a client of RFC 9431 (MQTT-TLS profile of ACE) authenticates: an
// access token, and a proof by the key that it is bound to, in the Authentication Data of MQTT 5 or in the user name and
// password of MQTT 3.1.1. Both sides use it.
//
// It checks no token and no proof, and does no I/O.
package ace

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// Method is the Authentication Method (RFC 9431, section 2.2.4.2), and what a user name of MQTT 3.1.1
// begins with (section 6.1).
const Method = "ace"

// NonceLen is the length of either nonce in bytes (section 2.2.4.2.2).
const NonceLen = 8

// maxProof is more bytes than any proof has that a key of ours makes.
const maxProof = 512

// ErrMalformed: the bytes are none of RFC 9431's.
var ErrMalformed = errors.New("ace: malformed")

// An Opening is the Authentication Data of CONNECT, or of the AUTH that begins a re-authentication: a
// token, and with it a proof over what the TLS connection exports (section 2.2.4.2.1; channel.Challenge), or
// none: then the server asks for one by a nonce (section 2.2.4.2.2).
type Opening struct {
	Token []byte // a CWT, or a JWT's text
	Proof []byte // signature or HMAC; nil: to be asked for
}

// Append appends the Opening as bytes. A token longer than its length can say is an error.
func (o Opening) Append(dst []byte) ([]byte, error) {
	if len(o.Token) == 0 || len(o.Token) > 0xffff {
		return dst, fmt.Errorf("%w: a token of %d bytes", ErrMalformed, len(o.Token))
	}
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(o.Token)))
	return append(append(dst, o.Token...), o.Proof...), nil
}

// ParseOpening reads an Opening, whose parts are parts of data: ErrMalformed.
func ParseOpening(data []byte) (Opening, error) {
	if len(data) < 2 {
		return Opening{}, fmt.Errorf("%w: %d bytes in place of a token and its length", ErrMalformed, len(data))
	}
	n := int(binary.BigEndian.Uint16(data))
	if data = data[2:]; n == 0 || n > len(data) || len(data)-n > maxProof {
		return Opening{}, fmt.Errorf("%w: a token of %d bytes and a proof in %d", ErrMalformed, n, len(data))
	}
	o := Opening{Token: data[:n:n]}
	if n < len(data) {
		o.Proof = data[n:]
	}
	return o, nil
}

// A Response answers the server's nonce: a nonce of the client's own, and a proof over Input.
type Response struct {
	Nonce [NonceLen]byte
	Proof []byte
}

// Append appends the Response as bytes.
func (r Response) Append(dst []byte) []byte { return append(append(dst, r.Nonce[:]...), r.Proof...) }

// ParseResponse reads a Response, whose proof is a part of data: ErrMalformed.
func ParseResponse(data []byte) (r Response, err error) {
	if len(data) <= NonceLen || len(data)-NonceLen > maxProof {
		return r, fmt.Errorf("%w: %d bytes in place of a nonce and a proof", ErrMalformed, len(data))
	}
	copy(r.Nonce[:], data)
	r.Proof = data[NonceLen:]
	return r, nil
}

// Input is what the proof of a Response covers: the server's nonce, then the client's. It has 16 bytes,
// what a TLS connection exports 32, and everything else that a device's key signs more than that: none can stand for another.
func (r *Response) Input(server [NonceLen]byte) []byte {
	return append(append(make([]byte, 0, 2*NonceLen), server[:]...), r.Nonce[:]...)
}

// UserName is the user name of MQTT 3.1.1 that has a token (section 6.1). The password beside it is the proof over what the
// TLS connection exports, and nothing else.
func UserName(token []byte) string { return Method + base64.RawURLEncoding.EncodeToString(token) }

// IsUserName tells such a user name from a device's, which has a colon.
func IsUserName(name string) bool {
	return strings.HasPrefix(name, Method) && !strings.ContainsAny(name, ":/")
}

// ParseUserName gives the token in a user name, strictly: ErrMalformed.
func ParseUserName(name string) (token []byte, err error) {
	text, ok := strings.CutPrefix(name, Method)
	if token, err = base64.RawURLEncoding.Strict().DecodeString(text); !ok || err != nil || len(token) == 0 || strings.ContainsAny(text, "\r\n") {
		return nil, fmt.Errorf("%w: a user name that is not %q and a token in base64url", ErrMalformed, Method)
	}
	return token, nil
}
