package verify

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/signetd/signet/protocol/strictjson"
	"github.com/signetd/signet/protocol/token"
)

// A KeySet is a KeySource of fixed keys. It finds a key by its JWK thumbprint, by
// the start of its COSE thumbprint, and by the kid that a JWK set gave it. It never
// changes and may be shared.
type KeySet struct {
	keys  []*token.Key
	byKID map[string]*token.Key
}

// NewKeySet makes a set of keys. Two keys with one id are refused.
func NewKeySet(keys ...*token.Key) (*KeySet, error) {
	s := &KeySet{byKID: make(map[string]*token.Key, 2*len(keys))}
	for _, k := range keys {
		if err := s.add(k, ""); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// add enters a key under its own ids and, if there is one, the given.
func (s *KeySet) add(k *token.Key, kid string) error {
	if k == nil || k.Alg() == 0 {
		return fmt.Errorf("key set: %w: none given", token.ErrKey)
	}
	if len(s.keys) == token.MaxKeys {
		return fmt.Errorf("key set: %w: more than %d keys", token.ErrKey, token.MaxKeys)
	}
	ids := []string{k.KID(), string(k.COSEKID())}
	if kid != "" && kid != k.KID() {
		ids = append(ids, kid)
	}
	for _, id := range ids {
		if _, ok := s.byKID[id]; ok {
			return fmt.Errorf("key set: %w: two keys have the id %q", token.ErrKey, id)
		}
		s.byKID[id] = k
	}
	s.keys = append(s.keys, k)
	return nil
}

// Key finds the key that kid names.
func (s *KeySet) Key(_ context.Context, kid []byte) (*token.Key, error) {
	if k, ok := s.byKID[string(kid)]; ok {
		return k, nil
	}
	return nil, &missing{append([]byte(nil), kid...), s}
}

// missing says which key a set does not have. It wraps ErrUnknownKey.
type missing struct {
	kid []byte
	in  *KeySet
}

// Error names at most maxNamed of the keys that there are.
func (e *missing) Error() string {
	if len(e.in.keys) == 0 {
		return "no key with kid " + kidText(e.kid) + ", the set has none at all"
	}
	var names []string
	for _, k := range e.in.keys[:min(len(e.in.keys), maxNamed)] {
		if isText(e.kid) {
			names = append(names, e.in.jwkID(k))
		} else {
			names = append(names, hex.EncodeToString(k.COSEKID()))
		}
	}
	if more := len(e.in.keys) - maxNamed; more > 0 {
		names = append(names, fmt.Sprintf("%d more", more))
	}
	return "no key with kid " + kidText(e.kid) + ", the set has " + strings.Join(names, ", ")
}

func (*missing) Unwrap() error { return ErrUnknownKey }

const maxNamed = 8

// jwkID is what a JWS names k by: the id that the set gave it, or its thumbprint.
func (s *KeySet) jwkID(k *token.Key) string {
	for id, other := range s.byKID {
		if other == k && id != k.KID() && id != string(k.COSEKID()) {
			return kidText([]byte(id))
		}
	}
	return kidText([]byte(k.KID()))
}

// kidText shows a key's id: a JWS's as text, a COSE object's, which is bytes, in hex.
func kidText(kid []byte) string {
	if isText(kid) {
		return strconv.Quote(string(kid))
	}
	return hex.EncodeToString(kid)
}

func isText(kid []byte) bool {
	return !bytes.ContainsFunc(kid, func(r rune) bool { return r < ' ' || r > '~' })
}

// Keys gives the keys in the set's order.
func (s *KeySet) Keys() []*token.Key { return slices.Clone(s.keys) }

// ParseJWKS reads a JWK set (RFC 7517, 5). Keys of types, curves and algorithms
// that Signet does not use, symmetric ones included, and keys that are not for
// verifying signatures are passed over; a private key, two keys with one kid, or a
// key that is not sound spoil the set, as each tells of a mistake at the issuer.
// Errors wrap token.ErrKey.
func ParseJWKS(data []byte) (*KeySet, error) {
	members, err := strictjson.Object(data)
	if err != nil {
		return nil, fmt.Errorf("JWK set: %w: %w", token.ErrKey, err)
	}
	for _, m := range members {
		if m.Name != "keys" {
			continue
		}
		elements, err := m.Value.Array()
		if err != nil {
			return nil, fmt.Errorf("JWK set: %w: keys: %w", token.ErrKey, err)
		}
		return parseJWKs(elements)
	}
	return nil, fmt.Errorf("JWK set: %w: no member keys", token.ErrKey)
}

func parseJWKs(elements []strictjson.Value) (*KeySet, error) {
	s := &KeySet{byKID: make(map[string]*token.Key)}
	seen := make(map[string]bool)
	for i, e := range elements {
		members, err := e.Object()
		if err != nil {
			return nil, fmt.Errorf("JWK set: key %d: %w: %w", i, token.ErrKey, err)
		}
		head, err := readJWK(members)
		if err != nil {
			return nil, fmt.Errorf("JWK set: key %d: %w: %w", i, token.ErrKey, err)
		}
		if head.kid != "" && seen[head.kid] {
			return nil, fmt.Errorf("JWK set: %w: two keys have the kid %q", token.ErrKey, head.kid)
		}
		seen[head.kid] = true
		if head.refused() != nil {
			continue
		}
		key, err := head.key(e)
		if err != nil {
			return nil, fmt.Errorf("JWK set: key %d: %w", i, err)
		}
		if err := s.add(key, head.kid); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// ParseCOSEKeySet reads a COSE_KeySet (RFC 9052, 7). Errors wrap token.ErrKey.
func ParseCOSEKeySet(data []byte) (*KeySet, error) {
	keys, err := token.ParseCOSEKeySet(data)
	if err != nil {
		return nil, err
	}
	return NewKeySet(keys...)
}

// ParsePEM reads public keys (PUBLIC KEY blocks, RFC 5280 form) and those of
// certificates, whose dates and signatures it does not look at. Errors wrap
// token.ErrKey.
func ParsePEM(data []byte) (*KeySet, error) {
	var keys []*token.Key
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		k, err := pemKey(block)
		if err != nil {
			return nil, fmt.Errorf("PEM block %d: %w", len(keys)+1, err)
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%w: no PEM block", token.ErrKey)
	}
	return NewKeySet(keys...)
}

func pemKey(block *pem.Block) (*token.Key, error) {
	switch block.Type {
	case "PUBLIC KEY":
		pub, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", token.ErrKey, err)
		}
		return token.NewKey(pub)
	case "CERTIFICATE":
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", token.ErrKey, err)
		}
		return token.NewKey(cert.PublicKey)
	}
	return nil, fmt.Errorf("%w: a %s is no public key", token.ErrKey, block.Type)
}
