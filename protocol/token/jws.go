package token

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"

	"github.com/signetd/signet/protocol/strictjson"
)

// A JWS is a compact JWS (RFC 7515, 7.1) as it was read; its signature is checked
// before a caller sees one.
type JWS struct {
	Payload []byte
	KID     string // "" if there is none
	Type    string // typ, "" if there is none

	alg    string
	signed []byte // header.payload as it came
	sig    []byte
	others bool // has header parameters beside alg, typ and kid
}

// SignJWS signs payload as a compact JWS with the given typ and the signer's kid.
func SignJWS(typ string, payload []byte, s *Signer) (string, error) {
	if typ == "" {
		return "", fmt.Errorf("%w: no typ", ErrType)
	}
	quoted, err := json.Marshal(typ)
	if err != nil {
		return "", fmt.Errorf("%w: typ: %w", ErrType, err)
	}
	header := fmt.Appendf(nil, `{"alg":"%s","kid":"%s","typ":%s}`, s.key.alg, s.key.kid, quoted)
	b64 := base64.RawURLEncoding
	out := make([]byte, 0, 128+b64.EncodedLen(len(payload))+b64.EncodedLen(256))
	out = append(b64.AppendEncode(out, header), '.')
	out = b64.AppendEncode(out, payload)
	sig, err := s.Sign(out)
	if err != nil {
		return "", err
	}
	out = b64.AppendEncode(append(out, '.'), sig)
	if len(out) > MaxSize {
		return "", fmt.Errorf("%w: %d bytes, at most %d", ErrMalformed, len(out), MaxSize)
	}
	return string(out), nil
}

// VerifyJWS reads a compact JWS of any type and checks it with key. It is for
// objects that are not tokens and for vector collections: the caller looks at
// Type. To read a token, use ParseJWT.
func VerifyJWS(raw []byte, key *Key) (*JWS, error) {
	m, err := parseJWS(raw)
	if err != nil {
		return nil, err
	}
	if err := m.verify(key); err != nil {
		return nil, err
	}
	return m, nil
}

func (m *JWS) verify(key *Key) error {
	if key == nil || key.alg == 0 {
		return fmt.Errorf("%w: none given", ErrKey)
	}
	if m.alg != key.alg.String() {
		return fmt.Errorf("%w: header says %q, the key is for %s", ErrAlgorithm, m.alg, key.alg)
	}
	return key.Verify(m.signed, m.sig)
}

// strict holds the header against Signet's profile: the class's typ and nothing
// but alg, typ and kid.
func (m *JWS) strict(class Class) error {
	if err := class.checkJWT(m.Type); err != nil {
		return err
	}
	if m.others {
		return fmt.Errorf("%w: only alg, typ and kid may be in it", ErrHeader)
	}
	if m.KID == "" {
		return fmt.Errorf("%w: no kid", ErrHeader)
	}
	return nil
}

// parseJWS reads the three parts, and checks all but type and signature.
func parseJWS(raw []byte) (*JWS, error) {
	if len(raw) > MaxSize {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrMalformed, len(raw), MaxSize)
	}
	first := bytes.IndexByte(raw, '.')
	last := bytes.LastIndexByte(raw, '.')
	if first < 0 || first == last || bytes.IndexByte(raw[first+1:last], '.') >= 0 {
		return nil, fmt.Errorf("%w: a compact JWS has three parts", ErrMalformed)
	}
	m := &JWS{signed: raw[:last]}
	header, err := decodeBase64("header", raw[:first])
	if err != nil {
		return nil, err
	}
	if err := m.readHeader(header); err != nil {
		return nil, err
	}
	if m.Payload, err = decodeBase64("payload", raw[first+1:last]); err != nil {
		return nil, err
	}
	m.sig, err = decodeBase64("signature", raw[last+1:])
	return m, err
}

func (m *JWS) readHeader(header []byte) error {
	members, err := strictjson.Object(header)
	if err != nil {
		return fmt.Errorf("%w: header: %w", ErrMalformed, err)
	}
	for _, member := range members {
		if err := m.member(member); err != nil {
			return err
		}
	}
	if m.alg == "" {
		return fmt.Errorf("%w: no alg", ErrHeader)
	}
	if len(m.KID) > MaxKID {
		return fmt.Errorf("%w: kid has %d bytes, at most %d", ErrHeader, len(m.KID), MaxKID)
	}
	return nil
}

func (m *JWS) member(member strictjson.Member) (err error) {
	switch member.Name {
	case "alg":
		m.alg, err = member.Value.Text()
	case "kid":
		m.KID, err = member.Value.Text()
	case "typ":
		m.Type, err = member.Value.Text()
	case "crit", "jku", "jwk", "x5u", "x5c", "x5t", "x5t#S256", "b64", "zip", "enc":
		return fmt.Errorf("%w: %s", ErrHeader, member.Name)
	default:
		m.others = true
	}
	if err != nil {
		return fmt.Errorf("%w: header: %s: %w", ErrMalformed, member.Name, err)
	}
	return nil
}

// strictBase64 never changes; making it copies some hundred bytes.
var strictBase64 = base64.RawURLEncoding.Strict()

// decodeBase64 reads base64url as RFC 7515, section 2 writes it: no padding, no
// line breaks (which encoding/base64 passes over), no stray bits at the end.
func decodeBase64(what string, in []byte) ([]byte, error) {
	if bytes.ContainsAny(in, "\r\n") {
		return nil, fmt.Errorf("%w: %s: line break in base64url", ErrMalformed, what)
	}
	out := make([]byte, strictBase64.DecodedLen(len(in)))
	if _, err := strictBase64.Decode(out, in); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrMalformed, what, err)
	}
	return out, nil
}
