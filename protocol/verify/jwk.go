package verify

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"

	"github.com/go-jose/go-jose/v4"
	"github.com/signetd/signet/protocol/strictjson"
	"github.com/signetd/signet/protocol/token"
)

// ParseJWK reads one public JWK (RFC 7517) that verifies signatures: P-256, Ed25519
// or RSA, with no alg but the key's own, no use but sig, and verify among its
// key_ops if it has any. A private key is refused, and the error repeats nothing
// of it. Errors wrap token.ErrKey.
func ParseJWK(data []byte) (*token.Key, error) {
	members, err := strictjson.Object(data)
	if err != nil {
		return nil, fmt.Errorf("JWK: %w: %w", token.ErrKey, err)
	}
	head, err := readJWK(members)
	if err == nil {
		err = head.refused()
	}
	if err != nil {
		return nil, fmt.Errorf("JWK: %w: %w", token.ErrKey, err)
	}
	key, err := head.key(data)
	if err != nil {
		return nil, fmt.Errorf("JWK: %w", err)
	}
	return key, nil
}

// A jwkHead is what decides whether a JWK is for us.
type jwkHead struct {
	kty, crv, alg, use, kid string
	verifies                bool // key_ops is absent or holds verify
}

func readJWK(members []strictjson.Member) (jwkHead, error) {
	h := jwkHead{verifies: true}
	text := map[string]*string{"kty": &h.kty, "crv": &h.crv, "alg": &h.alg, "use": &h.use, "kid": &h.kid}
	private := false
	for _, m := range members {
		var err error
		switch m.Name {
		case "d", "p", "q", "dp", "dq", "qi", "oth":
			private = true
		case "x", "y", "n", "e":
			err = checkBase64(m.Value)
		case "key_ops":
			var ops []string
			ops, err = m.Value.Texts()
			h.verifies = slices.Contains(ops, "verify")
		default:
			if to := text[m.Name]; to != nil {
				*to, err = m.Value.Text()
			}
		}
		if err != nil {
			return h, fmt.Errorf("%s: %w", m.Name, err)
		}
	}
	if private && h.kty != "oct" {
		return h, errors.New("it is a private key")
	}
	if len(h.kid) > token.MaxKID {
		return h, fmt.Errorf("kid has %d bytes, at most %d", len(h.kid), token.MaxKID)
	}
	return h, nil
}

// checkBase64 is stricter than the library: one number has one spelling.
func checkBase64(v strictjson.Value) error {
	s, err := v.Text()
	if err != nil {
		return err
	}
	if _, err := base64.RawURLEncoding.Strict().DecodeString(s); err != nil {
		return errors.New("it is not base64url without padding")
	}
	return nil
}

// refused says why the key is not one that Signet verifies with, nil if it is. An
// alg that is absent is the one that the key's type has here.
func (h jwkHead) refused() error {
	if h.use != "" && h.use != "sig" {
		return errors.New("its use is not sig")
	}
	if !h.verifies {
		return errors.New("its key_ops do not allow to verify")
	}
	var alg token.Alg
	switch {
	case h.kty == "EC" && h.crv == "P-256":
		alg = token.ES256
	case h.kty == "OKP" && h.crv == "Ed25519":
		alg = token.EdDSA
	case h.kty == "RSA":
		alg = token.RS256
	default:
		return errors.New("it is none of P-256, Ed25519, RSA")
	}
	if h.alg != "" && h.alg != alg.String() {
		return fmt.Errorf("its alg is not %s, which its type has here", alg)
	}
	return nil
}

func (h jwkHead) key(v strictjson.Value) (*token.Key, error) {
	var jwk jose.JSONWebKey
	if err := jwk.UnmarshalJSON(v); err != nil {
		return nil, fmt.Errorf("%w: %w", token.ErrKey, err)
	}
	if !jwk.IsPublic() {
		return nil, fmt.Errorf("%w: it is a private key", token.ErrKey)
	}
	return token.NewKey(jwk.Key)
}
